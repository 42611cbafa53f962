"""Trains two steps, restores the checkpoints for inference, predicts, and checks each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from object_detection import model_lib_v2
from object_detection.builders import model_builder

from tests.architectures import records
from tests.architectures.catalogue import (
    CLASSES,
    CONTEXT_FEATURE_LENGTH,
    KEYPOINTS,
    MAX_CONTEXT_FEATURES,
    MAX_DETECTIONS,
    Architecture,
)

BATCH = 2
FEWEST_CHANGED = 0.75
"""Of the trainable variables, the part that a step has to change. Not all of them: a bias before
a batch normalisation has no gradient, and neither has what no sampled proposal reached."""


@dataclass(frozen=True)
class Trained:
    """What `train` leaves behind.

    Attributes:
        losses: of each step, by name; the total is "Loss/total_loss".
        checkpoints: prefixes of the checkpoints after each step.
    """

    losses: list[dict[str, float]]
    checkpoints: list[str]


def train(
    architecture: Architecture,
    folder: Path,
    *,
    eagerly: bool = False,
    override: str = "",
    steps: int = 2,
) -> Trained:
    """Trains some steps with upstream's train loop, a checkpoint after each.

    Args:
        architecture: what to train.
        folder: with the records that `records.write` wrote; the run goes there too.
        eagerly: run the step operation by operation instead of compiling it into a graph. The
            operations are the same, and tracing them twice, as the loop does, takes most of the
            time of a short run.
        override: a pipeline config as text, merged over the architecture's.
        steps: how many.
    """
    config = folder / "pipeline.config"
    config.write_text(text_format.MessageToString(architecture.config(folder)))
    losses = []
    model_dir = folder / "model"
    tf.config.run_functions_eagerly(eagerly)
    try:
        model_lib_v2.train_loop(
            str(config),
            str(model_dir),
            config_override=override,
            train_steps=steps,
            num_steps_per_iteration=1,
            checkpoint_every_n=1,
            checkpoint_max_to_keep=steps,
            record_summaries=False,
            step_callback=lambda _, values: losses.append(
                {name: float(value) for name, value in values.items()}
            ),
        )
    finally:
        tf.config.run_functions_eagerly(False)
    checkpoints = tf.train.get_checkpoint_state(str(model_dir)).all_model_checkpoint_paths
    # A trained process is not where a user restores a model: forget its graph and learning phase.
    tf.keras.backend.clear_session()
    return Trained(losses, list(checkpoints))


def build_for_inference(architecture: Architecture, folder: Path):
    """The model, its variables not yet created where Keras leaves that to the first call."""
    return model_builder.build(architecture.config(folder).model, is_training=False)


def predict(model, architecture: Architecture) -> dict[str, np.ndarray]:
    """Detections on two images, one of them empty, as arrays.

    Creates the model's variables if this is its first call.
    """
    images = np.stack([records.image_of(seed=9), np.full_like(records.image_of(9), 110)])
    inputs, shapes = model.preprocess(tf.cast(images, tf.float32))
    side_inputs = {}
    if architecture.context:
        size = (BATCH, MAX_CONTEXT_FEATURES, CONTEXT_FEATURE_LENGTH)
        context = np.random.default_rng(9).normal(size=size)
        side_inputs = {
            "context_features": tf.constant(context, tf.float32),
            "valid_context_size": tf.constant([2, 0]),
        }
    detections = model.postprocess(model.predict(inputs, shapes, **side_inputs), shapes)
    return {name: value.numpy() for name, value in detections.items() if tf.is_tensor(value)}


def restore(model, checkpoint: str) -> list[np.ndarray]:
    """Restores every variable of a model that has been called; returns the trainable ones."""
    saved = tf.train.Checkpoint(model=model).read(checkpoint)
    saved.assert_existing_objects_matched().expect_partial()
    return [variable.numpy() for variable in model.trainable_variables]


def check_trained(
    losses: list[Mapping[str, float]],
    before: list[np.ndarray],
    after: list[np.ndarray],
    fewest: float = FEWEST_CHANGED,
) -> None:
    """Asserts that losses are finite, and that a step changed the trainable variables.

    Args:
        losses: one or more steps' losses by name.
        before: trainable variables before a step.
        after: the same after it.
        fewest: the part of them that has to change.
    """
    assert losses, "no step was reported"
    for step in losses:
        wrong = {name: value for name, value in step.items() if not np.isfinite(value)}
        assert not wrong, f"not finite: {wrong}"
        assert step["Loss/total_loss"] > 0
    assert before, "there are no trainable variables"
    assert all(np.isfinite(value).all() for value in after), "a variable is not finite"
    changed = sum(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert changed >= fewest * len(before), (
        f"{changed} of {len(before)} trainable variables changed"
    )


def check_detections(detections: Mapping[str, np.ndarray], architecture: Architecture) -> None:
    """Asserts shapes and value ranges of the detections that `predict` returned."""
    most = (BATCH, MAX_DETECTIONS)
    shapes = {
        "detection_boxes": (*most, 4),
        "detection_scores": most,
        "detection_classes": most,
        "num_detections": (BATCH,),
    }
    if architecture.masks:
        shapes["detection_masks"] = (*most, *architecture.masks)
    if architecture.keypoints:
        shapes["detection_keypoints"] = (*most, len(KEYPOINTS), 2)
        shapes["detection_keypoint_scores"] = (*most, len(KEYPOINTS))
    assert {name: detections[name].shape for name in shapes} == shapes

    for name in shapes:
        assert np.isfinite(detections[name]).all(), f"{name} is not finite"
    for name in shapes.keys() - {"detection_classes", "num_detections", "detection_keypoints"}:
        low, high = detections[name].min(), detections[name].max()
        assert low >= 0 and high <= 1 + 1e-6, f"{name} in [{low}, {high}]"
    boxes = detections["detection_boxes"]
    assert (boxes[..., :2] <= boxes[..., 2:]).all(), "a box is inverted"
    assert set(np.unique(detections["detection_classes"])) <= set(range(len(CLASSES)))
    assert (detections["num_detections"] <= MAX_DETECTIONS).all()
