"""Evaluation during training, the best checkpoint, and a run that ends early."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from odapi import cli
from odapi.console.errors import UserError
from odapi.pipeline.checkpoint import checkpoint_step, find_checkpoint
from odapi.pipeline.config import load

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

from odapi.train import validation

MAP = "DetectionBoxes_Precision/mAP"


def evaluations(model_dir: Path) -> list[dict]:
    lines = (model_dir / validation.LOG_NAME).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_evaluates_keeps_the_best_and_goes_on_as_before(project, tmp_path, capsys):
    import tensorflow as tf

    assert (
        cli.main(
            [
                "train",
                f"--pipeline_config_path={project.config}",
                f"--model_dir={tmp_path}",
                "--num_train_steps=5",
                "--checkpoint_every_n=1",
                "--eval_every_n=2",
            ]
        )
        == 0
    )
    found = evaluations(tmp_path)
    assert [entry["step"] for entry in found] == [2, 4, 5], "the last step has one as well"
    best = max(found, key=lambda entry: (entry["metrics"][MAP], -entry["step"]))

    # What is kept is that step's checkpoint, and gives that figure again.
    checkpoint = find_checkpoint(str(tmp_path / "best"), "--checkpoint_dir")
    assert checkpoint_step(checkpoint) == best["step"]
    assert len(list((tmp_path / "best").glob("*.index"))) == 1
    text = capsys.readouterr().out
    assert f"best checkpoint: {tmp_path / 'best'}, step {best['step']}, {MAP}" in text
    common = [f"--pipeline_config_path={project.config}", f"--model_dir={tmp_path / 'again'}"]
    assert cli.main(["evaluate", *common, f"--checkpoint_dir={tmp_path / 'best'}"]) == 0
    again = json.loads((tmp_path / "again/evaluation.json").read_text())
    assert again["metrics"] == pytest.approx(best["metrics"], abs=1e-6)

    # Evaluation leaves training as it was: batch normalisation still learns its statistics.
    after_evaluation, next_step = (
        tf.train.load_checkpoint(str(tmp_path / name)) for name in ("ckpt-3", "ckpt-4")
    )
    means = [key for key in next_step.get_variable_to_shape_map() if "moving_mean/" in key]
    assert means
    for key in means:
        assert not np.array_equal(after_evaluation.get_tensor(key), next_step.get_tensor(key)), key

    events = [
        value.tag
        for path in (tmp_path / "eval").glob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]
    assert events.count(MAP) == 3


@pytest.mark.parametrize("phase", [0, 1])
def test_a_detector_is_made_for_inference_and_leaves_the_phase_as_it_was(project, trained, phase):
    """An evaluation before the first step of a resumed run left the process in training's."""
    import tensorflow as tf

    from odapi.detector.detector import Detector

    keras = tf.keras.backend
    path = find_checkpoint(str(trained), "--model_dir")
    pipeline, image = load(str(project.config)), project.scenes[0].image
    expected = Detector.from_checkpoint(pipeline, path).detect(image)
    keras.set_learning_phase(phase)
    try:
        found = Detector.from_checkpoint(pipeline, path).detect(image)
        assert keras.learning_phase() == phase
    finally:
        keras.set_learning_phase(0)
    np.testing.assert_array_equal(found.scores, expected.scores)


class Scripted(validation.Validation):
    """Finds the figures it is told to, in the order they are given."""

    def __init__(self, model_dir: Path, figures: list[float], first_step: int = 0, **options):
        self.figures = iter(figures)
        records = SimpleNamespace(files=["eval.record"])
        options = {"every_n": 10, "metric": MAP, "patience": 2, "last_step": 1000} | options
        super().__init__(None, records, model_dir, first_step=first_step, **options)

    def _evaluate(self, step, path):
        metrics = {MAP: next(self.figures), "DetectionBoxes_Precision/mAP (large)": None}
        return SimpleNamespace(
            metrics=metrics,
            mask_metrics=None,
            write=lambda file: file.write_text(
                json.dumps({"metrics": metrics, "mask_metrics": None, "step": step})
            ),
        )


def run(scripted: Scripted, model_dir: Path, steps: range) -> int | None:
    """Gives it a checkpoint at each step; returns the step at which it ended the run."""
    for step in steps:
        for part in ("index", "data-00000-of-00001"):
            (model_dir / f"ckpt-{step}.{part}").write_text(f"{part} of {step}")
        if scripted.checkpoint(step, str(model_dir / f"ckpt-{step}")):
            return step
    return None


@pytest.mark.parametrize(
    ("figures", "patience", "ends", "best"),
    [
        ([0.1, 0.3, 0.2, 0.25, 0.5], 2, 40, 20),
        ([0.1, 0.3, 0.2, 0.4, 0.3, 0.3], 2, 60, 40),
        ([0.3, 0.3, 0.3], 2, 30, 10),  # as good as the best is not better
        ([0.1, 0.2, 0.3, 0.4], 1, None, 40),
        ([0.4, 0.3, 0.2, 0.1], None, None, 10),
    ],
)
def test_a_run_ends_after_evaluations_without_a_new_best(tmp_path, figures, patience, ends, best):
    scripted = Scripted(tmp_path, figures, patience=patience)
    assert run(scripted, tmp_path, range(5, 10 * len(figures) + 5, 5)) == ends
    assert scripted.best == (max(figures[: (ends or 1000) // 10]), best)
    kept = tmp_path / "best" / f"ckpt-{best}.index"
    assert kept.read_text() == f"index of {best}"
    assert [file.name for file in (tmp_path / "best").glob("ckpt-*.index")] == [kept.name]


def test_a_resumed_run_remembers_the_best_and_forgets_what_it_repeats(tmp_path):
    assert run(Scripted(tmp_path, [0.1, 0.3, 0.2]), tmp_path, range(10, 31, 10)) is None
    # Killed after step 30; the last checkpoint is that of step 20.
    resumed = Scripted(tmp_path, [0.25, 0.22], first_step=20)
    assert [entry["step"] for entry in evaluations(tmp_path)] == [10, 20]
    assert resumed.best == (0.3, 20)
    assert run(resumed, tmp_path, range(30, 41, 10)) == 40
    assert [entry["step"] for entry in evaluations(tmp_path)] == [10, 20, 30, 40]


def test_an_interrupted_evaluation_is_made_up_for(tmp_path):
    class Interrupted(Scripted):
        def _keep(self, path, result):
            super()._keep(path, result)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(tmp_path, [0.3]), tmp_path, range(10, 11))
    assert not (tmp_path / validation.LOG_NAME).exists()
    resumed = Scripted(tmp_path, [0.3], first_step=10, last_step=10)
    assert resumed.best is None
    run(resumed, tmp_path, range(10, 11))
    assert resumed.best == (0.3, 10)
    run(resumed, tmp_path, range(10, 11))
    assert len(evaluations(tmp_path)) == 1, "once is enough"


def test_a_fresh_start_does_not_inherit_a_best_checkpoint(tmp_path):
    run(Scripted(tmp_path, [0.4, 0.5]), tmp_path, range(10, 21, 10))
    fresh = Scripted(tmp_path, [0.1, 0.2], patience=1)
    assert fresh.best is None
    assert run(fresh, tmp_path, range(10, 21, 10)) is None
    assert fresh.best == (0.2, 20)


def test_the_folder_may_be_relative_and_may_move(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    scripted = Scripted(Path("m"), [0.4, 0.5])
    run(scripted, Path("m"), range(10, 21, 10))
    assert scripted.best == (0.5, 20)
    (tmp_path / "m").rename("n")
    assert find_checkpoint("n/best", "--checkpoint_dir") == "n/best/ckpt-20"


def test_an_evaluation_by_hand_of_the_best_checkpoint_changes_nothing(tmp_path):
    run(Scripted(tmp_path, [0.4]), tmp_path, range(10, 11))
    (tmp_path / "best/evaluation.json").write_text('{"metrics": {}, "step": 10}')
    assert Scripted(tmp_path, [], first_step=10).best == (0.4, 10)


def test_a_best_checkpoint_that_is_gone_is_none(tmp_path):
    run(Scripted(tmp_path, [0.4]), tmp_path, range(10, 11))
    (tmp_path / "best/ckpt-10.index").unlink()
    resumed = Scripted(tmp_path, [0.3], first_step=10)
    assert resumed.best is None
    run(resumed, tmp_path, range(20, 21))
    assert resumed.best == (0.3, 20)


@pytest.mark.parametrize(
    ("steps", "evaluated"), [(range(7, 36, 7), [14, 21, 35]), (range(5, 31, 5), [10, 20, 30])]
)
def test_evaluations_come_at_the_first_checkpoint_after_each_multiple(tmp_path, steps, evaluated):
    run(Scripted(tmp_path, [0.1] * 9, patience=None), tmp_path, steps)
    assert [entry["step"] for entry in evaluations(tmp_path)] == evaluated


def test_a_metric_that_the_records_do_not_give_is_refused(tmp_path):
    scripted = Scripted(tmp_path, [0.1], metric="DetectionBoxes_Precision/mAP (large)")
    with pytest.raises(UserError) as caught:
        run(scripted, tmp_path, range(10, 11))
    assert "does not give DetectionBoxes_Precision/mAP (large)" in str(caught.value)
    assert f"it gives {MAP}" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--early_stopping_patience=3"], "is about evaluations, and there are none"),
        ([f"--best_metric={MAP}"], "--best_metric is about evaluations"),
        (
            ["--eval_every_n=2", "--best_metric=DetectionMasks_Precision/mAP"],
            "without masks there is no DetectionMasks_Precision/mAP",
        ),
        (["--eval_every_n=2", "--best_metric=mAP50"], "'mAP50' is no metric; nearest: Detection"),
        (["--eval_every_n=0"], "--eval_every_n"),
    ],
)
def test_flags_that_make_no_sense_are_refused(project, tmp_path, capsys, arguments, message):
    common = [f"--pipeline_config_path={project.config}", f"--model_dir={tmp_path}"]
    assert cli.main(["train", *common, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
