"""A run that is interrupted and resumed is the run that was not."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from odapi.console.termination import EXIT_CODE
from tests.small import tiny, training

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

FLIP = "data_augmentation_options { random_horizontal_flip {} }"
AUGMENTATION = (
    FLIP
    + """
    data_augmentation_options { random_crop_image {} }
    data_augmentation_options { random_adjust_brightness {} }
"""
)
RANDOM = f"""
    model {{ ssd {{ box_predictor {{ convolutional_box_predictor {{ use_dropout: true }} }} }} }}
    train_config {{ {AUGMENTATION} }}
"""


def run(config: Path, model_dir: Path, steps: int, *more: str, override: str = RANDOM) -> int:
    return training.train(config, model_dir, steps, f"--config_override={override}", *more)


def different(one: Path, other: Path) -> set[str]:
    """Keys of the variables that are not the same to the bit."""
    first, second = (training.variables(folder, everything=True) for folder in (one, other))
    assert first.keys() == second.keys()
    return {key for key in first if first[key].tobytes() != second[key].tobytes()}


@pytest.fixture
def sigterm_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """Steps at whose end SIGTERM arrives."""
    steps: set[int] = set()
    from odapi.train.signals import Signals

    after_step = Signals.after_step

    def signal_after_step(self: Signals, outcome: Any) -> None:
        if outcome.step in steps:
            signal.raise_signal(signal.SIGTERM)
        after_step(self, outcome)

    monkeypatch.setattr(Signals, "after_step", signal_after_step)
    handler = signal.getsignal(signal.SIGTERM)
    yield steps
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def faster_rcnn(project, tmp_path_factory) -> Path:
    """A Faster R-CNN. It samples anchors and proposals at random."""
    folder = tmp_path_factory.mktemp("faster_rcnn") / "classifier"
    return tiny.write_config(folder, project.folder, "faster_rcnn")


def interrupted(whole: Path, parts: Path) -> None:
    """Makes `parts` what `whole` was before its last checkpoint."""
    import tensorflow as tf

    shutil.copytree(whole, parts)
    last = Path(tf.train.latest_checkpoint(str(parts))).name
    for file in parts.glob(f"{last}.*"):
        file.unlink()
    before = f"ckpt-{int(last.removeprefix('ckpt-')) - 1}"
    tf.compat.v1.train.update_checkpoint_state(str(parts), before)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_thirty_steps_interrupted_at_seventeen_differ_in_no_variable(
    request, project, tmp_path, sigterm_at, seed, capsys
):
    config, override = project.config, RANDOM
    if seed == 2:
        config, override = request.getfixturevalue("faster_rcnn"), f"train_config {{ {FLIP} }}"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = [f"--seed={seed}", "--checkpoint_every_n=17"]
    assert run(config, whole, 30, *options, override=override) == 0
    if seed == 0:
        sigterm_at.add(17)
        assert run(config, parts, 30, f"--seed={seed}", override=override) == EXIT_CODE
        sigterm_at.clear()
    else:
        interrupted(whole, parts)
    assert len(different(whole, parts)) > 20
    # It has its seed from the folder.
    assert run(config, parts, 30, override=override) == 0
    printed = capsys.readouterr().out
    assert f"seed {seed}: " in printed and "resuming from step 17" in printed
    assert different(whole, parts) == set()


def test_without_a_seed_they_differ(project, tmp_path):
    # As upstream's loop does: what is left to chance is neither in the config nor in a checkpoint.
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(project.config, whole, 4, "--checkpoint_every_n=2") == 0
    interrupted(whole, parts)
    assert run(project.config, parts, 4) == 0
    assert different(whole, parts)


def test_a_resumed_run_keeps_to_the_seed_of_its_start(project, trained, tmp_path, capsys):
    model_dir = tmp_path / "model"
    shutil.copytree(trained, model_dir)
    assert run(project.config, model_dir, 25, "--seed=4") == 2
    assert "begun without a seed" in capsys.readouterr().err
    (model_dir / "seed.json").write_text('{"seed": 3}\n')
    assert run(project.config, model_dir, 25, "--seed=4") == 2
    assert "begun with seed 3" in capsys.readouterr().err
    assert run(project.config, model_dir, 24) == 0
    assert "seed 3: " in capsys.readouterr().out


def test_a_model_with_more_than_the_checkpoint_is_not_resumed(project, trained, tmp_path, capsys):
    """The heads of a further feature map: they would have kept their random start."""
    shutil.copytree(trained, tmp_path / "model")
    config = project.variant("another_layer", num_layers=4)
    assert run(config, tmp_path / "model", 25, override="") == 2
    printed = capsys.readouterr().err
    assert "variables not in the checkpoint: " in printed
    assert "take another --model_dir" in printed
    assert "Traceback" not in printed


def test_a_value_that_was_not_restored_is_seen(project, trained, tmp_path, monkeypatch, capsys):
    from object_detection.utils import restored_values

    check = restored_values.check

    def spoil_and_check(checkpoint, path, optimizer):
        variable = checkpoint.model.trainable_variables[0]
        variable.assign_add(1e-6 * np.ones(variable.shape, np.float32))
        return check(checkpoint, path, optimizer)

    monkeypatch.setattr(restored_values, "check", spoil_and_check)
    shutil.copytree(trained, tmp_path / "model")
    assert run(project.config, tmp_path / "model", 25, override="") == 2
    assert "variables with other values than the checkpoint: 1, such as " in capsys.readouterr().err
