"""COCO's numbers, computed by pycocotools; and the files for computing them again by hand."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odapi.console.errors import UserError
from odapi.console.files import replacing
from odapi.detector import masks
from odapi.evaluate.result import MASK_METRICS, METRICS, ClassResult
from odapi.records.ground_truth import GroundTruth

if TYPE_CHECKING:
    from odapi.detector.detector import Detections

TRUTH_NAME = "ground_truth.json"
BOXES_NAME = "detections_bbox.json"
MASKS_NAME = "detections_segm.json"
"""One file for boxes and one for masks: given both at once, pycocotools' `loadRes` would take a
mask's area from its box, and sort masks into small, medium and large by that."""

Metrics = tuple[dict[str, float | None], list[ClassResult]]


class CocoTable:
    """Collects images and detections in the form pycocotools takes; masks as run lengths.

    Images are numbered by their place: records whose ids are repeated or empty stay apart.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        """Args: names: class id to name."""
        self.images_without_boxes = 0
        self.repeated_ids = 0
        self.unknown_classes = 0
        """Detections of classes that `names` lacks. They count for nothing."""
        self.images_without_masks = 0
        """Images with boxes, at least one of which has no mask."""
        self._names = dict(sorted(names.items()))
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._boxes: list[dict[str, Any]] = []
        self._masks: list[dict[str, Any]] | None = []
        self._ids: set[str] = set()

    @property
    def images(self) -> int:
        """Number of images added."""
        return len(self._images)

    @property
    def boxes(self) -> int:
        """Number of true boxes added, crowds left out."""
        return sum(not entry["iscrowd"] for entry in self._truth)

    @property
    def model_has_masks(self) -> bool:
        """Whether every image's detections came with masks."""
        return self._masks is not None

    @property
    def has_masks(self) -> bool:
        """Whether masks can be measured: the model and every record with a box have them."""
        return self.model_has_masks and not self.images_without_masks

    def add(self, size: tuple[int, int], truth: GroundTruth, found: Detections) -> None:
        """Adds one image of `size` (height, width)."""
        number = len(self._images) + 1
        image = {"id": number, "height": size[0], "width": size[1], "file_name": truth.filename}
        self._images.append(image | {"source_id": truth.source_id})
        self.repeated_ids += bool(truth.source_id) and truth.source_id in self._ids
        self._ids.add(truth.source_id)
        self.images_without_boxes += not len(truth.boxes)
        self.images_without_masks += bool(len(truth.boxes)) and truth.masks is None
        for index, (box, label) in enumerate(zip(truth.boxes, truth.classes, strict=True)):
            entry = _result(number, label) | {"id": len(self._truth) + 1}
            entry["bbox"] = _coco_box(box)
            entry["iscrowd"] = int(truth.crowd[index])
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]
            if truth.masks is not None:
                entry["segmentation"] = masks.encode(truth.masks[index])
                entry["area"] = masks.area(entry["segmentation"])
            if truth.areas is not None:
                entry["area"] = float(truth.areas[index])
            self._truth.append(entry)
        if found.masks is None:
            self._masks = None
        for index, label in enumerate(found.classes.tolist()):
            if label not in self._names:
                self.unknown_classes += 1
                continue
            entry = _result(number, label) | {"score": float(found.scores[index])}
            self._boxes.append(entry | {"bbox": _coco_box(found.boxes[index])})
            if self._masks is not None:
                encoded = masks.encode(found.masks[index])
                self._masks.append(entry | {"segmentation": encoded})

    def measure_boxes(self) -> Metrics:
        """The twelve numbers by `METRICS`, and the classes in order of their ids.

        Raises:
            UserError: there is no box to find.
        """
        if not self.boxes:
            raise UserError(
                f"none of the {self.images} eval records has a box to find",
                at="config: eval_input_reader[0].tf_record_input_reader.input_path",
                hint="check the keys image/object/bbox/* and image/object/class/* of the records",
            )
        areas = [entry["bbox"][2] * entry["bbox"][3] for entry in self._boxes]
        return self._measure("bbox", self._boxes, areas, METRICS)

    def measure_masks(self) -> Metrics:
        """The same over masks, by `MASK_METRICS`; only where `has_masks`."""
        areas = [masks.area(entry["segmentation"]) for entry in self._masks]
        return self._measure("segm", self._masks, areas, MASK_METRICS)

    def write(self, folder: Path) -> None:
        """Writes true objects and detections, in COCO's formats of annotations and results.

        `COCO(TRUTH_NAME)`, `loadRes(BOXES_NAME or MASKS_NAME)` and `COCOeval` with the defaults
        give the same numbers again.
        """
        _write(folder / TRUTH_NAME, self._dataset(self._truth))
        _write(folder / BOXES_NAME, self._boxes)
        if self.has_masks:
            _write(folder / MASKS_NAME, self._masks)
        else:  # those of an earlier evaluation do not belong to the rest
            (folder / MASKS_NAME).unlink(missing_ok=True)

    def _measure(
        self,
        kind: str,
        found: list[dict[str, Any]],
        areas: Iterable[float],
        names: Sequence[str],
    ) -> Metrics:
        from pycocotools.cocoeval import COCOeval

        # What COCO.loadRes adds. That itself fails on a model that found nothing.
        found = [
            entry | {"id": number, "area": area, "iscrowd": 0}
            for number, (entry, area) in enumerate(zip(found, areas, strict=True), start=1)
        ]
        # pycocotools reports on standard output, in the midst of our own.
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCOeval(self._index(self._truth), self._index(found), kind)
            coco.evaluate()
            coco.accumulate()
            coco.summarize()
        # precision: [IoU, recall, class, area, detections]; recall: [IoU, class, area, detections]
        precision = coco.eval["precision"][:, :, :, 0, -1]
        recall = coco.eval["recall"][:, :, 0, -1]
        at_50 = int(np.flatnonzero(np.isclose(coco.params.iouThrs, 0.5))[0])
        counts = dict.fromkeys(self._names, 0)
        for entry in self._truth:
            counts[entry["category_id"]] += not entry["iscrowd"]
        classes = [
            ClassResult(
                id=label,
                name=name,
                ap=_measured(precision[:, :, index].mean()),
                ap50=_measured(precision[at_50, :, index].mean()),
                ar=_measured(recall[:, index].mean()),
                boxes=counts[label],
                precision=precision[at_50, :, index].tolist() if counts[label] else None,
            )
            for index, (label, name) in enumerate(self._names.items())
        ]
        values = (_measured(value) for value in coco.stats)
        return dict(zip(names, values, strict=True)), classes

    def _index(self, annotations: list[dict[str, Any]]) -> Any:
        from pycocotools.coco import COCO

        coco = COCO()
        coco.dataset = self._dataset(annotations)
        coco.createIndex()
        return coco

    def _dataset(self, annotations: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "images": self._images,
            "annotations": annotations,
            "categories": [{"id": label, "name": name} for label, name in self._names.items()],
        }


def _result(image: int, label: int) -> dict[str, Any]:
    return {"image_id": image, "category_id": int(label)}


def _coco_box(box: Sequence[float]) -> list[float]:
    """Left, top, width and height, of ymin, xmin, ymax, xmax."""
    ymin, xmin, ymax, xmax = (float(side) for side in box)
    return [xmin, ymin, xmax - xmin, ymax - ymin]


def _measured(value: float) -> float | None:
    """pycocotools says -1 where there was nothing to measure."""
    return float(value) if math.isfinite(value) and value >= 0 else None


def _write(path: Path, content: Any) -> None:
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.write("\n")
