"""Small images of coloured rectangles, with what is on them, for every room of the tests."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 96
NAMES = {1: "red", 2: "blue"}
_COLOURS = {1: (220, 40, 40), 2: (40, 80, 230)}


@dataclass(frozen=True)
class Scene:
    """An image uint8 [height, width, 3], boxes [N, 4] in pixels, and labels, keys of NAMES.

    A box is ymin, xmin, ymax, xmax; the last two lie just outside the object.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: list[int]
    crowd: list[int] = field(default_factory=list)
    """1 for a box around a crowd; empty: there are none."""
    source_id: str = ""

    @property
    def normalized_boxes(self) -> np.ndarray:
        """Boxes float [N, 4] in 0..1."""
        height, width = self.image.shape[:2]
        return self.boxes / np.array([height, width, height, width])

    def encoded(self, image_format: str) -> bytes:
        """The image as a file of a format that PIL knows."""
        buffer = io.BytesIO()
        Image.fromarray(self.image).save(buffer, image_format)
        return buffer.getvalue()

    def save(self, path: Path) -> Path:
        """Writes the image in the format that the suffix of `path` names."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.image).save(path)
        return path


def make_scene(
    seed: int, height: int = SIDE, width: int = SIDE, objects: Sequence[int] = (2,)
) -> Scene:
    """Rectangles on grey noise, one in each half of the image, of a random label each.

    Args:
        objects: numbers of rectangles, 1 or 2, to choose from.
    """
    random = np.random.default_rng(seed)
    image = random.integers(90, 130, (height, width, 3)).astype(np.uint8)
    boxes, labels = [], []
    for half in range(random.choice(objects)):
        size = random.integers(24, 44, 2)
        top = random.integers(0, height - size[0])
        left = half * width // 2 + random.integers(0, width // 2 - size[1] + 1)
        label = int(random.integers(1, 3))
        image[top : top + size[0], left : left + size[1]] = _COLOURS[label]
        boxes.append([top, left, top + size[0], left + size[1]])
        labels.append(label)
    return Scene(image, np.array(boxes), labels, source_id=str(seed))


def write_label_map(path: Path, names: dict[int, str] = NAMES) -> Path:
    """Writes a label map in protobuf's text format."""
    path.write_text("".join(f"item {{ id: {key} name: '{names[key]}' }}\n" for key in names))
    return path
