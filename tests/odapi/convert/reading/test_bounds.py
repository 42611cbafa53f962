"""Small configurations that ask for much memory or time, or for what is not on the list.

Each ran code, took a process down, or kept it for ever, when it was given to Keras as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from object_detection.models.keras_models import classifier_backbone, keras_graph, keras_sizes

from tests.odapi.convert.reading import mutations
from tests.odapi.convert.reading.networks import (
    config,
    layer,
    load,
    operation,
    operation_3,
    refusal,
    tensor,
    with_layers,
)

MAP = [[["relu0", 0, 0, {}]]]
"""Node of a layer that is called with a feature map of 16x16x4."""
NUMBER = {"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float32"}}
CONSTANT = [[["_CONSTANT_VALUE", -1, [[[[1.0]]]], {}]]]
LONG = layer("Reshape", MAP, "long", target_shape=[16, 64])


@pytest.mark.parametrize("holder", ["__tuple__", "__numpy__", "__slice__", "TensorShape", "Dense"])
@pytest.mark.parametrize("place", ["module", "registered_name"])
def test_no_object_in_the_place_of_a_name(folder, holder, place):
    """Keras 2 makes objects while it reads JSON, wherever they are: a whole model, which writes."""
    effect = folder / "effect"
    attack = config(folder, 2)
    attack["config"]["more"] = {
        "class_name": holder,
        place: mutations.hostile(folder),
        "items": [],
        "config": {},
    }

    refusal(lambda: load(folder, attack))
    assert not effect.exists()

    # Without the door it has its effect.
    with pytest.raises(AttributeError):
        tf.keras.models.model_from_json(json.dumps(attack))
    assert effect.exists()


@pytest.mark.parametrize("key", ["layer", "cell", "backward_layer"])
def test_no_layer_by_its_bare_name(folder, key):
    attack = layer("TimeDistributed", MAP, **{key: "StringLookup"})

    assert "StringLookup" in refusal(lambda: load(folder, _with(folder, attack))).message


@pytest.mark.parametrize(
    "node",
    [
        ["relu0", 0.5, 0, {}],
        ["relu0", True, 0, {}],
        ["relu0", None, 0, {}],
        ["relu0", 0, "1", {}],
        ["relu0", 0, 0, {"mask": ["relu0", 0.5, 0]}],
        ["relu0", 0, 0, {"mask": ["relu0", 0, 7]}],
    ],
    ids=str,
)
def test_the_loader_does_not_wait_for_ever(folder, node):
    attack = layer("ReLU", [[node]])

    error = refusal(lambda: load(folder, _with(folder, attack)))

    assert "tensor that is never there" in error.message or "of a layer" in error.message


def test_the_second_output_by_a_keyword_is_not_waited_for_in_vain(folder):
    """The one case that only the loader can tell from a hang, where it is none."""
    images = tf.keras.Input((8, 8, 3))
    mean, variance = tf.nn.moments(images, [1, 2], keepdims=True)
    normal = tf.nn.batch_normalization(
        images, mean, variance=variance, offset=None, scale=None, variance_epsilon=1e-3
    )
    model = tf.keras.Model(images, tf.keras.layers.Conv2D(2, 3)(normal))
    model.save_weights(folder / "2.weights.h5")

    assert load(folder, json.loads(model.to_json())).model.count_params() == model.count_params()


@pytest.mark.parametrize(
    ("number", "more"),
    [
        (2, [layer("ZeroPadding2D", CONSTANT, padding=[[9, 9], [9, 9]])]),
        (3, [operation_3("Tile", "numpy", NUMBER, repeats=[2 * 10**9])]),
        (3, [operation_3("Pad", "numpy", [[1.0]], pad_width=[[0, 10**9]])]),
        (3, [{**layer("UpSampling2D", [{}], size=[9, 9]), "module": "keras.layers"}]),
    ],
    ids=["layer", "operation", "numbers", "nothing"],
)
def test_nothing_computes_while_it_is_read(folder, number, more):
    error = refusal(lambda: load(folder, _with(folder, *more, number=number), number))

    assert "no tensor among its arguments" in error.message and "more" in error.at


BIG = {
    "upsampling": (2, [layer("UpSampling2D", MAP, size=[10**5, 10**5])]),
    "one by one": (2, [LONG, layer("UpSampling1D", [[["long", 0, 0, {}]]], size=10**9)]),
    "padding": (2, [layer("ZeroPadding2D", MAP, padding=[[0, 10**6], [0, 10**6]])]),
    "tile": (2, [operation("tile", "relu0", 0, 0, {"multiples": [1, 10**4, 10**4, 1]})]),
    "number": (
        2,
        [
            operation(
                "tile", "_CONSTANT_VALUE", -1, [1.0], {"multiples": [10**10], "name": MAP[0][0]}
            )
        ],
    ),
    "batch": (2, [operation("tile", "relu0", 0, 0, {"multiples": [10**7, 1, 1, 1]})]),
    "attention": (
        2,
        [
            layer("UpSampling2D", MAP, "up", size=[20, 20]),
            layer("Reshape", [[["up", 0, 0, {}]]], "long", target_shape=[320 * 320 * 4, 1]),
            layer("Attention", [[["long", 0, 0, {}], ["long", 0, 0, {}]]]),
        ],
    ),
    "repeat": (
        3,
        [operation_3("Repeat", "numpy", tensor("relu0", [None, 16, 16, 4]), repeats=10**9, axis=1)],
    ),
    "one hot": (
        3,
        [operation_3("OneHot", "nn", tensor("relu0", [None, 16, 16, 4]), num_classes=10**9)],
    ),
    "places": (
        3,
        [
            layer(
                "AdaptiveMaxPooling2D",
                [{"args": [tensor("relu0", [None, 16, 16, 4])], "kwargs": {}}],
                output_size=[10**7, 1],
            )
        ],
    ),
    "locally": (
        2,
        [
            layer("UpSampling2D", MAP, "up", size=[16, 16]),
            layer("LocallyConnected2D", [[["up", 0, 0, {}]]], filters=1, kernel_size=[1, 1]),
        ],
    ),
}


@pytest.mark.parametrize("name", BIG)
def test_a_tensor_or_loop_too_large_is_refused_before_it_is_made(folder, name):
    number, more = BIG[name]

    error = refusal(lambda: load(folder, _with(folder, *more, number=number), number))

    assert "at most" in error.message or "parts of a tensor" in error.message
    assert any(entry["name"] in error.at for entry in more)


@pytest.mark.parametrize("shape", [[10**6, 10**6, 3], [10**5, 10**5, 3]])
@pytest.mark.parametrize("number", [2, 3])
def test_an_image_too_large(folder, number, shape):
    whole = config(folder, number)
    start = whole["config"]["layers"][0]["config"]
    start["batch_input_shape" if number == 2 else "batch_shape"] = [None, *shape]

    assert "at most" in refusal(lambda: load(folder, whole, number)).message


def test_a_batch_too_large(folder):
    whole = config(folder, 2)
    whole["config"]["layers"][0]["config"]["batch_input_shape"] = [10**9, 32, 32, 3]

    assert "at most" in refusal(lambda: load(folder, whole)).message


def test_a_size_that_depends_on_the_image(folder):
    count = [
        operation("reduce_sum", "relu0", 0, 0, {}),
        operation("cast", "sum", 0, 0, {"dtype": "int32"}),
        operation("stack", "count", 0, 0, {}),
        operation("tile", "_CONSTANT_VALUE", -1, [1.0], {"multiples": ["stack", 0, 0]}),
    ]
    count[2]["inbound_nodes"] = [[["count", 0, 0, {"axis": 0}]]]
    for entry, name in zip(count, ["sum", "count", "stack", "more"], strict=True):
        entry["name"] = entry["config"]["name"] = name

    assert (
        "depends on what is in the image"
        in refusal(lambda: load(folder, _with(folder, *count))).message
    )


def test_the_best_order_of_operands_is_not_looked_for(folder):
    attack = operation("einsum", "relu0", 0, 0, {"optimize": "optimal"})

    assert "optimize" in refusal(lambda: load(folder, _with(folder, attack))).message


def test_a_layer_built_for_a_shape_of_its_own(folder):
    whole = config(folder, 3)
    whole["config"]["layers"][1]["build_config"] = {"input_shape": [None, 10**6, 10**6, 3]}

    assert "built for a tensor" in refusal(lambda: load(folder, whole, 3)).message


@pytest.mark.parametrize(
    "broken",
    [
        {"class_name": ["Functional"]},
        {"class_name": {}},
        {"config": "x"},
        {"class_name": "Sequential", "config": {"layers": [{"class_name": "ReLU", "config": {}}]}},
        {"inbound_nodes": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("dropped", [None, "conv0"])
def test_values_of_other_types(folder, broken, dropped):
    refusal(lambda: load(folder, {**config(folder, 2), **broken}, drop_layer=dropped))


def test_names_of_other_types(folder):
    for name in (["a"], {"a": 1}, 5, None):
        for function in (name, "math.abs"):
            attack = {**operation("x", "relu0", 0, 0, {}), "name": name}
            attack["config"]["function"] = function
            refusal(lambda attack=attack: load(folder, _with(folder, attack)))


def test_a_model_that_no_image_fits(folder):
    whole = _with(folder, layer("Reshape", MAP, target_shape=[7, 9]))
    whole["config"]["layers"][0]["config"]["batch_input_shape"] = [None, None, None, 3]

    assert "cannot be run" in refusal(lambda: load(folder, whole)).message


@pytest.mark.parametrize("name", ["upsampling", "one by one", "attention", "batch"])
def test_a_backbone_is_read_through_the_same_door(folder, name):
    _write_backbone(folder, _with(folder, *BIG[name][1]))

    with pytest.raises(ValueError, match="at most"):
        classifier_backbone.BackboneDescription.read(str(folder))


def test_whatever_keras_raises_on_a_backbone_is_a_sentence(folder):
    _write_backbone(folder, _with(folder, layer("GroupNormalization", MAP, groups=0)))

    with pytest.raises(ValueError, match="does not describe a backbone"):
        classifier_backbone.BackboneDescription.read(str(folder))


def test_plain_networks_are_not_looked_at_twice_and_others_are(monkeypatch):
    """The first holds for most of keras.applications, and saves a third of the time to build."""

    class Looked(Exception):
        pass

    def look(*args: Any, **kwargs: Any) -> None:
        raise Looked

    monkeypatch.setattr(tf, "function", look)
    layers = tf.keras.layers
    images = tf.keras.Input((32, 32, 3))
    keras_sizes.check(tf.keras.Sequential([images, layers.Conv2D(2, 3), layers.ReLU()]))
    free = tf.keras.Input((None, None, 3))
    row = layers.Reshape((32 * 32, 3))(images)
    for model in (
        tf.keras.Model(free, layers.Conv2D(2, 3)(free)),
        tf.keras.Model(images, layers.Attention()([row, row])),
        tf.keras.Model(images, tf.tile(images, [1, 2, 2, 1])),
    ):
        with pytest.raises(Looked):
            keras_sizes.check(model)


def test_nothing_is_watched_afterwards():
    before = tf.keras.layers.Layer.__call__
    with pytest.raises(keras_graph.Refusal), keras_sizes.limited_variables(10, "a test may have"):
        tf.keras.layers.Dense(20)(tf.keras.Input((3,)))

    assert tf.keras.layers.Layer.__call__ is before


def _with(folder: Path, *more: dict[str, Any], number: int = 2) -> dict[str, Any]:
    return with_layers(config(folder, number), *more)


def _write_backbone(folder: Path, model: dict[str, Any]) -> None:
    content = {
        "format": 1,
        "preprocessing": {
            "mode": "none",
            "channels": "rgb",
            "scale": [1.0] * 3,
            "offset": [0.0] * 3,
        },
        "cut_layer": None,
        "model": model,
    }
    (folder / "backbone.json").write_text(json.dumps(content))
