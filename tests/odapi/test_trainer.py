"""The trainer beside a plain loop over the same batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.small import tiny, training

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

STEPS = 5
SEED = 3


@pytest.fixture(scope="module", params=["ssd", "faster_rcnn"])
def config(request, project, tmp_path_factory) -> Path:
    """Of Faster R-CNN, which samples anchors and proposals at random, and of SSD."""
    if request.param == "ssd":
        return project.config
    folder = tmp_path_factory.mktemp("faster_rcnn") / "classifier"
    return tiny.write_config(folder, project.folder, "faster_rcnn")


@contextmanager
def deterministic_ops() -> Iterator[None]:
    import tensorflow as tf
    from tensorflow.python.framework import config

    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        config.disable_op_determinism()


@pytest.fixture
def graphs_as_written() -> Iterator[None]:
    """Keeps Grappler from fusing operations.

    It fuses others where something else reads a value, as the look at gradients that may not be
    finite does, and fused ones round otherwise.
    """
    import tensorflow as tf

    name = "disable_meta_optimizer"
    former = tf.config.optimizer.get_experimental_options().get(name, False)
    tf.config.optimizer.set_experimental_options({name: True})
    yield
    tf.config.optimizer.set_experimental_options({name: former})


def plain_loop(config: Path, start: Path, folder: Path, first_batch: int = 0) -> Path:
    """Forward, loss, gradient and update, five times, with nothing around it.

    Args:
        start: the checkpoint to begin with.
        folder: where the last one goes.
        first_batch: the number of the first batch to read.
    """
    import tensorflow as tf
    from object_detection import inputs, model_lib_v2
    from object_detection.builders import model_builder, optimizer_builder
    from object_detection.utils import config_util, stateless_random

    configs = config_util.get_configs_from_pipeline_file(str(config))
    train_config, model_config = configs["train_config"], configs["model"]
    model = model_builder.build(model_config, is_training=True)
    records = inputs.train_input(
        train_config,
        configs["train_input_config"],
        model_config,
        model=model,
        seed=SEED,
        first_batch=first_batch,
    )
    step = tf.Variable(0, dtype=tf.int64)
    optimizer, _ = optimizer_builder.build(train_config.optimizer, global_step=step)
    model_lib_v2._ensure_model_is_built(model, records, train_config.unpad_groundtruth_tensors)
    optimizer._create_all_weights(model.trainable_variables)
    checkpoint = tf.train.Checkpoint(step=step, model=model, optimizer=optimizer)
    checkpoint.restore(str(start))

    @tf.function(autograph=False)
    def take(features, labels):
        with stateless_random.scope(SEED, stateless_random.STEP, 0, step):
            model_lib_v2.eager_train_step(
                model,
                features,
                labels,
                train_config.unpad_groundtruth_tensors,
                optimizer,
                training_step=tf.identity(step),
                add_regularization_loss=train_config.add_regularization_loss,
                clip_gradients_value=train_config.gradient_clipping_by_norm or None,
            )
        step.assign_add(1)

    phase = tf.keras.backend.learning_phase()
    with deterministic_ops():
        for features, labels in records.take(STEPS):
            take(features, labels)
    tf.keras.backend.set_learning_phase(phase)
    return Path(checkpoint.write(str(folder / "plain")))


def test_five_steps_are_those_of_a_plain_loop(config, tmp_path, graphs_as_written):
    assert training.train(config, tmp_path / "model", STEPS, f"--seed={SEED}") == 0
    start = tmp_path / "model" / "ckpt-1"
    found = training.variables(tmp_path / "model", everything=True)
    expected = training.variables(plain_loop(config, start, tmp_path), everything=True)
    assert found.keys() == expected.keys()
    assert [key for key in found if found[key].tobytes() != expected[key].tobytes()] == []
    # That it would be seen: the same steps, but on batches that come one later.
    other = training.variables(plain_loop(config, start, tmp_path, 1), everything=True)
    assert [key for key in found if found[key].tobytes() != other[key].tobytes()]
