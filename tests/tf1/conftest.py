"""Records of coloured squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

SIDE = 96
COLOURS = {1: (220, 40, 40), 2: (40, 80, 230)}


@dataclass(frozen=True)
class Records:
    """Eight images to train on, four to evaluate on, and one of the latter as an array."""

    train: Path
    evaluation: Path
    label_map: Path
    image: np.ndarray


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Images of 96x96 pixels with one square each, red for class 1, blue for class 2."""
    folder = tmp_path_factory.mktemp("records")
    label_map = folder / "label_map.pbtxt"
    label_map.write_text("item { id: 1 name: 'red' }\nitem { id: 2 name: 'blue' }\n")
    images = _write(folder / "train.record", range(8)) + _write(
        folder / "eval.record", range(8, 12)
    )
    return Records(folder / "train.record", folder / "eval.record", label_map, images[-1])


def _write(path: Path, seeds: range) -> list[np.ndarray]:
    images = []
    with tf.io.TFRecordWriter(str(path)) as writer:
        for seed in seeds:
            random = np.random.default_rng(seed)
            image = random.integers(90, 130, (SIDE, SIDE, 3)).astype(np.uint8)
            size = int(random.integers(32, 56))
            top, left = (int(value) for value in random.integers(0, SIDE - size, 2))
            label = seed % 2 + 1
            image[top : top + size, left : left + size] = COLOURS[label]
            images.append(image)
            writer.write(_example(image, top, left, size, label, seed).SerializeToString())
    return images


def _example(
    image: np.ndarray, top: int, left: int, size: int, label: int, seed: int
) -> tf.train.Example:
    def feature(kind: Callable, **value: list) -> tf.train.Feature:
        return tf.train.Feature(**{name: kind(value=items) for name, items in value.items()})

    def ints(*values: int) -> tf.train.Feature:
        return feature(tf.train.Int64List, int64_list=list(values))

    def floats(value: float) -> tf.train.Feature:
        return feature(tf.train.FloatList, float_list=[value])

    def text(value: bytes) -> tf.train.Feature:
        return feature(tf.train.BytesList, bytes_list=[value])

    return tf.train.Example(
        features=tf.train.Features(
            feature={
                "image/encoded": text(tf.io.encode_png(image).numpy()),
                "image/format": text(b"png"),
                "image/height": ints(SIDE),
                "image/width": ints(SIDE),
                "image/source_id": text(str(seed).encode()),
                "image/object/bbox/ymin": floats(top / SIDE),
                "image/object/bbox/xmin": floats(left / SIDE),
                "image/object/bbox/ymax": floats((top + size) / SIDE),
                "image/object/bbox/xmax": floats((left + size) / SIDE),
                "image/object/class/label": ints(label),
                "image/object/class/text": text(b"red" if label == 1 else b"blue"),
            }
        )
    )
