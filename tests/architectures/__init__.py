"""Every TF2 meta-architecture and feature extractor, from a config shrunk to small images."""
