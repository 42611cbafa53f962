"""Leaves the leading layer out of an architecture: the one whose code only its author has."""

from __future__ import annotations

import copy
from typing import Any

from object_detection.models.keras_models import keras_allow_list, keras_graph

from odapi.console.errors import UserError

_MODELS = keras_allow_list.names(keras_allow_list.Kind.MODEL)
_MAY_PRECEDE = {"InputLayer", "Identity"}.union(
    *(row.names for row in keras_allow_list.ROWS if row.group == "images")
)
"""What may come before a leading layer: layers that change the images and have no weights."""


def drop_layer(model: Any, name: str) -> dict[str, Any]:
    """A copy of an architecture in which what reads a leading layer reads its input instead.

    Args:
        model: the configuration of a functional or sequential model, unchecked.
        name: the layer's. It may stand in a model that is itself the first.

    Raises:
        UserError: there is no such layer, or it is not a leading one.
    """
    model = copy.deepcopy(model)
    if not _drop_from(model, name):
        raise UserError(
            f"the model has no layer {name!r} to leave out",
            at=f"--drop_layer {name}",
            hint=f"its first layers: {', '.join(_names(model)[:5])}",
        )
    return model


def _drop_from(model: Any, name: str) -> bool:
    """Leaves the layer out of a model, or of one that leads it; tells whether it was there."""
    layers = _layers(model)
    index = next((i for i, layer in enumerate(layers) if _name(layer) == name), None)
    if index is not None:
        if model["class_name"] == "Sequential":
            _from_sequence(layers, index, name)
        else:
            _from_graph(model["config"], layers[index], name)
        return True
    first = next((layer for layer in layers if layer["class_name"] not in _MAY_PRECEDE), None)
    return first is not None and first["class_name"] in _MODELS and _drop_from(first, name)


def _layers(model: Any) -> list[dict[str, Any]]:
    config = model.get("config") if isinstance(model, dict) else None
    if isinstance(config, list) and model.get("class_name") != "Sequential":
        config = None
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list) or not all(
        isinstance(layer, dict) and isinstance(layer.get("class_name"), str) for layer in layers
    ):
        raise keras_graph.Refusal("the model has no list of layers")
    return layers


def _name(layer: dict[str, Any]) -> Any:
    config = layer.get("config")
    own = config.get("name") if isinstance(config, dict) else None
    return layer.get("name", own)


def _names(model: dict[str, Any]) -> list[str]:
    return [str(_name(layer)) for layer in _layers(model) if layer["class_name"] != "InputLayer"]


def _from_sequence(layers: list[dict[str, Any]], index: int, name: str) -> None:
    _require_leading([layer["class_name"] for layer in layers[:index]], name)
    layer = layers.pop(index)
    config = layer.get("config")
    shape = config.get("batch_input_shape") if isinstance(config, dict) else None
    if index == 0 and shape is not None:
        start = {"batch_input_shape": shape, "dtype": "float32", "name": f"{name}_input"}
        layers.insert(0, {"class_name": "InputLayer", "config": start})


def _from_graph(config: dict[str, Any], layer: dict[str, Any], name: str) -> None:
    layers = {_name(other): other for other in config["layers"]}
    source = _only_input(layer, name)
    before, at = [], source[0]
    while at in layers and len(before) <= len(layers):
        before.append(layers[at]["class_name"])
        if before[-1] == "InputLayer":
            break
        at = _only_input(layers[at], name)[0]
    _require_leading(before, name)
    config["layers"].remove(layer)
    for other in config["layers"]:
        _redirect(other.get("inbound_nodes"), name, source)
    outputs = config.get("output_layers")
    if name in {name for name, *_ in _references(outputs)}:
        raise _not_leading(name, "it is the model's output")


def _only_input(layer: dict[str, Any], name: str) -> list[Any]:
    """Layer, node and output of the one tensor that a layer is called with."""
    nodes = layer.get("inbound_nodes")
    found = list(_references(nodes))
    if not isinstance(nodes, list) or len(nodes) != 1 or len(found) != 1:
        raise _not_leading(name, f"{_name(layer)!r} is called with {len(found)} tensors")
    return found[0]


def _references(value: Any) -> list[list[Any]]:
    """All `[layer, node, output]` within arguments, of either Keras, to be changed in place."""
    found, pending = [], [value]
    while pending:
        item = pending.pop()
        if keras_graph.is_reference(item):
            found.append(item)
            pending.extend(item[3:])
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
    return found


def _redirect(nodes: Any, name: str, source: list[Any]) -> None:
    for reference in _references(nodes):
        if reference[0] == name:
            reference[:3] = source[:3]


def _require_leading(before: list[str], name: str) -> None:
    if other := next((kind for kind in before if kind not in _MAY_PRECEDE), None):
        raise _not_leading(name, f"a {other} layer comes before it")


def _not_leading(name: str, reason: str) -> UserError:
    return UserError(
        f"only a leading layer can be left out: {reason}",
        at=f"--drop_layer {name}",
        hint="convert the model from the Python that makes it: odapi.convert(model=...)",
    )
