"""TFRecords of tf.train.Example: written plainly, read raw and read as training reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from object_detection.data_decoders import tf_example_decoder

from tests.entry_points.scenes import NAMES, Scene

Features = dict[str, list]
"""The values of a record by key: bytes, ints or floats."""


def write_records(path: Path, records: Iterable[Mapping[str, list]]) -> Path:
    """Writes one Example for each mapping; the type of the first value decides the kind of list."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            features = {key: _feature(values) for key, values in record.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return path


def _feature(values: list) -> tf.train.Feature:
    kind = type(values[0])
    if kind is bytes:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if kind is int:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def scene_features(scene: Scene, source_id: str) -> Features:
    """A scene under the standard keys, with a PNG image."""
    height, width = scene.image.shape[:2]
    corners = ("ymin", "xmin", "ymax", "xmax")
    boxes = {
        f"image/object/bbox/{corner}": scene.normalized_boxes[:, column].tolist()
        for column, corner in enumerate(corners)
    }
    return boxes | {
        "image/encoded": [scene.encoded("PNG")],
        "image/format": [b"png"],
        "image/height": [height],
        "image/width": [width],
        "image/source_id": [source_id.encode()],
        "image/object/class/label": scene.labels,
        "image/object/class/text": [NAMES[label].encode() for label in scene.labels],
    }


def read_records(paths: Iterable[Path]) -> list[Features]:
    """What the records of all files hold, in their order."""
    records = []
    for serialized in _serialized(paths):
        example = tf.train.Example.FromString(serialized)
        records.append(
            {
                key: list(getattr(feature, feature.WhichOneof("kind")).value)
                for key, feature in example.features.feature.items()
                if feature.WhichOneof("kind")
            }
        )
    return records


def decode_records(
    paths: Iterable[Path], label_map: Path, **options: object
) -> list[dict[str, np.ndarray]]:
    """What training makes of the records: the tensors of `TfExampleDecoder(**options)`."""
    decoder = tf_example_decoder.TfExampleDecoder(label_map_proto_file=str(label_map), **options)
    return [
        {key: tensor.numpy() for key, tensor in decoder.decode(tf.constant(serialized)).items()}
        for serialized in _serialized(paths)
    ]


def _serialized(paths: Iterable[Path]) -> list[bytes]:
    files = [str(path) for path in paths]
    assert files, "no such record files"
    return list(tf.data.TFRecordDataset(files).as_numpy_iterator())
