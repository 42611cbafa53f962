import numpy as np
import pytest

from odapi.demo.classifier import BLOCKS, Recipe, build_classifier, preprocess, train_classifier
from odapi.demo.cpu import bfloat16_arithmetic, describe_machine
from odapi.demo.scenes import Digits, split_digits

TINY = Recipe(stages=((32, 4),), crops=64, test_crops=20, batch=16, learning_rate=1e-3, width=32)


@pytest.fixture(scope="module")
def two_digits(digits):
    """Ones and zeros: easy enough to be learnt in a few steps."""
    chosen = digits.labels < 2
    return split_digits(Digits(digits.images[chosen], digits.labels[chosen]))


@pytest.fixture(scope="module")
def trained(two_digits):
    lines = []
    return (*train_classifier(*two_digits, TINY, say=lines.append), lines)


def test_layers_are_named_and_sized_as_vgg16():
    import tf_keras

    model = build_classifier(48, width=64)
    reference = tf_keras.applications.VGG16(weights=None, include_top=False)
    for layer in reference.layers:
        if layer.weights:
            own = model.get_layer(layer.name)
            assert [w.shape for w in own.weights] == [w.shape for w in layer.weights]
    assert model.get_layer("fc1").kernel.shape == (7 * 7 * 512, 64)
    assert model.get_layer("predictions").kernel.shape == (64, 10)
    assert sum(depth for _, depth in BLOCKS) == 13


def test_preprocessing_is_bgr_minus_the_means():
    pixel = np.array([[[[10, 20, 30]]]], np.uint8)
    np.testing.assert_allclose(
        preprocess(pixel)[0, 0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], atol=1e-4
    )


def test_training_lowers_the_loss(trained):
    _, epochs, _ = trained
    assert epochs[-1].loss < 0.8 * epochs[0].loss


def test_each_epoch_says_one_line(trained):
    _, epochs, lines = trained
    assert len(lines) == len(epochs) == 4
    assert "images/s" in lines[0]
    assert "s left" in lines[0]


def test_saved_models_give_the_same_answers(trained, tmp_path):
    import tf_keras

    model = trained[0]
    picture = preprocess(np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8))
    expected = model(picture).numpy()
    model.save(tmp_path / "classifier.keras")
    whole = tf_keras.models.load_model(tmp_path / "classifier.keras")
    np.testing.assert_allclose(whole(picture), expected, atol=1e-6)
    (tmp_path / "classifier.json").write_text(model.to_json())
    model.save_weights(tmp_path / "classifier.h5")
    parts = tf_keras.models.model_from_json((tmp_path / "classifier.json").read_text())
    parts.load_weights(tmp_path / "classifier.h5")
    np.testing.assert_allclose(parts(picture), expected, atol=1e-6)


def test_an_epoch_without_a_batch_is_refused(two_digits):
    with pytest.raises(ValueError, match="batch"):
        train_classifier(*two_digits, Recipe(crops=8, batch=16))


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
