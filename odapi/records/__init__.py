"""TFRecord files: their framing, their contents, the images in them."""
