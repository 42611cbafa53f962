"""What an evaluation measured, and its forms as JSON and CSV."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from odapi.console.files import replacing, write_text

REPORT_NAME = "evaluation.json"
CLASSES_NAME = "per_class.csv"
PAGE_NAME = "evaluation.html"

_STATS = (
    "Precision/mAP",
    "Precision/mAP@.50IOU",
    "Precision/mAP@.75IOU",
    "Precision/mAP (small)",
    "Precision/mAP (medium)",
    "Precision/mAP (large)",
    "Recall/AR@1",
    "Recall/AR@10",
    "Recall/AR@100",
    "Recall/AR@100 (small)",
    "Recall/AR@100 (medium)",
    "Recall/AR@100 (large)",
)
METRICS = tuple(f"DetectionBoxes_{name}" for name in _STATS)
"""The numbers of `COCOeval.stats` in order, under the names ODAPI gives them on TensorBoard."""

MASK_METRICS = tuple(f"DetectionMasks_{name}" for name in _STATS)
"""The same over masks."""


@dataclass(frozen=True)
class ClassResult:
    """How well one class is detected. None where the class has no ground truth box to find.

    Attributes:
        ap: average precision over IoU 0.50 to 0.95.
        ap50: average precision at IoU 0.5.
        ar: average recall over the same IoUs, with at most 100 detections an image.
        boxes: number of ground truth boxes, crowds left out.
        precision: at IoU 0.5, the best precision at each recall 0, 0.01, ..., 1.
    """

    id: int
    name: str
    ap: float | None
    ap50: float | None
    ar: float | None
    boxes: int
    precision: list[float] | None


@dataclass(frozen=True)
class Confusion:
    """What became of the true objects, and what the detections were, by class.

    Detections of at least `min_score` and true boxes are paired as `mistakes.pair` says.

    Attributes:
        min_score: detections below it are left out.
        iou: least IoU of a pair.
        names: of the classes, in order of their ids.
        counts: [C + 1][C + 1]; rows are true classes and columns detected ones. The last row is
            the background: detections where nothing is. The last column holds the objects missed.
    """

    min_score: float
    iou: float
    names: list[str]
    counts: list[list[int]]

    def found(self, index: int) -> int:
        """True objects of a class that were found as that class."""
        return self.counts[index][index]

    def missed(self, index: int) -> int:
        """True objects of a class that were not found, or taken for another."""
        return sum(self.counts[index]) - self.counts[index][index]

    def wrong(self, index: int) -> int:
        """Detections of a class that are not one of its objects."""
        return sum(row[index] for row in self.counts) - self.counts[index][index]


@dataclass(frozen=True)
class EvaluationResult:
    """What `evaluate` measured.

    Attributes:
        metrics: the twelve COCO numbers by `METRICS`; None where there is nothing to measure,
            for example no small object.
        per_class: in order of class id.
        images: number of images.
        images_without_boxes: how many of them hold no object; a detection there is a mistake.
        boxes: number of ground truth boxes, crowds left out.
        model: the checkpoint or SavedModel.
        step: the training step of the checkpoint; None for a SavedModel.
        seconds: wall time.
        confusion: at one score and IoU 0.5.
        mask_metrics: the twelve numbers over masks, by `MASK_METRICS`; None where masks were not
            measured.
        mask_per_class: as `per_class`, over masks.
        repeated_ids: records whose `image/source_id` an earlier record has.
        notes: what the reader of the numbers has to know, one sentence each.
    """

    metrics: dict[str, float | None]
    per_class: list[ClassResult]
    images: int
    images_without_boxes: int
    boxes: int
    model: str
    step: int | None
    seconds: float
    confusion: Confusion
    mask_metrics: dict[str, float | None] | None = None
    mask_per_class: list[ClassResult] | None = None
    repeated_ids: int = 0
    notes: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Writes the result as JSON, the whole file or nothing."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    def write_classes(self, path: Path) -> None:
        """Writes a CSV table of the classes, the whole file or nothing.

        `found`, `missed` and `wrong` count at the score and IoU of the confusion matrix; precision
        and recall are of these counts. An empty cell: nothing to measure.
        """
        heads = ["id", "class", "boxes", "AP", "AP@0.5", "AR"]
        heads += ["mask AP", "mask AP@0.5", "mask AR"] if self.mask_per_class else []
        heads += ["found", "missed", "wrong", "precision", "recall"]
        with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(heads)
            for index, entry in enumerate(self.per_class):
                row = [entry.id, entry.name, entry.boxes, entry.ap, entry.ap50, entry.ar]
                if self.mask_per_class:
                    masks = self.mask_per_class[index]
                    row += [masks.ap, masks.ap50, masks.ar]
                found = self.confusion.found(index)
                missed, wrong = self.confusion.missed(index), self.confusion.wrong(index)
                row += [found, missed, wrong]
                row += [_share(found, wrong), _share(found, missed)]
                table.writerow(row)


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None
