"""Every image file arrives as TensorFlow can decode it, with the pixels that it has."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odapi.data.annotations import Problem
from odapi.data.images import SizeDiffers, encode
from odapi.predict.sources import read_image
from tests.small.scenes import make_scene


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def picture(mode: str) -> Image.Image:
    return Image.fromarray(make_scene(3, 60, 90).image).convert(mode)


def transparent_palette() -> Image.Image:
    image = picture("RGB").quantize(16)
    image.info["transparency"] = 0
    return image


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.arange(60 * 90, dtype=np.uint16).reshape(60, 90) * 12)


def two_frames() -> dict:
    return {"save_all": True, "append_images": [Image.new("RGB", (90, 60))]}


CASES = {
    "rgb.jpg": (lambda: picture("RGB"), {}, True),
    "grey.jpg": (lambda: picture("L"), {}, True),
    "progressive.jpg": (lambda: picture("RGB"), {"progressive": True}, True),
    "several.mpo": (lambda: picture("RGB"), two_frames(), True),
    "cmyk.jpg": (lambda: picture("CMYK"), {}, False),
    "rgb.png": (lambda: picture("RGB"), {}, True),
    "alpha.png": (lambda: picture("RGBA"), {}, True),
    "grey.png": (lambda: picture("L"), {}, True),
    "palette.png": (lambda: picture("RGB").quantize(16), {}, True),
    "palette_alpha.png": (transparent_palette, {"transparency": 0}, False),
    "grey_alpha.png": (lambda: picture("LA"), {}, True),
    "bits.png": (lambda: picture("1"), {}, True),
    "sixteen.png": (sixteen_bits, {}, False),
    "sixteen.tif": (sixteen_bits, {}, False),
    "rgb.bmp": (lambda: picture("RGB"), {}, False),
    "rgb.tif": (lambda: picture("RGB"), {"compression": "tiff_lzw"}, False),
    "rgb.webp": (lambda: picture("RGB"), {"lossless": True}, False),
    "film.gif": (lambda: picture("RGB"), two_frames(), False),
}


@pytest.mark.parametrize("name", CASES)
def test_tensorflow_decodes_what_a_person_sees(tmp_path, name):
    import tensorflow as tf

    make, options, copied = CASES[name]
    path = saved(tmp_path / name, make(), **options)

    encoded = encode(path, (90, 60))

    assert (encoded.width, encoded.height) == (90, 60)
    assert (encoded.data == path.read_bytes()) is copied
    assert encoded.problems == (() if copied else (Problem.CONVERTED,))
    signature = {"jpeg": b"\xff\xd8", "png": b"\x89PNG"}[encoded.format]
    assert encoded.data.startswith(signature)
    decoded = tf.io.decode_image(encoded.data, channels=3).numpy()
    seen = read_image(path)
    assert decoded.shape == seen.shape
    # Two JPEG decoders differ by a level or two; nothing else may.
    tolerance = 3 if encoded.format == "jpeg" else 0
    assert np.abs(decoded.astype(int) - seen).max() <= tolerance


def test_the_content_counts_not_the_name(tmp_path):
    path = tmp_path / "photo.jpg"
    buffer = io.BytesIO()
    picture("RGB").save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    assert encode(path, None).format == "png"


def test_samples_of_32_bits_are_refused(tmp_path):
    path = saved(tmp_path / "depth.tif", Image.fromarray(np.ones((4, 5), np.float32)))
    with pytest.raises(ValueError, match="mode F"):
        encode(path, None)


def test_another_size_than_recorded_is_refused(tmp_path):
    path = saved(tmp_path / "a.png", picture("RGB"))
    assert encode(path, (90, 60)).width == 90
    with pytest.raises(SizeDiffers, match="recorded as 60x90, is 90x60"):
        encode(path, (60, 90))
