"""Records of noise and a VGG-16 detector's config, for the commands that are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from odapi import pipeline
from odapi.demo import scenes

RECORDS = 64
SIDE = 96
MODEL_SIDE = 160


def write(folder: Path) -> tuple[Path, Path]:
    """Writes records, label map and config; returns the paths of the config and of an image."""
    random = np.random.default_rng(1)
    images = [random.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(RECORDS + 1)]
    corner, end = SIDE // 5, SIDE * 7 // 10
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    mask[:, corner:end, corner:end] = 1
    boxes, labels = np.array([[corner, corner, end, end]], np.float32), np.array([1])
    image = folder / "image.png"
    Image.fromarray(images.pop()).save(image)
    noise = [scenes.Scene(pixels, boxes, labels, mask) for pixels in images]
    scenes.write_records(noise, folder / "train.record")
    label_map = folder / "label_map.pbtxt"
    scenes.write_label_map(label_map)
    records = str(folder / "train.record")
    run = pipeline.Run(
        num_classes=len(scenes.CLASS_NAMES),
        train_records=records,
        eval_records=records,
        label_map=str(label_map),
        batch_size=2,
        num_steps=1000,
    )
    config = pipeline.faster_rcnn(run)
    model = config.model.faster_rcnn
    model.image_resizer.fixed_shape_resizer.height = MODEL_SIDE
    model.image_resizer.fixed_shape_resizer.width = MODEL_SIDE
    model.second_stage_batch_size = 32
    for field in ("fine_tune_checkpoint", "fine_tune_checkpoint_type"):
        config.train_config.ClearField(field)
    # Gradients of random weights are large.
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    rate.constant_learning_rate.learning_rate = 1e-6
    pipeline.write(config, folder / "pipeline.config")
    return folder / "pipeline.config", image
