"""TFRecords of tf.train.Example, read raw and read as training reads them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from object_detection.data_decoders import tf_example_decoder

from tests.small.records import Features


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
