"""How well a detector's masks fit: COCO metrics over masks in place of boxes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from odapi.demo.scenes import CLASS_NAMES, Scene

if TYPE_CHECKING:
    from odapi.detector import Detector


def evaluate_masks(detector: Detector, scenes: Iterable[Scene]) -> list[float]:
    """Measures the masks that a detector finds in scenes.

    `odapi evaluate` measures boxes alone. A mask counts as found at IoU 0.5 where half of the
    union of both is common to both, which is much to ask of strokes of four pixels.

    Returns:
        the twelve numbers of pycocotools' `COCOeval.stats` over masks, -1 where there is nothing
        to measure.

    Raises:
        ValueError: the detector makes no masks.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        height, width = scene.image.shape[:2]
        images.append({"id": number, "height": height, "width": width})
        for mask, label in zip(scene.masks, scene.labels, strict=True):
            truth.append(_annotation(number, len(truth) + 1, mask, label))
        detections = detector.detect(scene.image)
        if detections.masks is None:
            raise ValueError(f"{detector.source} makes no masks")
        for mask, label, score in zip(
            detections.masks, detections.classes, detections.scores, strict=True
        ):
            entry = _annotation(number, len(found) + 1, mask, label)
            found.append(entry | {"score": float(score)})

    def index(annotations: list[dict[str, Any]]) -> COCO:
        # Filled by hand: COCO.loadRes, the usual way, fails on a model that found nothing.
        coco = COCO()
        coco.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, start=1)],
        }
        coco.createIndex()
        return coco

    # pycocotools reports on standard output, in the midst of our own.
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCOeval(index(truth), index(found), "segm")
        coco.evaluate()
        coco.accumulate()
        coco.summarize()
    return [float(value) for value in coco.stats]


def _annotation(image_id: int, number: int, mask: np.ndarray, label: int) -> dict[str, Any]:
    from pycocotools import mask as run_lengths

    return {
        "id": number,
        "image_id": image_id,
        "category_id": int(label),
        "segmentation": run_lengths.encode(np.asfortranarray(mask, np.uint8)),
        "area": int(mask.sum()),
        "iscrowd": 0,
    }
