"""Which detections are right, at one score and IoU: confusion matrix and the worst images."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from odapi.detector.drawing import draw_detections
from odapi.evaluate.result import Confusion
from odapi.pages.figures import jpeg
from odapi.records.ground_truth import GroundTruth

if TYPE_CHECKING:
    from odapi.detector.detector import Detections

MATCHED_IOU = 0.5
MIN_SCORE = 0.5
"""Detections below it are left out, unless another is asked for; `odapi predict` has the same."""

WORST_IMAGES = 12
DRAWN_SIDE = 800
"""Larger images are drawn with their longer side of so many pixels: the page holds them all."""


@dataclass(frozen=True)
class Pairs:
    """What belongs together in one image; indices into its true boxes and its detections.

    Attributes:
        pairs: (true box, detection), of the same class or not.
        missed: true boxes without a detection.
        nothing: detections where nothing is. One upon a crowd of its class is in neither list.
    """

    pairs: list[tuple[int, int]]
    missed: list[int]
    nothing: list[int]


def pair(truth: GroundTruth, found: Detections, min_score: float) -> Pairs:
    """Pairs detections of at least `min_score` with true boxes, at IoU 0.5.

    First within each class as COCO does: the surest detection comes first and takes the box of
    highest IoU that is left; what finds none, but lies upon a crowd of its class, is left out.
    Then, in the same order, what is left of all classes: these are the confused ones.
    """
    from pycocotools import mask as boxes

    count = int((found.scores >= min_score).sum())  # highest score first
    overlap = np.zeros((count, len(truth.boxes)))
    if overlap.size:
        overlap = boxes.iou(_sides(found.boxes[:count]), _sides(truth.boxes), truth.crowd)
    overlap[overlap < MATCHED_IOU] = 0
    crowd = truth.crowd.astype(bool)
    same = found.classes[:count, np.newaxis] == truth.classes
    left = list(range(count))
    pairs: list[tuple[int, int]] = []
    for allowed in (same & ~crowd, np.broadcast_to(~crowd, same.shape)):
        free = overlap * allowed
        free[:, [box for box, _ in pairs]] = 0
        for detection in left:
            if free.shape[1] and free[detection].any():
                box = int(free[detection].argmax())
                pairs.append((box, detection))
                free[:, box] = 0
        taken = {detection for _, detection in pairs}
        upon_crowd = (overlap * (same & crowd)).any(axis=1)
        left = [index for index in left if index not in taken and not upon_crowd[index]]
    boxes_taken = {box for box, _ in pairs}
    missed = [box for box in np.flatnonzero(~crowd).tolist() if box not in boxes_taken]
    return Pairs(pairs, missed, left)


@dataclass(frozen=True, order=True)
class WorstImage:
    """An image with many mistakes.

    Attributes:
        mistakes: missed objects and wrong detections; an object that was taken for another class
            is both.
        confidence: sum of the wrong detections' scores.
        order: minus the image's number: among equals, earlier images come first.
        caption: which image, and what is wrong.
        truth, found: JPEG files with what is there and what was detected.
    """

    mistakes: int
    confidence: float
    order: int
    caption: str
    truth: bytes
    found: bytes


class Mistakes:
    """Counts what is right and wrong, image by image, and draws the worst."""

    def __init__(
        self, names: Mapping[int, str], min_score: float = MIN_SCORE, worst: int = WORST_IMAGES
    ) -> None:
        """Args: names: class id to name; worst: how many images to draw."""
        self._names = dict(sorted(names.items()))
        self._places = {label: place for place, label in enumerate(self._names)}
        self._counts = np.zeros([len(self._names) + 1] * 2, np.int64)
        self._min_score = min_score
        self._number = 0
        self._keep = worst
        self._worst: list[WorstImage] = []

    def add(self, image: np.ndarray, truth: GroundTruth, found: Detections) -> None:
        """Adds one image, uint8 [H, W, 3] RGB; only what is drawn of it stays in memory."""
        self._number += 1
        known = np.isin(found.classes, list(self._names)) & (found.scores >= self._min_score)
        found = found.select(known)
        paired = pair(truth, found, self._min_score)
        true = [self._places[label] for label in truth.classes.tolist()]
        detected = [self._places[label] for label in found.classes.tolist()]
        for box, detection in paired.pairs:
            self._counts[true[box], detected[detection]] += 1
        for box in paired.missed:
            self._counts[true[box], -1] += 1
        for detection in paired.nothing:
            self._counts[-1, detected[detection]] += 1
        confused = [d for box, d in paired.pairs if true[box] != detected[d]]
        mistakes = 2 * len(confused) + len(paired.missed) + len(paired.nothing)
        confidence = float(found.scores[confused + paired.nothing].sum())
        rank = (mistakes, confidence, -self._number)
        full = len(self._worst) >= self._keep
        if not mistakes or not self._keep or (full and rank < self._rank(self._worst[0])):
            return
        name = truth.filename or truth.source_id or f"image {self._number}"
        caption = (
            f"{name}: {len(paired.missed)} missed, {len(paired.nothing)} where nothing is, "
            f"{len(confused)} taken for another class"
        )
        entry = WorstImage(*rank, caption, *self._draw(image, truth, found))
        (heapq.heappushpop if full else heapq.heappush)(self._worst, entry)

    def worst(self) -> list[WorstImage]:
        """The images with most mistakes, the worst first; none without a mistake."""
        return sorted(self._worst, reverse=True)

    def confusion(self) -> Confusion:
        """The confusion matrix of the images added."""
        names = list(self._names.values())
        return Confusion(self._min_score, MATCHED_IOU, names, self._counts.tolist())

    @staticmethod
    def _rank(entry: WorstImage) -> tuple[int, float, int]:
        return entry.mistakes, entry.confidence, entry.order

    def _draw(
        self, image: np.ndarray, truth: GroundTruth, found: Detections
    ) -> tuple[bytes, bytes]:
        scale = min(1.0, DRAWN_SIDE / max(image.shape[:2]))
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))

        def drawn(boxes, classes, masks, scores=None) -> bytes:
            if masks is not None:
                resized = [
                    np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
                    for mask in masks
                ]
                masks = np.reshape(resized, (-1, *small.shape[:2]))
            labels = [self._names[label] for label in classes.tolist()]
            return jpeg(draw_detections(small, boxes * scale, labels, scores, masks=masks))

        # True masks are drawn only beside detected ones: boxes are compared with boxes.
        true_masks = None if found.masks is None else truth.masks
        return (
            drawn(truth.boxes, truth.classes, true_masks),
            drawn(found.boxes, found.classes, found.masks, found.scores),
        )


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Left, top, width and height as float64 [N, 4], of ymin, xmin, ymax, xmax."""
    ymin, xmin, ymax, xmax = np.asarray(boxes, np.float64).T
    return np.ascontiguousarray(np.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=1))
