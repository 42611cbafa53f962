"""The whole demo at its smallest: every phase runs, and each hands its result to the next."""

from __future__ import annotations

import json

import pytest

from odapi.demo.run import TINY, run_demo
from odapi.errors import UserError


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "run"
    return run_demo(folder, TINY).parent


def test_every_convolution_of_the_classifier_arrives(demo):
    report = json.loads((demo / "converted" / "transfer_report.json").read_text())

    assert report["convolutions_moved"] == 13
    assert report["coverage"] == 100
    assert report["parity"]["passed"]


@pytest.mark.parametrize("run", ["detector", "from_scratch"])
def test_both_detectors_train_to_the_last_step_and_are_evaluated(demo, run):
    steps = [json.loads(line)["step"] for line in (demo / run / "train_log.jsonl").open()]
    evaluation = json.loads((demo / run / "evaluation.json").read_text())

    assert steps == [1, 2, 3]
    assert evaluation["step"] == 3
    assert evaluation["images"] == TINY.test_scenes
    assert evaluation["boxes"] > 0


def test_the_exported_model_detects_in_pictures_and_the_report_is_whole(demo):
    assert (demo / "exported" / "saved_model" / "saved_model.pb").is_file()
    assert (demo / "predictions" / "detections.json").is_file()
    assert (demo / "predictions" / "scene_01.png").is_file()
    page = (demo / "report.html").read_text()
    assert "from scratch" in page and "odapi convert" in page and page.endswith("</html>\n")


def test_a_folder_that_is_not_a_demos_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")

    with pytest.raises(UserError, match="not a demo"):
        run_demo(tmp_path, TINY)

    assert (tmp_path / "thesis.txt").read_text() == "irreplaceable"
