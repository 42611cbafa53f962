"""The proof that a Keras 3 model arrived cannot be fooled: every damage is seen, at every weight.

`ODAPI_PROOF=full` damages every weight and changes every option; otherwise a seeded sample.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import h5py
import keras
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.convert.keras3 import comparison, translation, weights
from odapi.convert.source import load_classifier

layers = keras.layers
FULL = os.environ.get("ODAPI_PROOF") == "full"
SAMPLE = 6
"""Weights and options of each network that are tried without ODAPI_PROOF=full."""


def _attention(x):
    x = layers.Conv2D(8, 3, strides=4)(x)
    x = layers.LayerNormalization()(layers.Reshape((-1, 8))(x))
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    return layers.Reshape((4, 4, 8))(x)


def _nested(x):
    inner = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization()],
        name="inner",
    )
    return layers.Conv2D(4, 1, name="conv")(inner(x))


def _shared(x):
    x = layers.Conv2D(4, 1, padding="same")(x)
    shared = layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")
    return layers.Add()([x, shared(shared(x))])


def _chain(*made: Callable[[], keras.Layer]):
    def build(x):
        for make in made:
            x = make()(x)
        return x

    return build


NETWORKS: dict[str, Callable] = {
    "attention": _attention,
    "nested": _nested,
    "shared": _shared,
    "layer norm": _chain(
        lambda: layers.Conv2D(4, 3), lambda: layers.LayerNormalization(axis=[1, 2, 3])
    ),
    "group norm": _chain(lambda: layers.Conv2D(8, 3), lambda: layers.GroupNormalization(4)),
    "separable": _chain(
        lambda: layers.SeparableConv2D(6, 3, depth_multiplier=2),
        lambda: layers.PReLU(shared_axes=[1, 2]),
    ),
    "depthwise": _chain(
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), lambda: layers.LeakyReLU(0.1)
    ),
    "transposed": _chain(lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same")),
    "dilated and grouped": _chain(
        lambda: layers.Conv2D(4, 3, dilation_rate=2), lambda: layers.Conv2D(4, 3, groups=2)
    ),
    "normalization": _chain(lambda: layers.Normalization(), lambda: layers.BatchNormalization()),
    "dense": _chain(
        lambda: layers.Conv2D(4, 3),
        lambda: layers.Permute((2, 3, 1)),
        lambda: layers.Dense(3, activation="gelu"),
    ),
    "einsum": _chain(
        lambda: layers.EinsumDense("abcd,de->abce", (None, None, 5), bias_axes="e"),
        lambda: layers.UnitNormalization(),
    ),
}


def network(name: str) -> keras.Model:
    """A network whose weights all have other values, in the range of trained ones."""
    keras.utils.clear_session()
    images = keras.Input((16, 16, 3))
    x = NETWORKS[name](images)
    x = layers.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else x
    model = keras.Model(images, layers.Dense(2, activation="softmax")(x))
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(generator.uniform(0.1, 0.6, weight.shape))
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    return model


_STATES = ("mean", "variance", "count")


class Case:
    """A network with its counterpart, whose proof passes."""

    def __init__(self, name: str) -> None:
        self.original = network(name)
        self._translator = translation.Translator(name)
        self.copy, self.pairs = self._translator.translate(self.original)
        assert self.passes(self.pairs)

    def passes(self, pairs: list) -> bool:
        try:
            weights.require_all(self.original, self.copy, pairs)
            comparison.compare(self.original, self.copy, self._translator.call)
        except (weights.Unmatched, comparison.DifferentError):
            return False
        return True

    def is_seen_in_outputs(self) -> bool:
        try:
            comparison.compare(self.original, self.copy, self._translator.call)
        except comparison.DifferentError:
            return True
        return False


@pytest.fixture(scope="module", params=NETWORKS)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def some(items: list, seed: int = 0) -> list:
    return items if FULL else random.Random(seed).sample(items, min(SAMPLE, len(items)))


def _damages(variable: tf.Variable, others: list[tf.Variable]) -> Iterator[np.ndarray]:
    value = variable.numpy()
    yield np.zeros_like(value)
    one = value.copy()
    one.flat[one.size // 2] += 0.5
    yield one
    yield from (other.numpy() for other in others if other.shape == variable.shape)


def _counts(variable: tf.Variable) -> bool:
    return variable.name.split(":")[0].endswith("count")


def test_every_damaged_weight_is_seen(case):
    variables = [variable for _, variable in case.pairs if not _counts(variable)]
    for variable in some(variables):
        value = variable.numpy()
        for damaged in _damages(variable, [one for one in variables if one is not variable]):
            variable.assign(damaged)
            assert not case.passes(case.pairs), variable.name
        variable.assign(value)
    assert case.passes(case.pairs)


def test_outputs_see_every_weight_but_the_bias_of_keys(case):
    """A softmax over keys takes the same from each: no output can show it."""
    blind = set()
    for _, variable in some(case.pairs):
        value = variable.numpy()
        variable.assign(value * 1.5)
        if not case.is_seen_in_outputs():
            blind.add(variable.name.split(":")[0])
        variable.assign(value)
    # Normalization computes with copies of its own, made when a model is finished.
    assert blind <= {"attention/key/bias", *(f"normalization/{name}" for name in _STATES)}


def test_a_reader_that_swaps_weights_is_found_out(case):
    """The assignments themselves are permuted, so that each arrived where it was sent."""
    pairs = case.pairs
    swaps = [
        (first, second)
        for first in range(len(pairs))
        for second in range(first)
        if pairs[first][0].shape == pairs[second][0].shape
    ]
    for first, second in some(swaps):
        permuted = list(pairs)
        permuted[first] = pairs[first][0], pairs[second][1]
        permuted[second] = pairs[second][0], pairs[first][1]
        for weight, variable in (permuted[first], permuted[second]):
            variable.assign(tf.convert_to_tensor(weight))
        assert not case.passes(permuted), [variable.name for _, variable in permuted]
        for weight, variable in (pairs[first], pairs[second]):
            variable.assign(tf.convert_to_tensor(weight))


def test_a_weight_left_out_or_taken_twice_is_found_out(case):
    for index in some(range(len(case.pairs))):
        if _counts(case.pairs[index][1]):
            continue
        assert not case.passes(case.pairs[:index] + case.pairs[index + 1 :])
        assert not case.passes([*case.pairs, case.pairs[index]])


OPTIONS = [
    ("Conv2D", {"strides": 2}),
    ("Conv2D", {"padding": "same"}),
    ("Conv2D", {"dilation_rate": 2}),
    ("Conv2D", {"activation": "silu"}),
    ("Conv2D", {"activation": "gelu"}),
    ("Conv2D", {"use_bias": False}),
    ("LayerNormalization", {"epsilon": 0.5}),
    ("LayerNormalization", {"center": False}),
    ("LayerNormalization", {"scale": False}),
    ("LayerNormalization", {"rms_scaling": True}),
    ("GroupNormalization", {"groups": 1}),
    ("GroupNormalization", {"groups": -1}),
    ("GroupNormalization", {"epsilon": 0.5}),
    ("BatchNormalization", {"epsilon": 0.5}),
    ("BatchNormalization", {"scale": False}),
    ("BatchNormalization", {"center": False}),
    ("RMSNormalization", {"epsilon": 0.5}),
    ("DepthwiseConv2D", {"depth_multiplier": 3, "activation": "relu"}),
    ("SeparableConv2D", {"strides": 2, "depth_multiplier": 2}),
    ("MultiHeadAttention", {"use_bias": False}),
    ("MultiHeadAttention", {"value_dim": 5, "output_shape": 8}),
    ("MultiHeadAttention", {"use_gate": True}),
    ("MultiHeadAttention", {"sliding_window": 2}),
    ("GroupQueryAttention", {}),
    ("ReLU", {"negative_slope": 0.2, "threshold": 0.1, "max_value": 1.0}),
    ("LeakyReLU", {"negative_slope": 0.4}),
    ("PReLU", {"shared_axes": [1]}),
    ("UpSampling2D", {"size": 2, "interpolation": "bilinear"}),
    ("UpSampling2D", {"size": 2, "interpolation": "bicubic"}),
    ("ZeroPadding2D", {"padding": ((1, 2), (3, 4))}),
    ("AveragePooling2D", {"pool_size": 2, "padding": "same", "strides": 1}),
    ("MaxPooling2D", {"padding": "same", "strides": 1}),
    ("Rescaling", {"scale": 0.1, "offset": 3.0}),
    ("Softmax", {"axis": 1}),
    ("ELU", {"alpha": 0.3}),
    ("Normalization", {"mean": [1.0, 2.0, 3.0, 4.0], "variance": [2.0] * 4}),
    ("Normalization", {"mean": 1.0, "variance": 2.0, "invert": True}),
    ("Cropping2D", {"cropping": ((1, 0), (0, 2))}),
    ("EinsumDense", {"equation": "abcd,de->abce", "output_shape": (None, None, 5)}),
]
NEEDED = {
    "Conv2D": {"filters": 4, "kernel_size": 3},
    "GroupNormalization": {"groups": 2},
    "DepthwiseConv2D": {"kernel_size": 3},
    "SeparableConv2D": {"filters": 4, "kernel_size": 3},
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 4},
    "GroupQueryAttention": {"head_dim": 4, "num_query_heads": 4, "num_key_value_heads": 2},
}
REFUSED = {
    "rms_scaling",
    "use_gate",
    "sliding_window",
    "RMSNormalization",
    "GroupedQueryAttention",
}


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
def test_each_option_arrives_or_is_refused_by_name(kind, options):
    """Compared with Keras 3's own outputs, by this test and not by the product."""
    keras.utils.clear_session()
    images = keras.Input((6, 6, 4))
    layer = getattr(layers, kind)(**(NEEDED.get(kind, {}) | options), name="tried")
    if "Attention" in kind:
        tokens = layers.Reshape((36, 4))(images)
        outputs = layer(tokens, tokens)
    else:
        outputs = layer(images)
    model = keras.Model(images, outputs)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(generator.uniform(0.1, 0.6, weight.shape))
    try:
        copy = translation.translate(model, "model")
    except UserError as error:
        named = REFUSED & {*options, type(layer).__name__}
        assert named and "'tried'" in str(error)
        assert all(name in str(error) for name in named)
        return
    assert not REFUSED & {*options, type(layer).__name__}
    batch = generator.normal(0, 1, (2, 6, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(
        copy(batch, training=False), model(batch, training=False), rtol=1e-4, atol=1e-5
    )


def test_a_file_that_lacks_weights_is_refused(tmp_path):
    """Whatever group or data set is gone: Keras 3 passes over some kinds of them."""
    model, path = network("nested"), tmp_path / "model.weights.h5"
    (tmp_path / "model.json").write_text(model.to_json())
    model.save_weights(path)
    whole = path.read_bytes()
    with h5py.File(path) as file:
        names: list[str] = []
        file.visit(names.append)
        held = {name for name in names if _holds_values(file[name])}
    assert held
    for name in some(sorted(held)):
        path.write_bytes(whole)
        with h5py.File(path, "a") as file:
            del file[name]
        with pytest.raises(UserError, match="do not fit the architecture"):
            load_classifier(str(tmp_path / "model.json"), str(path))


def _holds_values(item: h5py.Group | h5py.Dataset) -> bool:
    return isinstance(item, h5py.Dataset) or any(map(_holds_values, item.values()))


def test_images_of_whole_numbers_and_indices(tmp_path):
    """A shorter table of indices than a photograph has values, beside pixels as a file has them."""
    pixels = keras.Input((16, 16, 3), dtype="uint8")
    index = keras.Input((2,), dtype="int32")
    found = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(pixels)))
    found = layers.Concatenate()([found, layers.Flatten()(layers.Embedding(3, 2)(index))])
    model = keras.Model([pixels, index], found)
    counterpart = translation.translate(model, tmp_path)
    assert [tensor.dtype for tensor in counterpart.inputs] == ["uint8", "int32"]


def test_a_model_that_overflows_at_pixels_but_not_at_small_values(tmp_path):
    image = keras.Input((8, 8, 3))
    policy = keras.mixed_precision.DTypePolicy("mixed_float16")
    big = layers.Conv2D(2, 1, kernel_initializer="ones", dtype=policy)
    model = keras.Model(image, layers.ReLU(dtype=policy)(big(layers.Rescaling(2000.0)(image))))
    assert np.isinf(model(np.full((1, 8, 8, 3), 255.0))).all()
    translation.translate(model, tmp_path)


def test_a_model_that_overflows_everywhere_proves_nothing(tmp_path):
    image = keras.Input((8, 8, 3))
    policy = keras.mixed_precision.DTypePolicy("mixed_float16")
    huge = layers.Conv2D(2, 1, kernel_initializer="ones", dtype=policy)
    model = keras.Model(image, huge(layers.Rescaling(1e9)(image)))
    with pytest.raises(UserError, match="does something else"):
        translation.translate(model, tmp_path)


def test_values_that_no_layer_needs_any_more_are_let_go(monkeypatch, tmp_path):
    """All activations of a large network at once are more than memory holds."""
    image = keras.Input((8, 8, 3))
    found = image
    for _ in range(10):
        found = layers.Conv2D(3, 1)(found)
    held = []
    call = comparison._call

    def watched(node, values):
        held.append(len(values))
        return call(node, values)

    monkeypatch.setattr(comparison, "_call", watched)
    translation.translate(keras.Model(image, found), tmp_path)
    assert max(held) == 1
