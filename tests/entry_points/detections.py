"""What a detector found on one image, and how two findings differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from object_detection.builders import model_builder
from object_detection.utils import config_util


@dataclass(frozen=True)
class Detections:
    """Boxes float [N, 4] ymin, xmin, ymax, xmax in 0..1, scores [N] in 0..1, classes int [N]."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, object]) -> Detections:
        """From a model's batched outputs, the first image of the batch; boxes are clipped."""
        count = int(np.asarray(outputs["num_detections"])[0])
        return cls(
            np.clip(np.asarray(outputs["detection_boxes"])[0, :count], 0, 1),
            np.asarray(outputs["detection_scores"])[0, :count],
            np.asarray(outputs["detection_classes"])[0, :count].astype(int),
        )

    def best(self, count: int) -> Detections:
        """The detections of the highest scores."""
        order = np.argsort(-self.scores, kind="stable")[:count]
        return Detections(self.boxes[order], self.scores[order], self.classes[order])

    def shifted(self, index: int, offset: float) -> Detections:
        """The same detections with one box moved down."""
        boxes = self.boxes.copy()
        boxes[index, [0, 2]] += offset
        return replace(self, boxes=boxes)


def differences(
    actual: Detections, expected: Detections, box: float = 1e-4, score: float = 1e-4
) -> list[str]:
    """What of `expected` is not in `actual`, in words; empty when all is, and nothing else is.

    The order does not count, because detections of nearly equal scores may change places.

    Args:
        actual: one finding.
        expected: the other one.
        box: the largest difference of a coordinate between equal boxes.
        score: the largest difference between equal scores.
    """
    found = []
    if len(actual.scores) != len(expected.scores):
        found.append(f"{len(actual.scores)} detections instead of {len(expected.scores)}")
    free = np.ones(len(actual.scores), bool)
    for one in range(len(expected.scores)):
        same = (
            free
            & (actual.classes == expected.classes[one])
            & (np.abs(actual.scores - expected.scores[one]) <= score)
            & (np.abs(actual.boxes - expected.boxes[one]).max(axis=1, initial=0) <= box)
        )
        if same.any():
            free[np.argmax(same)] = False
        else:
            found.append(
                f"class {expected.classes[one]} with score {expected.scores[one]:.4f}"
                f" at {expected.boxes[one].round(4).tolist()} is missing"
            )
    return found


def load_detector(config: Path, checkpoint: str | None) -> Callable[[np.ndarray], Detections]:
    """The model of a config, run step by step in this process: no exporter took part.

    Args:
        config: a pipeline config.
        checkpoint: prefix of a checkpoint, or None for random weights.

    Returns:
        A function of an image uint8 [height, width, 3].
    """
    pipeline = config_util.get_configs_from_pipeline_file(str(config))
    model = model_builder.build(pipeline["model"], is_training=False)
    if checkpoint:
        tf.train.Checkpoint(model=model).restore(checkpoint).expect_partial()

    def detect(image: np.ndarray) -> Detections:
        images, shapes = model.preprocess(tf.constant(image[None], tf.float32))
        outputs = dict(model.postprocess(model.predict(images, shapes), shapes))
        outputs["detection_classes"] += 1  # the model counts from 0, label maps from 1
        return Detections.from_outputs(outputs)

    return detect
