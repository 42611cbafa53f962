"""Records of noise and a VGG-16 detector's config, for the commands that are measured."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  settles Keras 2 before TensorFlow is used
import tensorflow as tf
from PIL import Image

from odapi import pipeline

RECORDS = 64
SIDE = 96
MODEL_SIDE = 160


def write(folder: Path) -> tuple[Path, Path]:
    """Writes records, label map and config; returns the paths of the config and of an image."""
    random = np.random.default_rng(1)
    with tf.io.TFRecordWriter(str(folder / "train.record")) as writer:
        for number in range(RECORDS):
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            writer.write(_example(number, _png(pixels)).SerializeToString())
    image = folder / "image.png"
    image.write_bytes(_png(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)))
    label_map = folder / "label_map.pbtxt"
    label_map.write_text('item { id: 1 name: "noise" }\n')
    records = str(folder / "train.record")
    run = pipeline.Run(
        num_classes=1,
        train_records=records,
        eval_records=records,
        label_map=str(label_map),
        batch_size=2,
        num_steps=1000,
    )
    config = pipeline.faster_rcnn(run)
    model = config.model.faster_rcnn
    model.image_resizer.fixed_shape_resizer.height = MODEL_SIDE
    model.image_resizer.fixed_shape_resizer.width = MODEL_SIDE
    model.second_stage_batch_size = 32
    for field in ("fine_tune_checkpoint", "fine_tune_checkpoint_type"):
        config.train_config.ClearField(field)
    # Gradients of random weights are large.
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    rate.constant_learning_rate.learning_rate = 1e-6
    pipeline.write(config, folder / "pipeline.config")
    return folder / "pipeline.config", image


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _example(number: int, png: bytes) -> tf.train.Example:
    corners = {"ymin": 0.2, "xmin": 0.2, "ymax": 0.7, "xmax": 0.7}
    features = {
        "image/encoded": _bytes(png),
        "image/format": _bytes(b"png"),
        "image/source_id": _bytes(str(number).encode()),
        "image/height": _int(SIDE),
        "image/width": _int(SIDE),
        "image/object/class/label": _int(1),
        "image/object/class/text": _bytes(b"noise"),
    }
    for corner, value in corners.items():
        features[f"image/object/bbox/{corner}"] = tf.train.Feature(
            float_list=tf.train.FloatList(value=[value])
        )
    return tf.train.Example(features=tf.train.Features(feature=features))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
