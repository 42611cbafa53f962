"""A small detector that model_main_tf2.py trains once, for every script that takes a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

from tests.entry_points.detections import Detections, load_detector
from tests.entry_points.project import Project, Training, make_project
from tests.entry_points.tree import run_script
from tests.small.once import once


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Real records and a config, nothing trained."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """The project's model after as many steps as its config says."""

    def train(folder: Path) -> None:
        output = run_script(
            "model_main_tf2.py",
            folder,
            pipeline_config_path=make_project(folder).config,
            model_dir=folder / "model",
            alsologtostderr=True,
        )
        (folder / "output.txt").write_text(output)

    folder = once(tmp_path_factory, "entry_points_training", train)
    return Training(folder / "model", (folder / "output.txt").read_text())


@pytest.fixture(scope="session")
def detect(project: Project, trained: Training) -> Callable[[np.ndarray], Detections]:
    """The trained model as the reference that exported ones are compared with."""
    return load_detector(project.config, trained.checkpoint)


@pytest.fixture(scope="session")
def export_model(project: Project, trained: Training) -> Callable[[str], Path]:
    """Runs exporter_main_v2.py for an input type, once for each, and returns its folder."""

    @cache
    def export(input_type: str) -> Path:
        output = project.folder / input_type
        run_script(
            "exporter_main_v2.py",
            project.folder,
            input_type=input_type,
            pipeline_config_path=project.config,
            trained_checkpoint_dir=trained.model_dir,
            output_directory=output,
        )
        return output

    return export
