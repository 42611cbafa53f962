"""The list itself: everything that Keras has is decided, and nothing on it is made up."""

from __future__ import annotations

import inspect
from types import ModuleType

import keras
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf
from object_detection.models.keras_models import keras_allow_list
from object_detection.models.keras_models.keras_allow_list import REFUSED, Kind, names
from tf_keras.src.layers import serialization

NO_LAYERS = {
    *("AbstractRNNCell", "BaseRandomLayer", "BatchNormalizationBase", "InputSpec", "Layer"),
    *("Wrapper", "_RNNCellWrapper", "DeviceWrapper", "DropoutWrapper", "ResidualWrapper"),
    *("LinearModel", "WideDeepModel"),
}
"""Base classes, and models of tables."""
NO_IMAGES = {
    *("Hashing", "HashedCrossing", "MelSpectrogram", "STFTSpectrogram", "MaxNumBoundingBoxes")
}
"""Layers for words, sounds and boxes: no image classifier has one."""
OF_ONE_NETWORK = {"LayerScale", "StochasticDepth", "CustomScaleLayer", "Custom>CustomScaleLayer"}
OLD_NAMES = {"GroupedQueryAttention"}


def layers_of_keras() -> set[str]:
    serialization.populate_deserializable_objects()
    second = {
        name for name, kind in serialization.LOCAL.ALL_OBJECTS.items() if inspect.isclass(kind)
    }
    third = {name for name, kind in vars(keras.layers).items() if inspect.isclass(kind)}
    return second | third


def test_every_layer_is_allowed_or_left_out_on_purpose():
    """A new Keras brings layers: someone has to look at each."""
    decided = names(Kind.LAYER) | names(Kind.MODEL) | names(Kind.OPERATION_LAYER) | REFUSED.keys()

    assert layers_of_keras() - decided == NO_LAYERS | NO_IMAGES
    assert names(Kind.LAYER) - layers_of_keras() == OF_ONE_NETWORK | OLD_NAMES
    assert not names(Kind.LAYER) & REFUSED.keys()


@pytest.mark.parametrize(
    ("kind", "modules", "no_values"),
    [
        (Kind.ACTIVATION, "activations", set()),
        (Kind.INITIALIZER, "initializers", {"Initializer", "STFT", "STFTInitializer", "stft"}),
        (Kind.REGULARIZER, "regularizers", {"Regularizer"}),
        (Kind.CONSTRAINT, "constraints", {"Constraint"}),
    ],
)
def test_every_name_of_a_setting_is_decided(kind, modules, no_values):
    def public(module: ModuleType) -> set[str]:
        return {name for name in dir(module) if not name.startswith("_")}

    found = public(getattr(tf.keras, modules)) | public(getattr(keras, modules))
    assert found - names(kind) == no_values | {"deserialize", "get", "serialize"}


def test_every_symbol_exists_and_takes_no_file():
    for symbol in names(Kind.SYMBOL):
        if symbol.startswith("__operators__."):
            continue
        function = tf
        for part in symbol.split("."):
            function = getattr(function, part, None)
            assert function is not None, symbol
        taken = set(inspect.signature(function).parameters)
        assert not taken & {"filename", "filepath", "path", "contents", "fname", "func"}, symbol


def test_a_row_for_each_reason_and_a_name_in_one_row_only():
    for kind in Kind:
        rows = [row for row in keras_allow_list.ROWS if row.kind is kind]
        assert rows and all(row.why and row.names for row in rows)
        assert sum(len(row.names) for row in rows) == len(names(kind))
