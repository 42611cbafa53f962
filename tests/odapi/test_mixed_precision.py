"""Training in 16 bits: the losses of float32, float32 variables, and a loss scale that is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from odapi.pipeline.checkpoint import find_checkpoint
from odapi.pipeline.config import load
from tests.small import training

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

STEPS = 20
TOLERANCE = 0.1
"""Of the mean loss of five steps, relative. Of one step it is up to a quarter: after some steps of
Adam the weights differ by more than rounding, though no run is better than the other."""
SCALE = 256.0
"""A loss scale which these gradients do not overflow. Keras's 2^15 takes six steps to come down,
and a run that is six steps behind has another curve."""


@dataclass(frozen=True)
class Run:
    """A run's folder, its total loss at each step, and the names of dtypes within the model."""

    model_dir: Path
    losses: list[float]
    features: str
    into_loss: str


def train(path: Path, model_dir: Path, precision: str, steps: int = STEPS, *more: str) -> int:
    flags = f"--mixed_precision={precision}", "--record_summaries=false"
    return training.train(path, model_dir, steps, *flags, *more)


def losses(model_dir: Path) -> list[float]:
    lines = (model_dir / "train_log.jsonl").read_text().splitlines()
    return [json.loads(line)["losses"]["Loss/total_loss"] for line in lines]


def same_curve(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the means of every five steps agree within TOLERANCE."""
    one, other = (np.reshape(values, [-1, 5]).mean(axis=1) for values in (one, other))
    return bool(np.all(np.abs(one - other) <= TOLERANCE * other))


@pytest.fixture(scope="module")
def runs(project, tmp_path_factory) -> dict[str, Run]:
    """The same training in each precision: the same data in the same order, the same start."""
    import tensorflow as tf
    from object_detection import model_lib_v2
    from object_detection.utils import mixed_precision

    table = model_lib_v2.MODEL_BUILD_UTIL_MAP
    build = table["detection_model_fn_base"]
    dtypes = {}

    def build_and_watch(*args, **kwargs):
        model = build(*args, **kwargs)
        predict, loss = model.predict, model.loss

        def watched_predict(*args, **kwargs):
            found = predict(*args, **kwargs)
            dtypes["features"] = found["feature_maps"][0].dtype.name
            return found

        def watched_loss(found, *args, **kwargs):
            dtypes["into_loss"] = found["class_predictions_with_background"].dtype.name
            return loss(found, *args, **kwargs)

        model.predict, model.loss = watched_predict, watched_loss
        return model

    found = {}
    # Compiling the step three times would take most of the time. The last test does compile it.
    tf.config.run_functions_eagerly(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(table, "detection_model_fn_base", build_and_watch)
        patch.setattr(mixed_precision, "INITIAL_LOSS_SCALE", SCALE)
        for precision in ("float32", *mixed_precision.POLICIES):
            folder = tmp_path_factory.mktemp(precision)
            tf.keras.utils.set_random_seed(1)
            assert train(project.config, folder, precision) == 0
            assert tf.keras.mixed_precision.global_policy().name == "float32"
            found[precision] = Run(folder, losses(folder), **dtypes)
    tf.config.run_functions_eagerly(False)
    return found


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_losses_are_those_of_float32(runs, precision):
    run = runs[f"mixed_{precision}"]
    assert run.features == precision, "the layers compute in it"
    assert run.into_loss == "float32"
    assert run.losses != runs["float32"].losses
    assert same_curve(run.losses, runs["float32"].losses)


def test_the_comparison_sees_a_run_that_learns_less(runs):
    learned = runs["float32"].losses
    assert runs["float32"].features == runs["float32"].into_loss == "float32"
    assert not same_curve(learned[:1] * STEPS, learned)
    assert not same_curve(learned[:6] + learned[:-6], learned), "six steps behind"


def test_the_checkpoint_is_one_of_float32(project, runs):
    import tensorflow as tf
    from object_detection.utils import mixed_precision

    from odapi.detector.detector import Detector

    path = find_checkpoint(str(runs["mixed_bfloat16"].model_dir), "--model_dir")
    reader = tf.train.load_checkpoint(path)
    types = reader.get_variable_to_dtype_map()
    assert {types[key] for key in types if key.startswith("model/")} == {tf.float32}

    # As during an evaluation in training, when the layers made for training compute in 16 bits.
    pipeline = load(str(project.config))
    with mixed_precision.policy("mixed_bfloat16"):
        inside = Detector.from_checkpoint(pipeline, path)
    outside = Detector.from_checkpoint(pipeline, path)
    image = project.scenes[0].image
    np.testing.assert_array_equal(inside.detect(image).scores, outside.detect(image).scores)


def test_a_resumed_run_goes_on_with_its_loss_scale(project, runs):
    import tensorflow as tf

    folder = runs["mixed_float16"].model_dir
    # Without the fixture's patch, a fresh start would have Keras's 2^15.
    assert train(project.config, folder, "mixed_float16", STEPS + 2) == 0
    reader = tf.train.load_checkpoint(str(folder))
    value, good_steps = (
        reader.get_tensor(f"optimizer/loss_scale/{name}/.ATTRIBUTES/VARIABLE_VALUE")
        for name in ("current_loss_scale", "good_steps")
    )
    assert (value, good_steps) == (SCALE, STEPS + 2)
    assert not (folder / "nonfinite").exists()


@pytest.mark.parametrize(
    ("precision", "override", "error"),
    [
        (
            "mixed_bfloat16",
            "",
            "error: a convolution of stride 2 takes a map of 1x1 pixels, and TensorFlow's gradient",
        ),
        (
            "mixed_float16",
            "train_config { optimizer { use_moving_average: true } }",
            "error: train_config.optimizer.use_moving_average, which is true by default, does not",
        ),
    ],
)
def test_what_cannot_be_trained_so_is_refused(
    project, tmp_path, capsys, precision, override, error
):
    # Its feature maps are of 3x3, 2x2, 1x1 and 1x1 pixels.
    path = project.variant("small", side=33, num_layers=4)
    assert train(path, tmp_path, precision, 1, f"--config_override={override}") == 2
    written = capsys.readouterr().err
    assert error in written
    assert f"at: {path}: ssd_mobilenet_v1_keras" in written
    assert "Traceback" not in written
