"""Whether two models detect the same: how far their detections in images lie apart."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from odapi.detector.detector import Detections, Detector

BOX_TOLERANCE = 1e-2
"""Pixels. Both models run the same graph in float32; what optimisation of the SavedModel's graph
changes is some 1e-4 pixels in an image of 1000, and a wrong variable changes whole pixels."""
SCORE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Difference:
    """How far two models' detections in some images lie apart.

    Attributes:
        boxes: largest difference of a box side, in pixels; infinite where a detection of one
            model has no counterpart of its class and score in the other.
        scores: largest difference between scores of the same rank.
        variables: number of variables of the second model whose values no variable of the first
            has. Few images show few detections: a wrong variable need not show in them.
        detections: number of detections compared.
        images: number of images.
    """

    boxes: float
    scores: float
    variables: int
    detections: int
    images: int

    @property
    def tolerable(self) -> bool:
        """Whether it is no more than rounding."""
        return (
            self.boxes <= BOX_TOLERANCE and self.scores <= SCORE_TOLERANCE and self.variables == 0
        )


def compare(first: Detector, second: Detector, images: Sequence[np.ndarray]) -> Difference:
    """Runs two models on the same images (uint8 [H, W, 3], RGB)."""
    foreign = _values(second) - _values(first)
    boxes = scores = 0.0
    detections = 0
    for image in images:
        here, there = first.detect(image), second.detect(image)
        detections += max(len(here), len(there))
        if len(here) != len(there):
            boxes = scores = math.inf
            continue
        if len(here):
            scores = max(scores, float(np.abs(here.scores - there.scores).max()))
            boxes = max(boxes, _box_distance(here, there), _box_distance(there, here))
    return Difference(boxes, scores, foreign.total(), detections, len(images))


def _values(detector: Detector) -> Counter[str]:
    """Hashes of the variables' values. Not by name: an exported variable may lose its own."""
    return Counter(
        hashlib.sha256(variable.numpy().tobytes()).hexdigest() for variable in detector.variables
    )


def _box_distance(here: Detections, there: Detections) -> float:
    """The largest distance from a detection to its nearest counterpart, in pixels.

    Not rank by rank: two detections whose scores are equal but for rounding may change places.
    """
    distance = np.abs(here.boxes[:, np.newaxis] - there.boxes).max(axis=2)
    same_class = here.classes[:, np.newaxis] == there.classes
    same_score = np.abs(here.scores[:, np.newaxis] - there.scores) <= SCORE_TOLERANCE
    distance[~(same_class & same_score)] = np.inf
    return float(distance.min(axis=1).max())
