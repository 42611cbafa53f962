"""What can be read, that every form gives the same weights, and what bad input gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.convert import vgg16
from odapi.convert.source import load_classifier

layers = tf.keras.layers


@pytest.mark.parametrize(
    ("source", "weights"),
    [
        ("model.json", "weights.h5"),
        ("model.json", "model.h5"),
        ("model.h5", None),
        ("model.keras", None),
        ("VGG16", "base.h5"),
    ],
)
def test_every_form_gives_the_classifiers_weights(files, classifier, source, weights):
    name = source if source == "VGG16" else str(files / source)
    loaded = load_classifier(name, weights and str(files / weights))

    plan = vgg16.match(loaded.model, loaded.origin).plan({})
    found = {entry.target: entry.value for entry in plan.weights if entry.source}

    assert len(found) == 26
    for target, values in found.items():
        layer, attribute = target.split("/")
        expected = getattr(classifier.layers[0].get_layer(layer), attribute).numpy()
        np.testing.assert_array_equal(values, expected, err_msg=target)


def test_weights_saved_from_a_partly_frozen_model_go_by_name(tmp_path):
    # The JSON is older than the freezing, which moves the frozen weights to the end of the file.
    base = tf.keras.Sequential([layers.Dense(5, name="a"), layers.Dense(5, name="b")], name="base")
    model = tf.keras.Sequential([tf.keras.Input((5,)), base])
    (tmp_path / "model.json").write_text(model.to_json())
    base.get_layer("a").trainable = False
    model.save_weights(tmp_path / "weights.h5")

    loaded = load_classifier(str(tmp_path / "model.json"), str(tmp_path / "weights.h5")).model

    expected = base.get_layer("a").kernel.numpy()
    np.testing.assert_array_equal(loaded.layers[0].get_layer("a").kernel.numpy(), expected)
    # The trap is real: Keras' own loading takes the file's order.
    keras = tf.keras.models.model_from_json((tmp_path / "model.json").read_text())
    keras.load_weights(tmp_path / "weights.h5")
    assert not np.array_equal(keras.layers[0].get_layer("a").kernel.numpy(), expected)


def test_weights_under_other_layer_names_go_by_order_and_it_says_so(tmp_path):
    saved = tf.keras.Sequential([tf.keras.Input((3,)), layers.Dense(2, name="old")])
    saved.save_weights(tmp_path / "weights.h5")
    renamed = tf.keras.Sequential([tf.keras.Input((3,)), layers.Dense(2, name="new")])
    (tmp_path / "model.json").write_text(renamed.to_json())

    loaded = load_classifier(str(tmp_path / "model.json"), str(tmp_path / "weights.h5"))

    kernel = loaded.model.layers[0].kernel.numpy()
    np.testing.assert_array_equal(kernel, saved.layers[0].kernel.numpy())
    assert "order" in loaded.notes[0]


def test_weights_that_do_not_fit_name_the_layer_and_both_shapes(tmp_path):
    for units in (2, 3):
        model = tf.keras.Sequential([tf.keras.Input((3,)), layers.Dense(units, name="top")])
        model.save_weights(tmp_path / f"{units}.h5")
    (tmp_path / "model.json").write_text(model.to_json())

    error = refused(tmp_path / "model.json", tmp_path / "2.h5")

    assert "3x2" in error.message and "3x3" in error.message
    assert "'top" in error.at


def test_missing_files(files):
    assert "no such file" in refused("nowhere.h5").message
    assert "no such weights" in refused(files / "model.json", "nowhere.h5").message


def test_a_misspelt_name():
    assert "VGG16" in refused("VGG-16").hint
    assert "ResNet50" in refused("Resnet50").hint


def test_json_without_weights_and_weights_without_json(files):
    assert "--weights" in refused(files / "model.json").hint
    assert "no architecture" in refused(files / "weights.h5").message


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "model.json"])
def test_files_that_are_not_keras(tmp_path, name):
    (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(4096))

    assert "not a Keras model" in refused(tmp_path / name, weights_for(tmp_path / name)).message


def test_a_truncated_file(files, tmp_path):
    for name in ("model.h5", "model.keras"):
        content = (files / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        refused(tmp_path / name)


def test_a_saved_model(tmp_path):
    base = tf.keras.Sequential([layers.Conv2D(4, 3), layers.BatchNormalization()], name="base")
    model = tf.keras.Sequential([tf.keras.Input((32, 32, 3)), base, layers.Flatten()])
    model.save(tmp_path / "model", save_format="tf")

    loaded = load_classifier(str(tmp_path / "model")).model

    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert isinstance(loaded.layers[0].layers[0], layers.Conv2D)


def test_a_saved_model_without_layers_of_keras(tmp_path):
    class Custom(layers.Layer):
        def call(self, inputs):
            return inputs

    for name, layer in (("lambda", layers.Lambda(lambda x: x)), ("custom", Custom())):
        model = tf.keras.Sequential([tf.keras.Input((3,)), layer])
        model.save(tmp_path / name, save_format="tf")
    model.export(tmp_path / "exported")
    (tmp_path / "empty").mkdir()

    assert "Lambda" in refused(tmp_path / "lambda").message
    assert "custom layer Custom" in refused(tmp_path / "custom").message
    assert "inference only" in refused(tmp_path / "exported").message
    assert "no SavedModel" in refused(tmp_path / "empty").message
    assert "--weights" in refused(tmp_path / "lambda", "weights.h5").hint


def test_code_in_a_file_is_not_run(tmp_path):
    model = tf.keras.Sequential([tf.keras.Input((3,)), layers.Lambda(lambda x: x, name="code")])
    model.save(tmp_path / "model.h5")
    model.save(tmp_path / "model.keras")

    for name in ("model.h5", "model.keras"):
        error = refused(tmp_path / name)
        assert "Lambda" in error.message and "code" in error.at


class Doubled(layers.Layer):
    """A layer that only this test knows."""

    def call(self, inputs):
        return inputs * 2


class Subclassed(tf.keras.Model):
    """A model without a graph."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.dense = layers.Dense(2)

    def call(self, inputs):
        return self.dense(inputs)


def test_custom_layers_and_subclassed_models(tmp_path):
    tf.keras.Sequential([tf.keras.Input((3,)), Doubled()]).save(tmp_path / "custom.h5")
    tf.keras.Sequential([tf.keras.Input((3,)), Doubled()]).save(tmp_path / "custom.keras")
    model = Subclassed()
    model(np.zeros((1, 3)))
    model.save(tmp_path / "subclassed.keras")

    for name in ("custom.h5", "custom.keras", "subclassed.keras"):
        assert "Keras' own layers" in refused(tmp_path / name).hint


def test_a_layer_renamed_after_building_does_not_hang_the_loader(tmp_path):
    inputs = tf.keras.Input((3,))
    model = tf.keras.Model(inputs, layers.Dense(2)(layers.Dense(2, name="first")(inputs)))
    model.get_layer("first")._name = "other"
    model.save(tmp_path / "model.h5")

    assert "'other'" in refused(tmp_path / "model.h5").at


def refused(source: Path | str, weights: Path | str | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        load_classifier(str(source), weights and str(weights))
    assert caught.value.exit_code == 2
    return caught.value


def weights_for(source: Path) -> str | None:
    return str(source) if source.suffix == ".json" else None
