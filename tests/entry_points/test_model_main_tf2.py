"""model_main_tf2.py: training, then evaluation of the checkpoint it left."""

from __future__ import annotations

import contextlib
import io
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.entry_points.detections import Detections
from tests.entry_points.project import STEPS
from tests.entry_points.tree import run_script
from tests.small.scenes import SIDE, Scene


def read_events(folder: Path) -> dict[str, dict[int, float]]:
    """The scalars of all event files in a folder, by tag and step."""
    scalars = defaultdict(dict)
    for path in folder.glob("events.out.tfevents.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name in ("", "scalars"):
                    scalars[value.tag][event.step] = float(tf.make_ndarray(value.tensor))
    return scalars


def test_training_checkpoints_and_logs_its_steps(trained):
    for prefix, step in {str(trained.model_dir / "ckpt-1"): 0, trained.checkpoint: STEPS}.items():
        reader = tf.train.load_checkpoint(prefix)
        assert int(reader.get_tensor("step/.ATTRIBUTES/VARIABLE_VALUE")) == step

    loss = read_events(trained.model_dir / "train")["Loss/total_loss"][STEPS]
    assert 0 < loss < np.inf
    assert f"Step {STEPS} per-step time" in trained.output
    printed = re.search(r"'Loss/total_loss': (?:np\.float32\()?([\d.]+)", trained.output)
    assert float(printed[1]) == pytest.approx(loss, rel=1e-5)


def test_evaluation_prints_and_logs_the_map_of_the_checkpoint(project, trained, detect, tmp_path):
    output = run_script(
        "model_main_tf2.py",
        project.folder,
        pipeline_config_path=project.config,
        model_dir=tmp_path,
        checkpoint_dir=trained.model_dir,
        eval_timeout=60,
        alsologtostderr=True,
    )
    expected = average_precision(project.scenes, [detect(scene.image) for scene in project.scenes])
    assert expected > 0.05  # else a model that finds nothing would pass

    printed = re.search(r"IoU=0.50:0.95 \| area=   all \| maxDets=100 \] = ([\d.]+)", output)
    assert float(printed[1]) == pytest.approx(expected, abs=1e-3)
    logged = re.search(r"DetectionBoxes_Precision/mAP: ([\d.]+)", output)
    assert float(logged[1]) == pytest.approx(expected, abs=1e-3)
    [event] = read_events(tmp_path / "eval")["DetectionBoxes_Precision/mAP"].items()
    assert event == (STEPS, pytest.approx(expected, abs=1e-3))


def test_the_reference_map_sees_wrong_boxes(project):
    perfect = [
        Detections(scene.normalized_boxes, np.array([0.9, 0.8]), np.array(scene.labels))
        for scene in project.scenes
    ]
    assert average_precision(project.scenes, perfect) == pytest.approx(1.0)
    spoiled = [perfect[0].shifted(0, 0.5), *perfect[1:]]
    assert average_precision(project.scenes, spoiled) < 0.95


def average_precision(scenes: list[Scene], detections: list[Detections]) -> float:
    """COCO's AP over IoU 0.50 to 0.95, by pycocotools."""
    truth, found = [], []
    for image_id, (scene, detected) in enumerate(zip(scenes, detections, strict=True), start=1):
        for box, label in zip(scene.boxes, scene.labels, strict=True):
            truth.append(annotation(image_id, box, label) | {"id": len(truth) + 1, "iscrowd": 0})
        for box, score, label in zip(
            detected.boxes * SIDE, detected.scores, detected.classes, strict=True
        ):
            found.append(annotation(image_id, box, label) | {"score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image_id + 1} for image_id in range(len(scenes))],
            "annotations": truth,
            "categories": [{"id": 1}, {"id": 2}],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def annotation(image_id: int, box: np.ndarray, label: int) -> dict:
    top, left, bottom, right = (float(value) for value in box)
    height, width = bottom - top, right - left
    return {
        "image_id": image_id,
        "category_id": int(label),
        "bbox": [left, top, width, height],
        "area": height * width,
    }
