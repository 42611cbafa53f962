"""What is computed in place of a tensor is what would be computed beside it, in less memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.small import tiny, training

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

STEPS = 3
DECAY = """
    model {{ {architecture} }}
    train_config {{ gradient_clipping_by_norm: {norm} optimizer {{ {optimizer} }} }}
"""
MOMENTUM = "momentum_optimizer { momentum_optimizer_value: 0.9 learning_rate { %s } }"
ADAM = "adam_optimizer { learning_rate { %s } }"
RATE = "constant_learning_rate { learning_rate: 0.001 }"
SSD = """ssd { feature_extractor { conv_hyperparams {
    regularizer { l2_regularizer { weight: 0.05 } } } } }"""


@pytest.fixture(scope="module")
def faster_rcnn(project, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faster_rcnn") / "classifier"
    return tiny.write_config(folder, project.folder, "faster_rcnn")


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Has all gradients count as large; a list of the factors of what is added to them in place."""
    from object_detection.utils import gradient_ops

    factors: list[object] = []
    add = gradient_ops._add_product

    def add_and_note(tensor, factor, other):
        factors.append(factor)
        return add(tensor, factor, other)

    monkeypatch.setattr(gradient_ops, "LARGE", 1)
    monkeypatch.setattr(gradient_ops, "_add_product", add_and_note)
    return factors


def run(config: Path, model_dir: Path, override: str, *more: str) -> dict[str, np.ndarray]:
    """All variables after a few steps of training with a seed."""
    flags = ["--seed=1", f"--config_override={override}", *more]
    assert training.train(config, model_dir, STEPS, *flags) == 0
    return training.variables(model_dir, everything=True)


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Of any variable, as a part of its largest value."""
    assert one.keys() == other.keys()
    return max(
        float(np.abs(one[key] - other[key]).max() / max(np.abs(other[key]).max(), 1e-6))
        for key in one
    )


@pytest.mark.parametrize(
    ("optimizer", "norm", "precision"),
    [
        (MOMENTUM, 0.1, "float32"),  # Shorter than these gradients are.
        (ADAM, 1e6, "float32"),  # Longer.
        (MOMENTUM, 1.0, "mixed_float16"),
    ],
)
def test_weight_decay_and_clipping_in_place(
    project, tmp_path, monkeypatch, in_place, optimizer, norm, precision
):
    from object_detection.utils import gradient_ops, mixed_precision

    # With that of Keras, gradients overflow in all of these steps.
    monkeypatch.setattr(mixed_precision, "INITIAL_LOSS_SCALE", 2.0**6)
    more = [f"--mixed_precision={precision}"]
    override = DECAY.format(architecture=SSD, norm=norm, optimizer=optimizer % RATE)
    given = run(project.config, tmp_path / "in_place", override, *more)
    assert len(in_place) > 10
    monkeypatch.setattr(gradient_ops, "LARGE", 2**40)
    beside = run(project.config, tmp_path / "beside", override, *more)
    tolerance = 2e-5 if precision == "float32" else 2e-3
    assert largest_difference(given, beside) < tolerance

    # That a decay of another size would be seen.
    monkeypatch.setattr(gradient_ops, "LARGE", 1)
    add = gradient_ops._add_product
    doubled = lambda tensor, factor, other: add(tensor, 2 * factor, other)  # noqa: E731
    monkeypatch.setattr(gradient_ops, "_add_product", doubled)
    other = run(project.config, tmp_path / "doubled", override, *more)
    assert largest_difference(other, beside) > 5 * tolerance


def test_weight_decay_in_place_of_faster_rcnn(
    project, faster_rcnn, tmp_path, monkeypatch, in_place
):
    from object_detection.utils import gradient_ops

    given = run(faster_rcnn, tmp_path / "in_place", "")
    assert len(in_place) > 5
    monkeypatch.setattr(gradient_ops, "LARGE", 2**40)
    assert largest_difference(given, run(faster_rcnn, tmp_path / "beside", "")) < 2e-5


def test_gradients_that_are_no_such_sum_are_left(in_place):
    """What sums two uses of a variable, or has no term with a number, is not touched."""
    import tensorflow as tf
    from object_detection.utils import gradient_ops

    once, twice, none = (tf.Variable(tf.fill([3, 3], value)) for value in (1.0, 2.0, 3.0))

    @tf.function(autograph=False)
    def gradients(update):
        with tf.GradientTape() as tape:
            x = tf.ones([1, 3])
            loss = tf.reduce_sum(x @ once + x @ twice + (2 * x) @ twice + x @ none)
            loss += 0.5 * tf.nn.l2_loss(once)
        found = tape.gradient(loss, [once, twice, none])
        return gradient_ops.add_weight_decay_in_place(found) if update else found

    plain, changed = gradients(False), gradients(True)
    assert len(in_place) == 1
    for one, other in zip(plain, changed, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    np.testing.assert_allclose(changed[0], 1.5)
    np.testing.assert_array_equal(once, 1.0)


def test_variables_of_the_same_shape_are_not_confused(in_place):
    """Their gradients are held by variables that have no name to tell them apart."""
    import tensorflow as tf
    from object_detection.utils import gradient_ops

    variables = [tf.Variable(tf.fill([4, 4], float(value))) for value in range(6)]

    @tf.function(autograph=False)
    def gradients(scale):
        with tf.GradientTape() as tape:
            loss = tf.add_n(
                [
                    tf.reduce_sum(tf.fill([1, 4], scale * (index + 1)) @ variable)
                    + 0.1 * tf.nn.l2_loss(variable)
                    for index, variable in enumerate(variables)
                ]
            )
        return gradient_ops.add_weight_decay_in_place(tape.gradient(loss, variables))

    for scale in (1.0, 3.0):
        for index, gradient in enumerate(gradients(tf.constant(scale))):
            np.testing.assert_allclose(gradient, scale * (index + 1) + 0.1 * index, rtol=1e-6)
    assert len(in_place) == 6


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, np.inf, np.nan])
@pytest.mark.parametrize("large", [1, 5, 2**20])
def test_clipping_is_tensorflows(monkeypatch, factor, large):
    import tensorflow as tf
    from object_detection.utils import gradient_ops

    monkeypatch.setattr(gradient_ops, "LARGE", large)
    random = np.random.default_rng(1)
    values = [random.normal(size=size).astype(np.float32) for size in (3, 7, 4)]
    norm = np.sqrt(sum((value.astype(np.float64) ** 2).sum() for value in values))
    given = [tf.constant((value / norm).astype(np.float32)) for value in values]
    given[1] *= factor if not np.isfinite(factor) else 1
    clip_norm = 1 / factor if np.isfinite(factor) else 1.0
    given.insert(1, None)
    given.append(tf.IndexedSlices(tf.constant([[0.0]]), tf.constant([0]), tf.constant([4, 1])))
    clip = tf.function(gradient_ops.clip_by_global_norm, autograph=False)
    found, found_norm = clip(given, clip_norm)
    expected, expected_norm = tf.clip_by_global_norm(given, clip_norm)
    np.testing.assert_array_equal(found_norm, expected_norm)
    assert found[1] is None
    for one, other in zip(found, expected, strict=True):
        if one is not None:
            one, other = (getattr(value, "values", value) for value in (one, other))
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_clipping_clips():
    import tensorflow as tf
    from object_detection.utils import gradient_ops

    (clipped,), norm = gradient_ops.clip_by_global_norm([tf.fill([2**20], 1.0)], 1.0)
    assert norm.numpy() == pytest.approx(1024)
    assert tf.linalg.norm(clipped).numpy() == pytest.approx(1, rel=1e-4)


MEMORY = """
import sys
from pathlib import Path
import object_detection
import tensorflow as tf
from object_detection.utils import gradient_ops, initial_values

ROWS = 2**12  # 64 MB with as many columns, of float32.

def peak():
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6

def gradient(in_place):
    variable = tf.Variable(tf.ones([ROWS, ROWS]))
    @tf.function(autograph=False)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(x @ variable) + 0.1 * tf.nn.l2_loss(variable)
        gradients = tape.gradient(loss, [variable])
        if in_place:
            gradients = gradient_ops.add_weight_decay_in_place(gradients)
        return tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])
    return lambda: [step(tf.ones([2, ROWS])).numpy() for _ in range(2)]

def initial(in_place):
    def make():
        with initial_values.computed_in_place() if in_place else tf.init_scope():
            layer = tf.keras.layers.Dense(ROWS, kernel_initializer="glorot_uniform")
            layer.build([None, ROWS])
            return layer
    return make

what, how = sys.argv[1:]
work = {"gradient": gradient, "initial": initial}[what](how == "in_place")
before = peak()
kept = work()
print(peak() - before)
"""


def megabytes(what: str, how: str) -> float:
    """By how much the peak memory of a process grows."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, what, how], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@pytest.mark.parametrize(
    ("what", "tensors", "beside"),
    # A gradient; and that of the decay. The values of a variable; and what they are made of.
    [("gradient", 1, 2), ("initial", 1, 3)],
)
def test_in_place_takes_the_memory_of_one_tensor(what, tensors, beside):
    size = 4 * 2**24 / 1e6
    assert megabytes(what, "in_place") < (tensors + 0.5) * size
    assert megabytes(what, "beside") > (beside - 0.2) * size


@pytest.mark.parametrize("kind", ["glorot_uniform", "he_normal", "zeros", "orthogonal"])
def test_initial_values_are_those_of_the_initializer(monkeypatch, kind):
    import tensorflow as tf
    from object_detection.utils import initial_values

    monkeypatch.setattr(initial_values, "LARGE", 1)

    def layer(context) -> np.ndarray:
        tf.keras.utils.set_random_seed(7)
        with context:
            dense = tf.keras.layers.Dense(30, kernel_initializer=kind)
            dense.build([None, 20])
        return dense.kernel.numpy()

    given = layer(initial_values.computed_in_place())
    np.testing.assert_allclose(given, layer(tf.init_scope()), rtol=1e-6, atol=1e-7)
    options = tf.config.optimizer.get_experimental_options()
    assert not options.get("disable_meta_optimizer", False)


def test_a_value_restored_before_the_variable_is_made_is_kept(tmp_path, monkeypatch):
    import tensorflow as tf
    from object_detection.utils import initial_values

    monkeypatch.setattr(initial_values, "LARGE", 1)
    saved, made = (tf.keras.layers.Dense(3, kernel_initializer="ones") for _ in range(2))
    saved.build([None, 2])
    saved.kernel.assign([[1.0, 2, 3], [4, 5, 6]])
    checkpoint = tf.train.Checkpoint(layer=saved).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(layer=made).read(checkpoint)
    with initial_values.computed_in_place():
        made.build([None, 2])
    np.testing.assert_array_equal(made.kernel, saved.kernel)
