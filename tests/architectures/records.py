"""Records of coloured rectangles with everything that any architecture reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.architectures.catalogue import (
    CLASSES,
    CONTEXT_FEATURE_LENGTH,
    KEYPOINTS,
    MAX_CONTEXT_FEATURES,
    SIDE,
)
from tests.small.records import Features, write_records

COLOURS = ((220, 40, 40), (40, 80, 230))


def write(folder: Path) -> None:
    """Writes train.record, four images with one object of each class, and label_map.pbtxt."""
    write_records(folder / "train.record", map(_features, range(4)))
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


def _features(seed: int) -> Features:
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

    return {
        "image/encoded": [_png(image)],
        "image/format": [b"png"],
        "image/height": [SIDE],
        "image/width": [SIDE],
        "image/source_id": [str(seed).encode()],
        "image/object/bbox/ymin": ymin,
        "image/object/bbox/xmin": xmin,
        "image/object/bbox/ymax": ymax,
        "image/object/bbox/xmax": xmax,
        "image/object/class/label": [1, 2],
        "image/object/class/text": [name.encode() for name in CLASSES],
        "image/object/mask": masks,
        "image/object/keypoint/y": [*down, *none],
        "image/object/keypoint/x": [*across, *none],
        "image/object/keypoint/visibility": [2] * len(KEYPOINTS) + [0] * len(KEYPOINTS),
        "image/context_features": context.ravel(),
        "image/context_feature_length": [CONTEXT_FEATURE_LENGTH],
    }


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
