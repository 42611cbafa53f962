"""Records of coloured rectangles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest

from tests.small.records import scene_features, write_records
from tests.small.scenes import make_scene, write_label_map


@dataclass(frozen=True)
class Records:
    """Eight images to train on, four to evaluate on, and one of the latter as an array."""

    train: Path
    evaluation: Path
    label_map: Path
    image: np.ndarray


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Images of 96x96 pixels with two rectangles each."""
    folder = tmp_path_factory.mktemp("records")
    scenes = [make_scene(seed) for seed in range(12)]
    features = [scene_features(scene) for scene in scenes]
    return Records(
        write_records(folder / "train.record", features[:8]),
        write_records(folder / "eval.record", features[8:]),
        write_label_map(folder / "label_map.pbtxt"),
        scenes[-1].image,
    )
