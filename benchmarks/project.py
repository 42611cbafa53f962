"""Records of noise and a detector's config, for the commands that are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from odapi.convert import recipes
from odapi.demo import scenes

RECORDS = 64
SIZE = (96, 96)
MODEL_SIDE = 160


def write(
    folder: Path,
    backbone: str = "vgg16",
    records: int = RECORDS,
    size: tuple[int, int] = SIZE,
) -> tuple[Path, Path]:
    """Writes records, label map and config; returns the paths of the config and of an image.

    Args:
        folder: where they go.
        backbone: `vgg16`, or a network of `tf.keras.applications`.
        records: their number, of training and of evaluation: they are the same.
        size: height and width of the images in pixels.
    """
    random = np.random.default_rng(1)
    images = [random.integers(0, 256, (*size, 3), np.uint8) for _ in range(records + 1)]
    top, left = (side // 5 for side in size)
    bottom, right = (side * 7 // 10 for side in size)
    mask = np.zeros((1, *size), np.uint8)
    mask[:, top:bottom, left:right] = 1
    boxes, labels = np.array([[top, left, bottom, right]], np.float32), np.array([1])
    image = folder / "image.png"
    Image.fromarray(images.pop()).save(image)
    noise = [scenes.Scene(pixels, boxes, labels, mask) for pixels in images]
    scenes.write_records(noise, folder / "train.record")
    label_map = folder / "label_map.pbtxt"
    scenes.write_label_map(label_map)
    path = str(folder / "train.record")
    run = recipes.TrainingSettings(
        num_classes=len(scenes.CLASS_NAMES),
        train_records=path,
        eval_records=path,
        label_map=str(label_map),
        batch_size=2,
        num_steps=1000,
    )
    extractor = "faster_rcnn_vgg16" if backbone == "vgg16" else f"keras:{backbone}"
    config = recipes.faster_rcnn(run, extractor=extractor)
    model = config.model.faster_rcnn
    model.image_resizer.fixed_shape_resizer.height = MODEL_SIDE
    model.image_resizer.fixed_shape_resizer.width = MODEL_SIDE
    model.second_stage_batch_size = 32
    for field in ("fine_tune_checkpoint", "fine_tune_checkpoint_type"):
        config.train_config.ClearField(field)
    # Gradients of random weights are large.
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    rate.constant_learning_rate.learning_rate = 1e-6
    recipes.write(config, folder / "pipeline.config")
    return folder / "pipeline.config", image
