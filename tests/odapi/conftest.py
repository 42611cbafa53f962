"""A small detection project: records of coloured rectangles, and a config that trains quickly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from odapi import cli
from tests.small import ssd
from tests.small.scenes import Scene, make_scene, write_label_map


@dataclass(frozen=True)
class Project:
    """A folder with records, a label map and a pipeline config."""

    folder: Path
    config: Path
    label_map: Path
    scenes: list[Scene]

    def variant(self, name: str, **changes: object) -> Path:
        """Writes the config with some values changed, and returns its path."""
        path = self.folder / f"{name}.config"
        path.write_text(ssd.config(self.folder, **changes))
        return path


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Sixteen scenes to train on, six to evaluate on, and a config for both."""
    pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")
    from tests.small.records import scene_features, write_records

    folder = tmp_path_factory.mktemp("project")
    scenes = [make_scene(seed, objects=(1, 2)) for seed in range(22)]
    records = [scene_features(scene) for scene in scenes]
    write_records(folder / "train.record", records[:16])
    write_records(folder / "eval.record", records[16:])
    label_map = write_label_map(folder / "label_map.pbtxt")
    config = folder / "pipeline.config"
    config.write_text(ssd.config(folder))
    return Project(folder, config, label_map, scenes[16:])


@pytest.fixture(scope="session")
def trained(project: Project) -> Path:
    """A model_dir after 24 steps in two runs: 20, then 4 more."""
    import tensorflow as tf

    # From other first weights, the loss may fall too slowly to show in so few steps.
    tf.keras.utils.set_random_seed(1)
    model_dir = project.folder / "model"
    common = ["train", f"--pipeline_config_path={project.config}", "--model_dir", str(model_dir)]
    assert cli.main(common) == 0
    assert cli.main([*common, "--num_train_steps=24"]) == 0
    return model_dir
