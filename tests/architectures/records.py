"""Records of coloured rectangles with everything that any architecture reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from tests.architectures.catalogue import (
    CLASSES,
    CONTEXT_FEATURE_LENGTH,
    KEYPOINTS,
    MAX_CONTEXT_FEATURES,
    SIDE,
)

COLOURS = ((220, 40, 40), (40, 80, 230))


def write(folder: Path) -> None:
    """Writes train.record, four images with one object of each class, and label_map.pbtxt."""
    with tf.io.TFRecordWriter(str(folder / "train.record")) as writer:
        for seed in range(4):
            writer.write(_example(seed).SerializeToString())
    keypoints = "".join(f'keypoints {{ id: {n} label: "{k}" }} ' for n, k in enumerate(KEYPOINTS))
    folder.joinpath("label_map.pbtxt").write_text(
        f'item {{ id: 1 name: "{CLASSES[0]}" {keypoints}}}\nitem {{ id: 2 name: "{CLASSES[1]}" }}\n'
    )


def image_of(seed: int) -> np.ndarray:
    """The image of a seed alone, uint8 [SIDE, SIDE, 3]."""
    return _scene(seed)[0]


def _scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 [SIDE, SIDE, 3], and its boxes, int [2, 4] ymin, xmin, ymax, xmax."""
    random = np.random.default_rng(seed)
    image = random.integers(90, 130, (SIDE, SIDE, 3)).astype(np.uint8)
    boxes = []
    for half, colour in enumerate(COLOURS):
        height, width = random.integers(SIDE // 4, SIDE // 2, 2)
        top = random.integers(0, SIDE - height)
        left = half * SIDE // 2 + random.integers(0, SIDE // 2 - width + 1)
        image[top : top + height, left : left + width] = colour
        boxes.append([top, left, top + height, left + width])
    return image, np.array(boxes)


def _example(seed: int) -> tf.train.Example:
    image, boxes = _scene(seed)
    masks = []
    for top, left, bottom, right in boxes:
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[top:bottom, left:right] = 1
        masks.append(_png(mask))
    ymin, xmin, ymax, xmax = np.transpose(boxes / SIDE)
    # Down the middle of the first object; the second has none, which a record says with nan.
    none = [float("nan")] * len(KEYPOINTS)
    down = np.linspace(ymin[0], ymax[0], len(KEYPOINTS) + 2)[1:-1]
    across = np.full(len(KEYPOINTS), (xmin[0] + xmax[0]) / 2)
    context = np.random.default_rng(seed).normal(size=(seed + 1, CONTEXT_FEATURE_LENGTH))
    assert len(context) <= MAX_CONTEXT_FEATURES

    feature = {
        "image/encoded": _texts([_png(image)]),
        "image/format": _texts([b"png"]),
        "image/height": _ints([SIDE]),
        "image/width": _ints([SIDE]),
        "image/source_id": _texts([str(seed).encode()]),
        "image/object/bbox/ymin": _floats(ymin),
        "image/object/bbox/xmin": _floats(xmin),
        "image/object/bbox/ymax": _floats(ymax),
        "image/object/bbox/xmax": _floats(xmax),
        "image/object/class/label": _ints([1, 2]),
        "image/object/class/text": _texts([name.encode() for name in CLASSES]),
        "image/object/mask": _texts(masks),
        "image/object/keypoint/y": _floats([*down, *none]),
        "image/object/keypoint/x": _floats([*across, *none]),
        "image/object/keypoint/visibility": _ints([2] * len(KEYPOINTS) + [0] * len(KEYPOINTS)),
        "image/context_features": _floats(context.ravel()),
        "image/context_feature_length": _ints([CONTEXT_FEATURE_LENGTH]),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature))


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _ints(values) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _texts(values) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _floats(values) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
