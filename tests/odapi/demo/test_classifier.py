from dataclasses import replace
from functools import partial

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest

from odapi.convert import cuts
from odapi.convert.source import load_classifier
from odapi.demo import networks
from odapi.demo.classifier import RECIPES, train_classifier
from odapi.demo.cpu import bfloat16_arithmetic, describe_machine
from odapi.demo.scenes import Digits, split_digits

SHORT = {
    "crops": 64,
    "passes": 1,
    "test_crops": 20,
    "batch": 16,
    "learning_rate": 1e-3,
}
SMALL = replace(RECIPES["small"], stages=((32, 4),), **SHORT | {"passes": 2})
VGG16 = replace(
    RECIPES["vgg16"],
    build=partial(networks.vgg16, width=32),
    stages=((32, 2), (48, 2)),
    **SHORT,
)


@pytest.fixture(scope="module")
def two_digits(digits):
    """Ones and zeros: easy enough to be learnt in a few steps."""
    chosen = digits.labels < 2
    return split_digits(Digits(digits.images[chosen], digits.labels[chosen]))


@pytest.fixture(scope="module", params=[SMALL, VGG16], ids=["small", "vgg16"])
def trained(request, two_digits):
    lines = []
    return (
        *train_classifier(*two_digits, request.param, say=lines.append),
        lines,
        request.param,
    )


def test_vgg16_has_the_layers_of_keras_applications():
    import tf_keras

    model = networks.vgg16(48, width=64)
    reference = tf_keras.applications.VGG16(weights=None, include_top=False)
    for layer in reference.layers:
        if layer.weights:
            own = model.get_layer(layer.name)
            assert [w.shape for w in own.weights] == [w.shape for w in layer.weights]
    assert model.get_layer("fc1").kernel.shape == (7 * 7 * 512, 64)
    assert model.get_layer("predictions").kernel.shape == (64, 10)


def test_blocks_of_the_small_network_end_at_every_stride_that_detectors_cut_at(tmp_path):
    networks.small(64).save(tmp_path / "small.keras")

    table = cuts.table(load_classifier(str(tmp_path / "small.keras"), None))

    ends = {row.split()[0]: row.split()[1] for row in table.splitlines() if row.endswith(" *")}
    assert {ends[f"block{block}_out"] for block in (2, 3, 4)} == {"8", "16", "32"}
    assert "first stage of Faster R-CNN: up to block3_out" in table


def test_statistics_of_mobilenetv2_follow_a_short_training():
    norm = networks.mobilenetv2(32).get_layer("bn_Conv1")
    rng = np.random.default_rng(0)
    for _ in range(50):
        norm(rng.normal(5.0, 1.0, (8, 4, 4, 32)).astype(np.float32), training=True)

    assert abs(norm.moving_mean.numpy().mean() - 5.0) < 0.2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small", [10, 20, 30]),
        ("mobilenetv2", [10 / 127.5 - 1, 20 / 127.5 - 1, 30 / 127.5 - 1]),
        ("vgg16", [30 - 103.939, 20 - 116.779, 10 - 123.68]),
    ],
)
def test_each_recipe_preprocesses_as_its_network_expects(name, expected):
    pixel = np.array([[[[10, 20, 30]]]], np.uint8)
    np.testing.assert_allclose(RECIPES[name].preprocess(pixel)[0, 0, 0], expected, atol=1e-4)


def test_training_lowers_the_loss(trained):
    _, epochs, _, _ = trained
    assert epochs[-1].loss < 0.8 * epochs[0].loss


def test_each_epoch_says_one_line(trained):
    _, epochs, lines, _ = trained
    assert len(lines) == len(epochs) == 4
    assert "images/s" in lines[0]
    assert "s left" in lines[0]


def test_saved_models_give_the_same_answers(trained, tmp_path):
    import tf_keras

    model, recipe = trained[0], trained[3]
    size = recipe.sizes[-1]
    pixels = np.random.default_rng(0).integers(0, 255, (2, size, size, 3), np.uint8)
    picture = recipe.preprocess(pixels)
    # Other tests of this process may have left Keras in its training phase.
    expected = model(picture, training=False).numpy()
    model.save(tmp_path / "classifier.keras")
    whole = tf_keras.models.load_model(tmp_path / "classifier.keras")
    np.testing.assert_allclose(whole(picture, training=False), expected, atol=1e-6)
    (tmp_path / "classifier.json").write_text(model.to_json())
    model.save_weights(tmp_path / "classifier.h5")
    parts = tf_keras.models.model_from_json((tmp_path / "classifier.json").read_text())
    parts.load_weights(tmp_path / "classifier.h5")
    np.testing.assert_allclose(parts(picture, training=False), expected, atol=1e-6)


def test_an_epoch_without_a_batch_is_refused(two_digits):
    with pytest.raises(ValueError, match="batch"):
        train_classifier(*two_digits, replace(SMALL, crops=8))


def test_bfloat16_ends_with_its_context_and_needs_the_processor(tmp_path):
    import tensorflow as tf

    def active():
        options = tf.config.optimizer.get_experimental_options()
        return options.get("auto_mixed_precision_onednn_bfloat16", False)

    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Old One\nflags\t\t: fpu avx2\n")
    with bfloat16_arithmetic(cpuinfo) as able:
        assert not able
        assert not active()
    cpuinfo.write_text("model name\t: New One\nflags\t\t: fpu avx2 avx512_bf16\n")
    with bfloat16_arithmetic(cpuinfo) as able:
        assert able
        assert active()
    assert not active()
    assert describe_machine(cpuinfo).startswith("New One, ")
