"""Detectors on a classifier of five small convolutions."""

from __future__ import annotations

from pathlib import Path

SIDE = 64


def write_config(folder: Path, records: Path, architecture: str) -> Path:
    """Makes a classifier and converts it; returns the path of the detector's config.

    Args:
        folder: a new folder for them.
        records: the folder of train.record, eval.record and label_map.pbtxt.
        architecture: of `odapi convert`.
    """
    import tensorflow as tf

    from odapi import cli

    layers = tf.keras.layers
    stages = [
        layer
        for _ in range(5)
        for layer in (
            layers.Conv2D(8, 3, 2, "same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
        )
    ]
    head = [layers.GlobalAveragePooling2D(), layers.Dense(2)]
    classifier = tf.keras.Sequential(
        [layers.Input((SIDE, SIDE, 3)), *stages, layers.Dropout(0.5), *head]
    )
    folder.mkdir()
    classifier.save(folder / "classifier.h5")
    options = {
        "architecture": architecture,
        "preprocessing": "tf",
        "label_map": records / "label_map.pbtxt",
        "train_records": records / "train.record",
        "eval_records": records / "eval.record",
        "output_dir": folder / "converted",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    source = str(folder / "classifier.h5")
    assert cli.main(["convert", source, *flags, "--image_size", str(SIDE), str(SIDE)]) == 0
    return folder / "converted" / "pipeline.config"
