"""Classifiers that Keras 3 saved, which is what TensorFlow has come with since 2.16."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.convert import vgg16
from odapi.convert.source import Classifier, load_classifier

layers = keras.layers


def randomise(model: keras.Model) -> keras.Model:
    """Gives every weight a value that no other has, in the range of trained ones."""
    random = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(random.uniform(0.02, 0.2, weight.shape))
    return model


def small_classifier() -> keras.Model:
    """Augmentation, preprocessing and a nested base, as in the guides; one layer called twice."""
    base = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.SeparableConv2D(8, 3, padding="same"),
            layers.LayerNormalization(),
            layers.LeakyReLU(0.1),
            layers.MaxPooling2D(),
        ],
        name="base",
    )
    images = keras.Input((32, 32, 3))
    x = layers.RandomZoom(0.2)(layers.RandomFlip()(images))
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    shared = layers.Conv2D(8, 1, name="shared")
    x = layers.Add()([x, shared(shared(x))])
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return randomise(keras.Model(images, layers.Dense(5, activation="softmax")(x)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.keras, model.h5, model.json and model.weights.h5."""
    folder = tmp_path_factory.mktemp("keras3")
    save(small_classifier(), folder)
    return folder


def save(model: keras.Model, folder: Path) -> None:
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.save_weights(folder / "model.weights.h5")
    (folder / "model.json").write_text(model.to_json())


FORMS = [("model.keras", None), ("model.h5", None), ("model.json", "model.weights.h5")]


def load(folder: Path, source: str, weights: str | None) -> Classifier:
    return load_classifier(str(folder / source), weights and str(folder / weights))


@pytest.mark.parametrize(("source", "weights"), FORMS)
def test_outputs_are_those_of_keras_3(saved, source, weights):
    loaded = load(saved, source, weights)
    images = np.random.default_rng(1).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    expected = keras.saving.load_model(saved / "model.keras").predict(images, verbose=0)
    found = loaded.model.predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3
    assert isinstance(loaded.model, tf.keras.Model)
    assert "Keras 3" in loaded.notes[0]


def test_every_form_gives_the_same_weights_by_name(saved):
    first, *others = (load(saved, *form).model for form in FORMS)
    assert len(first.weights) == len(small_classifier().weights)
    for other in others:
        for left, right in zip(first.weights, other.weights, strict=True):
            np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_vgg16_is_found_with_the_weights_it_was_saved_with(tmp_path):
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(64, 64, 3))
    model = keras.Sequential([base, layers.Flatten(), layers.Dense(4)])
    model.save(tmp_path / "model.keras")
    loaded = load_classifier(str(tmp_path / "model.keras"))
    plan = vgg16.match(loaded.model, loaded.origin).plan({})
    found = {entry.target: entry.value for entry in plan.weights if entry.source}
    assert len(found) == 26
    for name, values in found.items():
        layer, attribute = name.split("/")
        expected = keras.ops.convert_to_numpy(getattr(base.get_layer(layer), attribute))
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetB0", "ConvNeXtTiny"])
def test_applications_with_layers_of_their_own(name, tmp_path):
    """Hard activations, Normalization, squeeze and excitation, LayerScale."""
    model = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=3)
    model.save(tmp_path / "model.keras")
    loaded = load_classifier(str(tmp_path / "model.keras")).model
    counters = sum(weight.shape == () for weight in loaded.weights)
    assert loaded.count_params() - counters <= model.count_params() <= loaded.count_params()


def test_operators_become_layers(tmp_path):
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1)(images)
    outputs = 2 * (x + images / 255 - 1) - 0.5 * (x * images + 3) + (1 - x) + 0 * x
    keras.Model(images, outputs).save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=r"layer 'cumsum.*bare operation") as caught:
        model = keras.Model(images, keras.ops.cumsum(x, axis=1))
        model.save(tmp_path / "bare.keras")
        load_classifier(str(tmp_path / "bare.keras"))
    assert caught.value.exit_code == 2

    loaded = load_classifier(str(tmp_path / "model.keras")).model
    values = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    expected = keras.saving.load_model(tmp_path / "model.keras").predict(values, verbose=0)
    np.testing.assert_allclose(loaded(values).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["hard_sigmoid", "hard_silu"])
def test_hard_activations_are_those_of_keras_3(name, tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Activation(name)])
    model.save(tmp_path / "model.keras")
    values = np.linspace(-5, 5, 16, dtype=np.float32).reshape(1, 4, 4, 1)
    found = load_classifier(str(tmp_path / "model.keras")).model(values).numpy()
    gate = np.clip(values + 3, 0, 6) / 6
    np.testing.assert_allclose(found, gate if name == "hard_sigmoid" else values * gate, atol=1e-6)


def test_a_classifier_trained_in_16_bits_is_read_in_32(tmp_path):
    images = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, dtype="mixed_float16")(images)
    x = layers.GlobalAveragePooling2D(dtype="mixed_float16")(x)
    model = randomise(keras.Model(images, layers.Dense(2, dtype="float32")(x)))
    model.save(tmp_path / "model.keras")
    loaded = load_classifier(str(tmp_path / "model.keras")).model
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}


@keras.saving.register_keras_serializable("mine")
class Mine(keras.layers.Layer):
    def call(self, inputs):
        return inputs + 1


def refused(build: Callable[[], list], folder: Path) -> str:
    keras.Sequential([keras.Input((32, 32, 3)), *build()]).save(folder / "model.keras")
    with pytest.raises(UserError) as caught:
        load_classifier(str(folder / "model.keras"))
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (
            lambda: [layers.Conv2D(2, 3, activation="hard_sigmoid", name="gate")],
            "layer 'gate' .* another slope",
        ),
        (lambda: [layers.Lambda(lambda x: x, name="code")], "Lambda layer, whose code is not run"),
        (lambda: [Mine(name="own")], "custom layer mine>Mine(.|\n)*layer 'own'"),
        (lambda: [layers.RandomSharpness(0.1, name="sharp")], "layer 'sharp' .* no such layer"),
    ],
)
def test_what_cannot_be_taken_over_is_named(build, expected, tmp_path):
    assert re.search(expected, refused(build, tmp_path))


def test_a_layer_that_does_something_else_is_found_out(saved, monkeypatch):
    """Negative control: without the comparison a wrong translation would go through."""

    class Wrong(tf.keras.layers.LeakyReLU):
        def call(self, inputs):
            return tf.nn.relu(inputs - 0.5)

    monkeypatch.setattr(tf.keras.layers, "LeakyReLU", Wrong)
    with pytest.raises(UserError, match="does something else in Keras 2"):
        load_classifier(str(saved / "model.keras"))


def test_weights_of_another_architecture(saved, tmp_path):
    other = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(3, 3), layers.Flatten()])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(UserError, match="weights do not fit the architecture"):
        load_classifier(str(saved / "model.json"), str(tmp_path / "other.weights.h5"))
