"""Detections as COCO results, with what makes them readable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from odapi.detector import masks

if TYPE_CHECKING:
    from odapi.detector.detector import Detections

RESULTS_NAME = "detections.json"


def coco_results(
    entry: dict[str, Any], found: Detections, labels: list[str]
) -> list[dict[str, Any]]:
    """One image's detections as COCO results, with the names that make them readable."""
    results = []
    for index, label in enumerate(labels):
        ymin, xmin, ymax, xmax = (float(side) for side in found.boxes[index])
        result = entry | {
            "category_id": int(found.classes[index]),
            "category_name": label,
            "bbox": [round(side, 3) for side in (xmin, ymin, xmax - xmin, ymax - ymin)],
            "score": round(float(found.scores[index]), 6),
        }
        if found.masks is not None:
            result["segmentation"] = masks.encode(found.masks[index])
        results.append(result)
    return results
