"""A small detection project: records, a label map, and a config of an SSD MobileNetV2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from tests.small import ssd
from tests.small.records import scene_features, write_records
from tests.small.scenes import Scene, make_scene, write_label_map

STEPS = 100
"""Training logs every hundredth."""


@dataclass(frozen=True)
class Project:
    """A folder with records, a label map and a pipeline config; `scenes` are the eval records'."""

    folder: Path
    config: Path
    label_map: Path
    scenes: list[Scene]


@dataclass(frozen=True)
class Training:
    """A model_dir, and what the script that filled it wrote to the terminal."""

    model_dir: Path
    output: str

    @property
    def checkpoint(self) -> str:
        """Prefix of the last checkpoint."""
        return tf.train.latest_checkpoint(str(self.model_dir))


def make_project(folder: Path) -> Project:
    """Twenty-four scenes to train on, six to evaluate on, and a model of 96 x 96 pixels."""
    scenes = [make_scene(seed) for seed in range(30)]
    features = [scene_features(scene) for scene in scenes]
    write_records(folder / "train.record", features[:24])
    write_records(folder / "eval.record", features[24:])
    label_map = write_label_map(folder / "label_map.pbtxt")
    config = folder / "pipeline.config"
    config.write_text(
        ssd.config(
            folder,
            extractor="ssd_mobilenet_v2_keras",
            num_layers=2,
            scales=(0.3, 0.45),
            kernel_size=3,
            predictor_activation="RELU",
            nms_iou=0.5,
            max_detections=10,
            batch_size=8,
            num_steps=STEPS,
        )
    )
    return Project(folder, config, label_map, scenes[24:])
