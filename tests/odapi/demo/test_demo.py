"""The whole demo at its smallest: every phase runs, and each hands its result to the next."""

from __future__ import annotations

import json

import pytest

from odapi import cli
from odapi.console.errors import UserError
from odapi.convert.request import Architecture
from odapi.demo.run import TINY, Choice, run_demo
from odapi.pipeline.config import load


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "run"
    return run_demo(folder, size=TINY).parent


def test_every_weight_of_the_classifier_before_its_head_arrives(demo):
    report = json.loads((demo / "converted" / "transfer_report.json").read_text())

    assert report["coverage"] == 100
    assert [layer["layer"] for layer in report["unused"]] == ["predictions"]
    assert all(parity["passed"] for parity in report["parity"])


def test_only_the_detector_from_scratch_starts_without_the_classifier(demo):
    converted, scratch = (
        load(str(demo / f"{name}.config")) for name in ("detector", "from_scratch")
    )

    assert converted.train_config.fine_tune_checkpoint == str(demo / "converted" / "ckpt-1")
    assert not scratch.train_config.fine_tune_checkpoint
    extractors = [config.model.faster_rcnn.feature_extractor for config in (converted, scratch)]
    assert extractors[0].type == extractors[1].type == f"keras:{demo / 'converted'}"
    assert [extractor.batch_norm_trainable for extractor in extractors] == [False, True]
    assert converted.train_config.num_steps == scratch.train_config.num_steps


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
    assert "small residual network" in page and "Faster R-CNN" in page


def test_masks_of_an_own_classifier_are_measured_and_drawn(demo, tmp_path):
    choice = Choice(str(demo / "classifier.keras"), Architecture.MASK_RCNN)

    report = run_demo(tmp_path / "masks", choice, TINY, from_scratch=False)

    page = report.read_text()
    assert "AP@0.5 of masks" in page and "Mask R-CNN" in page and "classifier.keras" in page
    assert 'id="classifier"' not in page
    assert not (report.parent / "from_scratch").exists()


def test_a_folder_that_is_not_a_demos_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")

    with pytest.raises(UserError, match="not a demo"):
        run_demo(tmp_path, size=TINY)

    assert (tmp_path / "thesis.txt").read_text() == "irreplaceable"


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--task", "boxes", "--architecture", "mask_rcnn"], "mask_rcnn finds masks, not boxes"),
        (["--task", "masks", "--architecture", "ssd"], "ssd finds boxes, not masks"),
        (["--backbone", "nosuch.keras"], "there is no classifier nosuch.keras"),
        (["--preprocessing", "tf"], "the demo trains small itself"),
    ],
)
def test_flags_that_contradict_each_other_are_refused_at_once(tmp_path, capsys, flags, complaint):
    assert cli.main(["demo", "--output_dir", str(tmp_path / "out"), *flags]) == 2

    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_classifier_in_the_output_folder_is_not_deleted(tmp_path, capsys):
    own = tmp_path / "classifier.keras"
    own.write_text("irreplaceable")

    assert cli.main(["demo", "--output_dir", str(tmp_path), "--backbone", str(own)]) == 2

    assert "would be deleted" in capsys.readouterr().err
    assert own.read_text() == "irreplaceable"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], Choice("small", Architecture.FASTER_RCNN)),
        (["--task", "masks"], Choice("small", Architecture.MASK_RCNN)),
        (["--architecture", "mask_rcnn"], Choice("small", Architecture.MASK_RCNN)),
        (["--architecture", "ssd", "--backbone", "vgg16"], Choice("vgg16", Architecture.SSD)),
    ],
)
def test_flags_choose_the_detector(tmp_path, monkeypatch, flags, expected):
    chosen = []
    monkeypatch.setattr(
        "odapi.demo.run.run_demo", lambda output, choice, *_, **__: chosen.append(choice)
    )

    assert cli.main(["demo", "--output_dir", str(tmp_path), *flags]) == 0

    assert chosen == [expected]
