"""Instance masks: from what a model gives to pixels of the image, and to COCO's run lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

PIXELS_AT_ONCE = 1 << 24
"""Pixels pasted in one go: 64 MB as float32. A hundred masks of a photograph of twelve million
pixels would take 5 GB in between."""


def paste(masks: Any, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Puts masks of boxes to their places in the image.

    Args:
        masks: float [N, h, w] in 0..1 (array or tensor), each over the whole of its box.
        boxes: [N, 4], ymin, xmin, ymax, xmax in pixels of the image.
        size: height and width of the image.

    Returns:
        uint8 [N, H, W], 1 where a mask is above 0.5.
    """
    from object_detection.utils import ops

    height, width = size
    pasted = np.zeros((len(boxes), height, width), np.uint8)
    scaled = np.asarray(boxes, np.float32) / np.float32([height, width, height, width])
    several = max(1, PIXELS_AT_ONCE // (height * width))
    for start in range(0, len(boxes), several):
        part = slice(start, start + several)
        whole = ops.reframe_box_masks_to_image_masks(masks[part], scaled[part], height, width)
        pasted[part] = np.asarray(whole) > 0.5
    return pasted


def encode(mask: np.ndarray) -> dict[str, Any]:
    """A mask [H, W], above 0 on the object, as COCO's run-length encoding.

    Returns:
        `size`, [height, width], and `counts` as text, fit for JSON.
    """
    from pycocotools import mask as run_lengths

    encoded = run_lengths.encode(np.asfortranarray(mask > 0, np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}


def area(encoded: dict[str, Any]) -> int:
    """Number of pixels of an encoded mask."""
    from pycocotools import mask as run_lengths

    return int(run_lengths.area(encoded))
