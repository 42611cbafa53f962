"""Any classifier as a backbone: every form of it, and checks that can fail."""

from __future__ import annotations

import json

import keras as keras3
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf
from object_detection.models.keras_models import classifier_backbone, classifier_preprocessing

from odapi.cli import main
from odapi.console.errors import UserError
from odapi.convert import checkpoint
from odapi.convert.request import Architecture
from tests.odapi.convert.classifiers import build, hashes, normalization, shake, to_convert


def test_every_form_of_either_keras_gives_the_same_detector(tmp_path):
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)
    model, twin = (
        build(keras, nested=True, front=[normalization(keras, pixels)])
        for keras in (tf.keras, keras3)
    )
    statistics = len(model.get_layer("normalization").weights)
    values = shake(model).get_weights()
    model.get_layer("normalization").adapt(pixels)
    values[:statistics] = model.get_weights()[:statistics]
    model.set_weights(values)
    twin.set_weights(values)
    (tmp_path / "two.json").write_text(model.to_json())
    model.save_weights(tmp_path / "two_weights.h5")
    model.save(tmp_path / "two.h5")
    model.save(tmp_path / "two.keras")
    model.save(tmp_path / "two_saved", save_format="tf")
    (tmp_path / "three.json").write_text(twin.to_json())
    twin.save_weights(tmp_path / "three.weights.h5")
    twin.save(tmp_path / "three.keras")
    twin.save(tmp_path / "three.h5")
    forms = {
        "two.json": "two_weights.h5",
        "two.h5": None,
        "two.keras": None,
        "two_saved": None,
        "three.json": "three.weights.h5",
        "three.keras": None,
        "three.h5": None,
    }

    found = {}
    for source, weights in forms.items():
        report = to_convert(
            tmp_path / source,
            tmp_path / f"out_{source}",
            weights=str(tmp_path / weights) if weights else None,
        )
        found[source] = hashes(report)
        assert all(parity.feature_range > 0 for parity in report.parity)
    assert len(found["two.json"]) == 5 * (2 + 4 + 2) + statistics
    assert all(entry == found["two.json"] for entry in found.values())


@pytest.mark.parametrize("kind", Architecture)
def test_one_artefact_serves_every_architecture(kind, tmp_path):
    shake(build()).save(tmp_path / "model.keras")

    to_convert(tmp_path / "model.keras", tmp_path / "out", architecture=kind, preprocessing="tf")

    report = json.loads((tmp_path / "out" / "transfer_report.json").read_text())
    assert report["coverage"] == 100
    assert [row["layer"] for row in report["unused"]] == ["classes"]
    assert all(entry["passed"] and entry["feature_range"] > 0 for entry in report["parity"])
    names = [entry["name"] for entry in report["parity"]]
    assert names == (["add2", "add3", "add4"] if kind.is_ssd else ["add3", "add4"])
    artefact = json.loads((tmp_path / "out" / "backbone.json").read_text())
    assert artefact["preprocessing"]["mode"] == "tf"
    config = (tmp_path / "out" / "pipeline.config").read_text()
    assert f'type: "keras:{tmp_path / "out"}"' in config
    assert "num_classes: 4" in config


@pytest.mark.parametrize("fault", ["perturbed", "swapped", "channels", "scale", "second stage"])
@pytest.mark.parametrize(
    "kind", [Architecture.FASTER_RCNN, Architecture.MASK_RCNN, Architecture.SSD]
)
def test_a_detector_that_differs_is_found_out(fault, kind, tmp_path, monkeypatch, capsys):
    shake(build()).save(tmp_path / "model.keras")
    write = checkpoint.write_layers

    def write_wrongly(folder, backbone):
        layers = backbone.layers
        if fault == "perturbed":
            kernel = layers["side1"].kernel
            kernel.assign(kernel + 1e-4 * tf.one_hot(0, kernel.shape[-1]))
        elif fault == "swapped":
            one, other = layers["side1"].get_weights(), layers["side2"].get_weights()
            layers["side1"].set_weights(other)
            layers["side2"].set_weights(one)
        elif fault == "second stage":
            layers["bn4"].moving_variance.assign(layers["bn4"].moving_variance * 2)
        write(folder, backbone)

    def call_wrongly(how, images):
        images = tf.cast(images, tf.float32)
        if fault == "channels":
            images = images[..., ::-1]
        return images * tf.constant(how.scale) * (1.01 if fault == "scale" else 1) + how.offset

    monkeypatch.setattr(checkpoint, "write_layers", write_wrongly)
    if fault in ("channels", "scale"):
        monkeypatch.setattr(classifier_preprocessing.Preprocessing, "__call__", call_wrongly)

    arguments = [str(tmp_path / "model.keras"), "--output_dir", str(tmp_path / "out")]
    arguments += ["--preprocessing", "torch", "--architecture", kind.value]
    code = main(["convert", *arguments])

    error = capsys.readouterr().err
    assert code == 1
    assert ("features differ" if fault in ("channels", "scale") else "did not arrive") in error
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_a_layer_that_the_conversion_overlooks_is_found_out(tmp_path, monkeypatch, capsys):
    shake(build()).save(tmp_path / "model.keras")
    variables_of = classifier_backbone.variables_of

    def forgetful(layer):
        return {} if layer.name == "side4" else variables_of(layer)

    monkeypatch.setattr("odapi.convert.backbone.classifier_backbone.variables_of", forgetful)

    arguments = [str(tmp_path / "model.keras"), "--output_dir", str(tmp_path / "out")]
    code = main(["convert", *arguments, "--preprocessing", "torch"])

    assert code == 1
    assert "side4" in capsys.readouterr().err


def test_frozen_compiled_and_16_bit_models_convert(tmp_path):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = shake(build(nested=True))
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    model.get_layer("base").trainable = False
    model.compile(loss=lambda true, found: tf.reduce_mean(found), optimizer="adam")
    model.save(tmp_path / "model.h5")

    report = to_convert(tmp_path / "model.h5", tmp_path / "out", preprocessing="unit")

    assert report.coverage == 100 and all(parity.passed for parity in report.parity)
    notes = "\n".join(report.notes)
    assert "computes in bfloat16" in notes
    assert "were frozen in the classifier; the detector trains them" in notes


def test_the_cut_can_be_chosen(tmp_path, capsys):
    shake(build()).save(tmp_path / "model.keras")
    source = str(tmp_path / "model.keras")

    to_convert(source, tmp_path / "out", preprocessing="tf", cut_layer="add2")

    config = (tmp_path / "out" / "pipeline.config").read_text()
    assert "first_stage_features_stride: 8" in config and "height_stride: 8" in config
    for layer, message in (("side2", "skip over each other"), ("add4", "No layer is left")):
        with pytest.raises(UserError, match=message):
            to_convert(source, tmp_path / "no", preprocessing="tf", cut_layer=layer)
    with pytest.raises(UserError, match="--cut_layer is for"):
        to_convert(source, tmp_path / "no", architecture=Architecture.SSD, cut_layer="add2")
    assert not (tmp_path / "no").exists()


def test_a_layer_that_is_called_again_and_again(tmp_path):
    """One activation for all convolutions, and a cut at one of its calls."""
    activation = tf.keras.layers.ReLU(name="activation")
    x = images = tf.keras.Input((64, 64, 3))
    for _ in range(5):
        x = activation(tf.keras.layers.Conv2D(8, 3, strides=2, padding="same")(x))
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    shake(tf.keras.Model(images, tf.keras.layers.Dense(2)(x))).save(tmp_path / "model.keras")

    report = to_convert(tmp_path / "model.keras", tmp_path / "out", preprocessing="unit")

    assert [parity.name for parity in report.parity] == ["activation", "activation"]
    assert all(parity.passed and parity.feature_range > 0 for parity in report.parity)
