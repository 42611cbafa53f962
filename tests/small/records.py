"""Writes TFRecords of tf.train.Example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from tests.small.scenes import NAMES, Scene

Features = dict[str, Sequence]
"""The values of a record by key: bytes, ints or floats."""


def write_records(path: Path, records: Iterable[Mapping[str, Sequence]]) -> Path:
    """Writes one Example for each mapping; the type of the first value decides the kind of list."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            features = {key: _feature(values) for key, values in record.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return path


def _feature(values: Sequence) -> tf.train.Feature:
    kind = type(values[0]) if len(values) else float
    if kind is bytes:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if kind is int:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def scene_features(scene: Scene) -> Features:
    """A scene under the standard keys, with a PNG image."""
    height, width = scene.image.shape[:2]
    corners = ("ymin", "xmin", "ymax", "xmax")
    boxes = {
        f"image/object/bbox/{corner}": scene.normalized_boxes[:, column].tolist()
        for column, corner in enumerate(corners)
    }
    objects = {
        "image/object/class/label": scene.labels,
        "image/object/class/text": [
            NAMES.get(label, "without a name").encode() for label in scene.labels
        ],
        "image/object/is_crowd": scene.crowd or [0] * len(scene.labels),
    }
    return {
        "image/encoded": [scene.encoded("PNG")],
        "image/format": [b"png"],
        "image/height": [height],
        "image/width": [width],
        "image/source_id": [scene.source_id.encode()],
    } | (boxes | objects if scene.labels else {})
