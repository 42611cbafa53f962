"""The command's options, its hooks of the trainer, and errors told by their types."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.small import training

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")


def test_the_options_are_those_of_the_command_line():
    import argparse

    from odapi.train import TrainOptions, command

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    required = ["--pipeline_config_path=a.config", "--model_dir=m"]
    args = parser.parse_args(required)
    assert vars(args).keys() == {field.name for field in dataclasses.fields(TrainOptions)}
    plain = TrainOptions(config="a.config", model_dir="m")
    assert command.options(args) == plain
    given = command.options(
        parser.parse_args([*required, "--eval_every_n=7", "--seed=0", "--record_summaries=no"])
    )
    assert given == dataclasses.replace(plain, eval_every_n=7, seed=0, record_summaries=False)
    assert given.steps_between_checkpoints == 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        plain.seed = 1


class Trainer:
    """What hooks of the command use of a trainer."""

    def __init__(self) -> None:
        self.saved_step = 10
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


def team(count: int = 1, others: int = 0) -> SimpleNamespace:
    """Workers of whom the others say `others` to every question."""
    return SimpleNamespace(
        count=count,
        gather=lambda value: [value, *[others] * (count - 1)],
        on_this_worker=lambda function: function(),
    )


@pytest.fixture
def handler() -> Iterator[list[int]]:
    """Numbers of the signals that end the process at once."""
    ended: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    yield ended
    signal.signal(signal.SIGTERM, former)


@pytest.mark.parametrize(
    ("after", "passes"), [("nothing", True), ("a step", False), ("evaluation", True)]
)
def test_a_signal_waits_for_the_end_of_a_step_only(handler, after, passes):
    from odapi.train.signals import Signals

    signals = Signals(team())
    signals.trainer = Trainer()
    with signals.scope():
        if after != "nothing":
            signals.after_step(SimpleNamespace(step=1))
        if after == "evaluation":
            with signals.end_at_once():
                signal.raise_signal(signal.SIGTERM)
        else:
            signal.raise_signal(signal.SIGTERM)
        signals.after_step(SimpleNamespace(step=2))
    assert handler == [signal.SIGTERM] * passes
    assert signals.trainer.stopped == (not passes)
    assert signals.stopped_by == (0 if passes else signal.SIGTERM)


def test_a_signal_to_another_worker_ends_this_one_too(handler):
    from odapi.train.signals import Signals

    signals = Signals(team(2, others=signal.SIGINT))
    signals.trainer = Trainer()
    with signals.scope():
        signals.after_step(SimpleNamespace(step=1))
        with signals.end_at_once():  # The other one waits.
            signal.raise_signal(signal.SIGTERM)
    assert signals.trainer.stopped and signals.stopped_by == signal.SIGINT
    assert signals.agree() == signal.SIGTERM and handler == []


@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("stopped_by", [0, signal.SIGTERM])
def test_checkpoints_are_evaluated_unless_a_signal_ended_training(says, stopped_by):
    from odapi.train.evaluation import Evaluation
    from odapi.train.signals import Signals

    asked = []
    validation = SimpleNamespace(checkpoint=lambda *of: asked.append(of) or says)
    paused = []

    @contextmanager
    def pause():
        paused.append(len(asked))
        yield

    workers = team()
    signals = Signals(workers)
    signals.stopped_by = stopped_by
    evaluation = Evaluation(validation, workers, SimpleNamespace(paused=pause), signals)
    evaluation.trainer = Trainer()
    evaluation.after_save("ckpt-4")
    assert asked == ([] if stopped_by else [(10, "ckpt-4")])
    assert paused == ([] if stopped_by else [0])
    assert evaluation.trainer.stopped == (says and not stopped_by)


def test_a_worker_without_evaluation_ends_with_the_one_that_has_it():
    from odapi.train.evaluation import Evaluation
    from odapi.train.signals import Signals

    workers = team(2, others=1)
    evaluation = Evaluation(None, workers, None, Signals(workers))
    evaluation.trainer = Trainer()
    evaluation.after_save("ckpt-4")
    assert evaluation.trainer.stopped


def train(config: Path, model_dir: Path, override: str = "") -> int:
    return training.train(config, model_dir, 1, f"--config_override={override}")


def test_a_config_that_the_builder_refuses_is_no_bug(project, tmp_path, monkeypatch, capsys):
    from object_detection import model_lib_v2

    text = project.config.read_text()
    without = text.replace("similarity_calculator { iou_similarity {} }", "")
    assert without != text
    config = tmp_path / "pipeline.config"
    config.write_text(without)
    assert train(config, tmp_path / "model") == 2
    printed = capsys.readouterr().err
    assert "error: the model cannot be built: " in printed
    assert "at: config: model" in printed and "Traceback" not in printed

    def broken(**_):
        raise ValueError("a bug")

    monkeypatch.setitem(model_lib_v2.MODEL_BUILD_UTIL_MAP, "detection_model_fn_base", broken)
    with pytest.raises(ValueError, match="a bug"):
        train(project.config, tmp_path / "model")


def test_a_fine_tuning_checkpoint_of_other_shapes_is_no_bug(
    project, trained, tmp_path, monkeypatch, capsys
):
    from object_detection import model_lib_v2

    start = (
        f"train_config {{ fine_tune_checkpoint: '{trained / 'ckpt-1'}' "
        "fine_tune_checkpoint_type: 'full' fine_tune_checkpoint_version: V2 }"
    )
    wider = project.variant("wider_kernels", kernel_size=3)
    assert train(wider, tmp_path / "model", start) == 2
    printed = capsys.readouterr().err
    assert "error: the checkpoint does not fit the model: " in printed
    assert f"at: {trained / 'ckpt-1'}" in printed and "takes the heads as well" in printed

    def broken(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(model_lib_v2, "load_fine_tune_checkpoint", broken)
    with pytest.raises(ValueError, match="a bug"):
        train(project.config, tmp_path / "model", start)


def test_the_builder_is_the_one_in_the_callers_table(project, tmp_path):
    """The command put its own there for the time of a run, to get hold of the model."""
    from object_detection import model_lib_v2

    table = model_lib_v2.MODEL_BUILD_UTIL_MAP
    build = table["detection_model_fn_base"]
    calls = []

    def build_and_look(**options):
        calls.append(table["detection_model_fn_base"])
        return build(**options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(table, "detection_model_fn_base", build_and_look)
        assert train(project.config, tmp_path) == 0
    assert calls == [build_and_look]
