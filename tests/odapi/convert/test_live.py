"""Models that the user's own Python made, converted in the same process."""

from __future__ import annotations

import keras
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf
from object_detection.models.keras_models import classifier_backbone

import odapi
from odapi.console.errors import UserError
from odapi.convert.source import load_classifier


class Doubled(tf.keras.layers.Layer):
    """A layer of the user's own, with a weight."""

    def build(self, shape):
        self.factor = self.add_weight("factor", shape=(shape[-1],))

    def call(self, inputs):
        return inputs * self.factor


def build(library, first, middle=None):
    layers = library.layers
    image = layers.Input((64, 64, 3))
    x = first(image)
    for number in range(5):
        x = layers.Conv2D(8, 3, 2, "same", activation="relu", name=f"conv{number}")(x)
        if middle is not None and number == 1:
            x = middle(x)
    model = library.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)), name="mine")
    random = np.random.default_rng(2)
    model.set_weights([random.normal(0, 0.3, weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture
def own_layers(monkeypatch):
    """Forgets afterwards what a test let descriptions of backbones name."""
    monkeypatch.setattr(classifier_backbone, "_ALLOWED", {})


@pytest.mark.parametrize("architecture", ["faster_rcnn", "ssd"])
def test_a_layer_of_ones_own_arrives(tmp_path, own_layers, architecture):
    model = build(tf.keras, tf.keras.layers.Rescaling(1 / 255), Doubled(name="doubled"))

    report = odapi.convert(
        model=model, output_dir=tmp_path / "out", architecture=architecture, num_classes=2
    )

    assert report.coverage == 100 and not report.faults()
    row = next(row for row in report.variables if "doubled" in row.target)
    assert row.source == "doubled/factor"
    found = tf.train.load_variable(str(tmp_path / "out" / "ckpt-1"), _key(tmp_path / "out"))
    np.testing.assert_array_equal(found, model.get_layer("doubled").factor)


def _key(folder):
    names = [name for name, _ in tf.train.list_variables(str(folder / "ckpt-1"))]
    return next(name for name in names if "doubled" in name)


def test_another_process_refuses_it_by_name(tmp_path, own_layers, monkeypatch):
    model = build(tf.keras, tf.keras.layers.Rescaling(1 / 255), Doubled(name="doubled"))
    odapi.convert(model=model, output_dir=tmp_path / "out", num_classes=2)
    monkeypatch.setattr(classifier_backbone, "_ALLOWED", {})

    with pytest.raises(ValueError, match=r"custom layer .*Doubled.*'doubled'"):
        classifier_backbone.BackboneDescription.read(str(tmp_path / "out"))
    classifier_backbone.allow_layers(Doubled)
    found = classifier_backbone.BackboneDescription.read(str(tmp_path / "out")).model
    assert isinstance(found.get_layer("doubled"), Doubled)


@pytest.mark.parametrize("library", [tf.keras, keras], ids=["keras2", "keras3"])
def test_a_leading_lambda_is_left_out(tmp_path, library):
    model = build(library, library.layers.Lambda(lambda x: x / 255, name="scale"))
    report = odapi.convert(
        model=model,
        output_dir=tmp_path / "out",
        drop_layer="scale",
        preprocessing="unit",
        num_classes=2,
    )
    assert report.coverage == 100 and not report.faults()
    assert "'mine' of this process" in report.origin


def test_a_lambda_that_stays_cannot_be_written_down(tmp_path):
    model = build(
        tf.keras,
        tf.keras.layers.Rescaling(1 / 255),
        tf.keras.layers.Lambda(lambda x: x + 1, name="one_more"),
    )
    with pytest.raises(UserError, match="Lambda") as caught:
        odapi.convert(model=model, output_dir=tmp_path / "out", num_classes=2)
    assert "one_more" in caught.value.at and "a class of its own" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_what_is_no_model_of_this_kind(tmp_path):
    for model, message in (
        ("model.keras", "no Keras model"),
        (tf.keras.Sequential([tf.keras.layers.Dense(2)]), "no input shape"),
    ):
        with pytest.raises(UserError, match=message):
            odapi.convert(model=model, output_dir=tmp_path / "out")
    with pytest.raises(UserError, match="one of the two"):
        odapi.convert(output_dir=tmp_path / "out")


def test_the_package_is_still_a_package():
    assert odapi.convert.source.load_classifier is load_classifier
