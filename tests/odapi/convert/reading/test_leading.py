"""A leading layer that only the user's code can make is left out, in every form of file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.convert.request import Request
from odapi.convert.source import load_classifier
from odapi.convert.transfer import convert

FORMS = ["keras", "h5", "saved_model", "json"]


def build(library: Any, *, nested: bool = False, sequential: bool = False) -> Any:
    """A classifier whose first layer is a Lambda, after augmentation."""
    layers = library.layers
    random = np.random.default_rng(5)

    def body(x: Any) -> Any:
        for number in range(5):
            x = layers.Conv2D(8, 3, 2, "same", activation="relu", name=f"conv{number}")(x)
        return x

    start = [
        layers.Input((64, 64, 3)),
        layers.RandomFlip(name="flip"),
        layers.Lambda(lambda x: x / 127.5 - 1, name="scale"),
    ]
    if sequential:
        convs = [layers.Conv2D(8, 3, 2, "same", name=f"conv{number}") for number in range(5)]
        end = [layers.GlobalAveragePooling2D(), layers.Dense(2, name="top")]
        model = library.Sequential([*start, *convs, *end])
    else:
        image = x = start[0]
        for layer in start[1:]:
            x = layer(x)
        x = layers.GlobalAveragePooling2D()(body(x))
        model = library.Model(image, layers.Dense(2, name="top")(x))
    if nested:
        outer = layers.Input((64, 64, 3))
        model = library.Model(outer, layers.Activation("softmax", name="end")(model(outer)))
    model.set_weights([random.normal(0, 0.3, weight.shape) for weight in model.get_weights()])
    return model


def save(model: Any, form: str, folder: Path) -> tuple[str, str | None]:
    path = folder / ("model" if form == "saved_model" else f"model.{form}")
    if form == "json":
        path.write_text(model.to_json())
        weights = folder / "model.weights.h5"
        model.save_weights(weights)
        return str(path), str(weights)
    model.save(path)
    return str(path), None


KINDS = [(tf.keras, form) for form in FORMS] + [
    (keras, form) for form in FORMS if form != "saved_model"
]


@pytest.mark.parametrize("shape", ["functional", "sequential", "nested"])
@pytest.mark.parametrize(
    ("library", "form"), KINDS, ids=[f"{lib.__name__[:8]}-{form}" for lib, form in KINDS]
)
def test_the_rest_computes_what_it_did(tmp_path, library, form, shape):
    model = build(library, **({} if shape == "functional" else {shape: True}))
    source = save(model, form, tmp_path)
    with pytest.raises(UserError, match="Lambda"):
        load_classifier(*source)
    if (form, shape) == ("saved_model", "nested"):
        with pytest.raises(UserError, match="scale"):
            load_classifier(*source, drop_layer="scale")
        return

    found = load_classifier(*source, drop_layer="scale")

    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    expected = np.asarray(model(images, training=False))
    # Said here: augmentation layers take it for training where nothing is said.
    actual = found.model(images / 127.5 - 1, training=False)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    assert np.ptp(expected) > 1e-3
    assert "'scale' was left out unread" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("conv1", "a Conv2D layer comes before it"), ("nowhere", "no layer 'nowhere'")],
)
def test_only_a_leading_layer_can_go(tmp_path, name, reason):
    path, _ = save(build(tf.keras), "keras", tmp_path)
    with pytest.raises(UserError, match=reason) as caught:
        load_classifier(path, drop_layer=name)
    assert name in caught.value.at and caught.value.exit_code == 2


def test_what_the_layer_did_has_to_be_said(tmp_path, capsys):
    path, _ = save(build(tf.keras), "keras", tmp_path)
    request = {"source": path, "output_dir": tmp_path / "out", "drop_layer": "scale"}
    with pytest.raises(UserError, match="nothing else says how") as caught:
        convert(Request(**request))
    assert "--preprocessing" in caught.value.hint

    report = convert(Request(**request, preprocessing="tf"))

    assert report.coverage == 100 and not report.faults()
    assert "'scale' was left out" in capsys.readouterr().out
