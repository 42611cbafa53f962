"""The input pipeline of training: what it gives alone, and how long steps wait for it."""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path

from benchmarks import detectors, project
from benchmarks.timing import Figures, in_folder

CASE = detectors.Case("MobileNetV2", 320, 320, 2, 64)
SIZE = (375, 500)
"""Of the images in records, as Pascal VOC has them."""
BATCHES, STEPS = 200, 20
"""Read alone, and in training."""


@in_folder
def input_pipeline(folder: Path) -> Figures:
    """Images/s of reading, decoding, resizing and padding alone; and the waits of training steps.

    Args:
        folder: for the records.
    """
    import tensorflow as tf
    from object_detection import inputs
    from object_detection.builders import model_builder

    from odapi.pipeline.config import load

    path, _ = project.write(folder, CASE.backbone, size=SIZE)
    config = load(str(path))
    config.model.faster_rcnn.image_resizer.CopyFrom(CASE.config().model.faster_rcnn.image_resizer)
    config.model.faster_rcnn.second_stage_batch_size = CASE.rois
    model = model_builder.build(config.model, is_training=True)
    train_input = inputs.train_input(
        train_config=config.train_config,
        train_input_config=config.train_input_reader,
        model_config=config.model,
        model=model,
    ).repeat()
    batches = iter(train_input)
    next(batches)
    began = time.perf_counter()
    for _ in itertools.islice(batches, BATCHES):
        pass
    alone = BATCHES * CASE.batch / (time.perf_counter() - began)

    step = detectors.training_step(config.train_config, model)
    batches = iter(train_input)
    waits, steps = [], []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        features, labels = next(batches)
        waits.append(time.perf_counter() - began)
        step(features, labels).numpy()
        steps.append(time.perf_counter() - began)
    tf.keras.backend.set_learning_phase(0)
    return {
        "case": f"{CASE}; PNG images of noise, {SIZE[1]}x{SIZE[0]}",
        "images/s alone": round(alone, 1),
        "images/s in training": round(CASE.batch / statistics.median(steps[1:]), 1),
        "wait of a step, s": round(statistics.median(waits[1:]), 4),
        "step, s": round(statistics.median(steps[1:]), 4),
    }
