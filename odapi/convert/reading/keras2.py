"""Makes a Keras 2 model of a file that came through the door, and fills it with the weights."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models import classifier_backbone, keras_sizes

from odapi.console.errors import UserError
from odapi.convert.reading import hdf5, saved_model
from odapi.convert.reading.building import build_model
from odapi.convert.reading.door import Layout, ModelFile, WeightsFile
from odapi.convert.reading.text import one_line

SPARE_VALUES = 1 << 20
"""What a model may declare beyond what the file holds: counters and seeds, and what is to blame for
weights that do not fit, which says more than a bound."""
WRONG_WEIGHTS = (
    ValueError,
    LookupError,
    TypeError,
    AssertionError,
    AttributeError,
    RuntimeError,
    OSError,
    tf.errors.OpError,
)
"""What Keras and TensorFlow raise for weights of another model, or damaged ones."""


def load(file: ModelFile) -> tuple[tf.keras.Model, tuple[str, ...]]:
    """Returns the model, and notes on how its weights were found.

    Raises:
        UserError: Keras cannot make it, or the weights do not fit.
    """
    text = json.dumps(file.config)
    objects = classifier_backbone.CUSTOM_OBJECTS
    with file.weights() as weights:

        def build() -> tf.keras.Model:
            with keras_sizes.limited_variables(weights.values + SPARE_VALUES, "the file holds"):
                return tf.keras.models.model_from_json(text, objects)

        model = build_model(file.path, build)
        notes = load_weights(model, weights, file.dropped)
    return model, notes


def load_weights(
    model: tf.keras.Model, weights: WeightsFile, dropped: str | None = None
) -> tuple[str, ...]:
    """Gives a model its weights.

    Args:
        model: the model.
        weights: that have been looked at.
        dropped: name of a layer whose weights are left out.

    Returns:
        A note, if the order of the file had to serve.

    Raises:
        UserError: they are those of another architecture, or not all are numbers.
    """
    if weights.layout is Layout.LAYERS:
        notes = _load_by_layer(model, weights, dropped)
    else:
        notes = ()
        _check_sizes(model, weights)
        try:
            _load_by_structure(model, weights, dropped)
        except WRONG_WEIGHTS as error:
            raise _weights_do_not_fit(one_line(error), weights.name) from None
    classifier_backbone.finalize_states(model)
    require_finite(model.weights, weights.name)
    return notes


def require_finite(variables: Sequence[Any], name: str) -> None:
    """Raises UserError if a weight is NaN or infinite: nothing could be compared with it."""
    for variable in variables:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            count = int(values.size - np.isfinite(values).sum())
            raise UserError(
                f"{count:,} of {values.size:,} values of a weight are not finite",
                at=f"{name}, {getattr(variable, 'path', variable.name)}",
                hint="the training that made it ended in NaN: give an earlier checkpoint",
            )


def _load_by_structure(model: tf.keras.Model, weights: WeightsFile, dropped: str | None) -> None:
    if weights.layout is Layout.STRUCTURE:
        model.load_weights(weights.path)
        return
    tracked = model
    if dropped is not None:
        # The checkpoint numbers the layers, and what follows the dropped one has another number.
        names, tracked = saved_model.layer_keys(weights.path), tf.Module()
        for layer in model.layers:
            if layer.weights:
                setattr(tracked, names[layer.name], layer)
    status = tf.train.Checkpoint(root=tracked).read(str(weights.path / saved_model.CHECKPOINT))
    status.assert_existing_objects_matched().expect_partial()


def _check_sizes(model: tf.keras.Model, weights: WeightsFile) -> None:
    largest = max((int(np.prod(variable.shape)) for variable in model.weights), default=0)
    if weights.largest > max(largest, SPARE_VALUES):
        raise _weights_do_not_fit(
            f"{weights.largest:,} values in one of the file's weights, at most {largest:,} in one "
            "of the model's",
            weights.name,
        )


def _weights_do_not_fit(reason: str, name: str) -> UserError:
    return UserError(
        f"weights do not fit the architecture: {reason}",
        at=name,
        hint="give the weights that were saved from this architecture",
    )


class LayerWeights:
    """The layers of an HDF5 file that Keras' save_weights() or save() wrote."""

    def __init__(self, file: h5py.File, name: str) -> None:
        """Takes an open file.

        Raises:
            UserError: it holds no such weights.
        """
        self._name = name
        root = file.get("model_weights", file)
        self._root = root if isinstance(root, h5py.Group) else file
        if not any(key.startswith("layer_names") for key in self._root.attrs):
            raise UserError(
                "the file holds no weights in Keras 2's HDF5 format",
                at=name,
                hint="save them with model.save_weights('weights.h5') in Keras 2, and a name that "
                "does not end in .weights.h5",
            )

    def layers(self) -> dict[str, list[h5py.Dataset]]:
        """Layer name to its data sets, in the order of the file; layers without any left out."""
        found = {}
        for layer, variables in self._names():
            if variables:
                found[layer] = [self._dataset(layer, name) for name in variables]
        return found

    def by_variable(self, dropped: str | None) -> dict[str, h5py.Dataset]:
        """Variable name to data set; empty if two variables of the file have the same name."""
        found = [
            (name, self._dataset(layer, name))
            for layer, variables in self._names()
            for name in variables
            if layer != dropped
        ]
        return dict(found) if len(dict(found)) == len(found) else {}

    def _names(self) -> list[tuple[str, list[str]]]:
        return [
            (layer, self._texts(self._item(layer, h5py.Group), "weight_names"))
            for layer in self._texts(self._root, "layer_names")
        ]

    def _dataset(self, layer: str, name: str) -> h5py.Dataset:
        return self._item(f"{layer}/{name}", h5py.Dataset)

    def _item(self, name: str, kind: type) -> Any:
        item = self._root.get(name) if name else None
        if not isinstance(item, kind):
            what = "data set" if kind is h5py.Dataset else "group"
            raise UserError(
                f"the weights file names a {what} that it does not hold",
                at=f"{self._name}, {name}",
                hint="save the weights again with Keras, or copy the file again",
            )
        return item

    def _texts(self, item: h5py.Group, key: str) -> list[str]:
        """An attribute of texts, which Keras cuts in pieces where it is long."""
        if key in item.attrs:
            pieces = [item.attrs[key]]
        else:
            count = sum(name.startswith(key) for name in item.attrs)
            pieces = [item.attrs.get(f"{key}{number}") for number in range(count)]
        texts = [text for piece in pieces for text in np.atleast_1d(piece)]
        if not all(isinstance(text, bytes | str) for text in texts):
            raise UserError(
                f"the weights file has {key} that are no names",
                at=f"{self._name}, {item.name}",
                hint="save the weights again with Keras",
            )
        return [
            text.decode(errors="replace") if isinstance(text, bytes) else str(text)
            for text in texts
        ]


def _load_by_layer(
    model: tf.keras.Model, weights: WeightsFile, dropped: str | None
) -> tuple[str, ...]:
    """Loads HDF5 weights by name, or in the file's order where the names differ.

    Keras itself goes by order alone and looks at no name. Freezing part of a nested model after
    saving its JSON changes that order, and VGG-16 has six kernels of one shape: they would be
    swapped without a word.
    """
    with hdf5.open_checked(weights.path, weights.name) as file:
        stored = LayerWeights(file, weights.name)
        by_name = stored.by_variable(dropped)
        variables = {variable.name: variable for variable in model.weights}
        if by_name.keys() == variables.keys():
            pairs = [(name, [by_name[name]], [variables[name]]) for name in variables]
            note: tuple[str, ...] = ()
        else:
            layers = stored.layers()
            layers.pop(dropped, None)
            pairs, note = _layer_pairs(layers, model, weights.name)
        for layer, datasets, targets in pairs:
            shapes = [tuple(dataset.shape) for dataset in datasets]
            expected = [tuple(variable.shape) for variable in targets]
            if shapes != expected:
                raise _weights_do_not_fit(
                    f"{_shapes(shapes)} in the file, {_shapes(expected)} in the model",
                    f"{weights.name}, layer {layer!r}",
                )
        for _, datasets, targets in pairs:
            for dataset, variable in zip(datasets, targets, strict=True):
                variable.assign(np.asarray(dataset, dtype=variable.dtype.as_numpy_dtype))
    return note


def _layer_pairs(
    stored: dict[str, list[h5py.Dataset]], model: tf.keras.Model, path: str
) -> tuple[list[tuple[str, list[h5py.Dataset], list[tf.Variable]]], tuple[str, ...]]:
    # The order in which Keras writes the weights of a layer.
    layers = {
        layer.name: layer.trainable_weights + layer.non_trainable_weights
        for layer in model.layers
        if layer.weights
    }
    if stored.keys() == layers.keys():
        return [(name, stored[name], layers[name]) for name in layers], ()
    if len(stored) != len(layers):
        raise _weights_do_not_fit(
            f"{len(stored)} layers with weights in the file, {len(layers)} in the model",
            f"{path}, {_difference(stored, layers)}",
        )
    pairs = [
        (name, datasets, layers[name])
        for name, datasets in zip(layers, stored.values(), strict=True)
    ]
    return pairs, ("layer names in the weights file differ: weights were taken in its order",)


def _difference(stored: dict, layers: dict) -> str:
    counts = Counter(stored)
    counts.subtract(layers)
    name = next(name for name, count in counts.items() if count)
    return f"layer {name!r}, only in the {'file' if counts[name] > 0 else 'model'}"


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) or "scalar" for shape in shapes)
