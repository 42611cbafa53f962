"""Weights of a layer and of its counterpart, matched by their places in the layers' structure.

By names alone they cannot be told apart: in an attention layer four weights are called "kernel".
By order alone they are swapped as soon as the two libraries keep them in another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf

_OTHER_PLACES = {
    "DepthwiseConv1D": {"kernel": "depthwise_kernel"},
    "DepthwiseConv2D": {"kernel": "depthwise_kernel"},
}
"""Class of Keras 3 to the places that its weights have in Keras 2, where that is another."""
_UNREAD = {"Normalization": {"count"}, "BatchNormalization": {"count"}}
"""Weights that no inference reads: how many batches were seen. Only one side may have them."""

_BOOKKEEPING = {"_layers", "_self_tracked_trackables", "_inbound_nodes", "_outbound_nodes"}
"""Attributes in which Keras keeps a layer's parts a second time, or its neighbours."""


class Unmatched(ValueError):
    """A weight of the original has no place in the counterpart, or the reverse."""


def matched(original: Any, counterpart: Any) -> list[tuple[Any, Any]]:
    """Pairs the weights of a Keras 3 layer with those of a Keras 2 layer.

    Args:
        original: a layer, whose sublayers are looked into.
        counterpart: the same of Keras 2.

    Returns:
        Weight and variable, each of either side once.

    Raises:
        Unmatched: a weight has no counterpart, or one of another shape.
    """
    given, wanted = dict(_places(original)), dict(_places(counterpart))
    for place in given.keys() ^ wanted.keys():
        if _is_unread(place, original):
            given.pop(place, None)
            wanted.pop(place, None)
    if given.keys() != wanted.keys():
        lone = sorted(given.keys() - wanted.keys()) or sorted(wanted.keys() - given.keys())
        side = "Keras 2" if lone[0] in given else "the original"
        raise Unmatched(f"{side} has no weight {lone[0]!r} in its place")
    for place, weight in given.items():
        if tuple(weight.shape) != tuple(wanted[place].shape):
            shapes = f"{tuple(weight.shape)}, in Keras 2 {tuple(wanted[place].shape)}"
            raise Unmatched(f"weight {place!r} has the shape {shapes}")
    return [(given[place], wanted[place]) for place in given]


def require_all(original: Any, counterpart: Any, pairs: list[tuple[Any, Any]]) -> None:
    """Checks that every weight of a model arrived once, by their values and by their names.

    The names are those that the libraries give, and not the places by which weights were matched:
    what no output shows, such as the bias of an attention's keys, is looked at twice that way.

    Args:
        original: the Keras 3 model.
        counterpart: the Keras 2 model.
        pairs: the weights that were copied, each with the variable that took it.

    Raises:
        Unmatched: a weight was left out, taken twice, or is not what it was.
    """
    copied = Counter(id(weight) for weight, _ in pairs)
    filled = Counter(id(variable) for _, variable in pairs)
    for weight in original.weights:
        if copied[id(weight)] != 1 and not _is_count(weight.path):
            raise Unmatched(f"weight {weight.path} was copied {copied[id(weight)]} times")
    for variable in counterpart.weights:
        if filled[id(variable)] != 1 and not _is_count(variable.name):
            raise Unmatched(f"variable {variable.name} was filled {filled[id(variable)]} times")
    for weight, variable in pairs:
        if not np.array_equal(_value(weight), _value(variable)):
            raise Unmatched(f"weight {weight.path} did not arrive")
    variables = _by_unique_name((variable.name, variable) for variable in counterpart.weights)
    for name, weight in _by_unique_name((w.path, w) for w in original.weights).items():
        if name in variables and not np.array_equal(_value(weight), _value(variables[name])):
            raise Unmatched(f"weight {weight.path} is not what it was")


def _places(layer: Any) -> Iterator[tuple[str, Any]]:
    """Each weight of a layer of either Keras, by the attributes that lead to it."""
    other = _OTHER_PLACES.get(type(layer).__name__, {}) if _is_keras_3(layer) else {}
    attributes = {id(value): name.lstrip("_") for name, value in sorted(vars(layer).items())}
    inner: set[int] = set()
    for name, child in _children(layer):
        for place, weight in _places(child):
            if id(weight) not in inner:
                inner.add(id(weight))
                yield f"{name}/{place}", weight
    for weight in layer.weights:
        if id(weight) not in inner:
            place = attributes.get(id(weight)) or _name(weight.name).split("/")[-1]
            yield other.get(place, place), weight


def _children(layer: Any) -> Iterator[tuple[str, Any]]:
    for name, value in sorted(vars(layer).items()):
        if name in _BOOKKEEPING:
            continue
        if _is_layer(value):
            yield name.lstrip("_"), value
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                if _is_layer(item):
                    yield f"{name.lstrip('_')}[{index}]", item


def _is_layer(value: Any) -> bool:
    return isinstance(value, keras.layers.Layer | tf.keras.layers.Layer)


def _is_keras_3(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Layer)


def _is_unread(place: str, layer: Any) -> bool:
    return place in _UNREAD.get(type(layer).__name__, ())


def _is_count(name: str) -> bool:
    return _name(name).split("/")[-1] == "count"


def _by_unique_name(named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Weights by name, those left out whose name another one has, too."""
    listed = [(_name(name), weight) for name, weight in named]
    counts = Counter(name for name, _ in listed)
    return {name: weight for name, weight in listed if counts[name] == 1}


def _name(name: str) -> str:
    return name.split(":")[0]


def _value(weight: Any) -> np.ndarray:
    return np.asarray(weight).astype(np.float32)
