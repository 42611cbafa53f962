"""Reads a trained Keras classifier from what people have: JSON and H5, .h5, .keras, or a name."""

from __future__ import annotations

import difflib
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from google.protobuf.message import DecodeError
from object_detection.models.keras_models import classifier_backbone
from tf_keras.protobuf import saved_metadata_pb2

from odapi.convert import keras3
from odapi.convert.building import BUILT_IN_ONLY, built, first_line
from odapi.errors import UserError

_TOPS = ("predictions", "conv_preds", "Logits")
"""Classification layers of keras.applications; MobileNet V1's and V3's are convolutions."""
_FROM_KERAS_3 = "saved by Keras 3: made anew of Keras 2's layers, and compared with the original"
_OWN_MODULES = {"keras", "tf_keras", "tensorflow", "builtins"}


@dataclass(frozen=True)
class Classifier:
    """A classifier with its weights."""

    model: tf.keras.Model
    origin: str
    """Where it came from, as the report names it."""
    notes: tuple[str, ...] = ()
    """What the user should know about how it was read."""
    application: str | None = None
    """Its name in keras.applications, if it was given by name."""


def load_classifier(source: str, weights: str | None = None) -> Classifier:
    """Reads a classifier.

    Args:
        source: path of an architecture JSON, an HDF5 or a .keras file, or of a SavedModel's
            folder, or a name that keras.applications knows.
        weights: for JSON the path of its HDF5 weights; for a name such a path, `imagenet` (the
            default) or `none`; for the others None.

    Raises:
        UserError: the classifier cannot be read, or only by running code that came with it.
    """
    classifier = _load(source, weights)
    model, kinds = _in_float32(classifier.model)
    if not kinds:
        return classifier
    note = f"computes in {', '.join(kinds)}: compared with its weights in float32"
    return replace(classifier, model=model, notes=(*classifier.notes, note))


def _load(source: str, weights: str | None) -> Classifier:
    path = Path(source)
    if not path.exists():
        return _from_application(source, weights)
    if path.is_dir():
        if weights is not None:
            raise _has_its_own_weights(source)
        return _from_saved_model(path)
    if path.suffix == ".json":
        return _from_json(path, weights)
    if weights is not None:
        raise _has_its_own_weights(source)
    return _from_whole_model(path)


def _from_application(name: str, weights: str | None) -> Classifier:
    known = classifier_backbone.applications()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, cutoff=0.7)
        raise UserError(
            "there is no such file",
            at=name,
            hint=f"did you mean {nearest[0]}?" if nearest else "check the path of SOURCE",
        )
    build = partial(classifier_backbone.application, name)
    if weights == "none":
        model = build(weights=None, include_top=False)
        return Classifier(model, f"{name}, random values", application=name)
    if weights in (None, "imagenet"):
        try:
            model = build(weights="imagenet")
        except Exception as error:  # Keras reports a failed download as a bare Exception
            raise UserError(
                f"the ImageNet weights cannot be fetched: {first_line(error)}",
                hint="fetch the weights file of keras.applications elsewhere and give its path to "
                "--weights",
            ) from None
        return Classifier(model, f"{name}, ImageNet weights", application=name)
    path = _existing(weights)
    with _open_weights(path) as file:
        top = next((found for key, found in file.layers().items() if _is_top(key)), None)
    model = (
        build(weights=None, classes=top[0].shape[-1])
        if top
        else build(weights=None, include_top=False)
    )
    return Classifier(model, f"{name}, {path}", _load_weights(model, path), application=name)


def _is_top(layer: str) -> bool:
    """Whether a network of keras.applications ends with a layer of this name."""
    return layer in _TOPS or layer.endswith("_head_dense")


def _from_json(path: Path, weights: str | None) -> Classifier:
    if weights is None:
        raise UserError(
            "the JSON holds an architecture and no weights",
            at=str(path),
            hint="add --weights weights.h5",
        )
    weights_path = _existing(weights)
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text)
    except ValueError:  # not JSON, or not even text
        raise _not_keras(path) from None
    if _check_architecture(config, _version(config), path):
        model = keras3.load_json(path, weights_path)
        return Classifier(model, f"{path}, {weights_path}", (_FROM_KERAS_3,))
    objects = classifier_backbone.CUSTOM_OBJECTS
    model = built(path, lambda: tf.keras.models.model_from_json(text, objects))
    return Classifier(model, f"{path}, {weights_path}", _load_weights(model, weights_path))


def _from_whole_model(path: Path) -> Classifier:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            try:
                config = json.loads(archive.read("config.json"))
                version = _version(json.loads(archive.read("metadata.json")))
            except (KeyError, ValueError, zipfile.BadZipFile):
                raise _not_keras(path) from None
    elif h5py.is_hdf5(path):
        with _open_hdf5(path) as file:
            if "model_config" not in file.attrs:
                raise UserError(
                    "the file holds weights and no architecture",
                    at=str(path),
                    hint=f"odapi convert model.json --weights {path} ..., where model.json has "
                    "model.to_json(); or VGG16 in its place",
                )
            try:
                config = json.loads(file.attrs["model_config"])
            except ValueError:
                raise _not_keras(path) from None
            version = str(file.attrs.get("keras_version", "")) or None
    else:
        raise _not_keras(path)
    if _check_architecture(config, version, path):
        return Classifier(keras3.load(path), str(path), (_FROM_KERAS_3,))
    model = built(path, lambda: _load_whole(path))
    return Classifier(model, str(path))


def _load_whole(path: Path) -> tf.keras.Model:
    objects = classifier_backbone.CUSTOM_OBJECTS
    return tf.keras.models.load_model(path, custom_objects=objects, compile=False)


def _from_saved_model(path: Path) -> Classifier:
    if not (path / "saved_model.pb").is_file():
        raise UserError(
            "the folder holds no SavedModel",
            at=str(path),
            hint="give the folder that has saved_model.pb in it, or a .keras or .h5 file",
        )
    metadata = saved_metadata_pb2.SavedMetadata()
    try:
        metadata.ParseFromString((path / "keras_metadata.pb").read_bytes())
        root = next(node for node in metadata.nodes if node.node_path == "root")
        config = json.loads(root.metadata)
    except FileNotFoundError:
        raise UserError(
            "the SavedModel is for inference only: it has operations, and no layers to cut at",
            at=str(path),
            hint="save the model itself: model.save('model.keras'), not model.export(...)",
        ) from None
    except (DecodeError, StopIteration, ValueError):
        raise _not_keras(path) from None
    _check_architecture(config, _version(config), path)
    model = built(path, lambda: _load_whole(path))
    for layer in model._flatten_layers():
        # Keras puts a stand-in where it lacks a layer's class: it computes, and has no code.
        if ".saved_model." in type(layer).__module__:
            raise UserError(
                f"the model needs the custom layer {type(layer).__name__}",
                at=f"{path}, layer {layer.name!r}",
                hint=BUILT_IN_ONLY,
            )
    return Classifier(model, str(path))


def _in_float32(model: tf.keras.Model) -> tuple[tf.keras.Model, list[str]]:
    """The same model in float32, and what else its layers compute in, if anything."""
    kinds = {
        layer.compute_dtype
        for layer in model._flatten_layers()
        if layer.compute_dtype and tf.as_dtype(layer.compute_dtype).is_floating
    } - {"float32"}
    if not kinds:
        return model, []
    copy = type(model).from_config(
        _with_float32(model.get_config()), custom_objects=classifier_backbone.CUSTOM_OBJECTS
    )
    values = zip(copy.weights, model.get_weights(), strict=True)
    copy.set_weights([value.astype(to.dtype.as_numpy_dtype) for to, value in values])
    classifier_backbone.settle(copy)
    return copy, sorted(kinds)


def _with_float32(config: Any) -> Any:
    """A config in which each layer that computes in floats does so in float32."""
    if isinstance(config, dict):
        return {
            key: "float32"
            if key == "dtype" and (isinstance(value, dict) or "float" in str(value))
            else _with_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(map(_with_float32, config))
    return config


def _has_its_own_weights(source: str) -> UserError:
    return UserError(
        "--weights goes with an architecture JSON or a name, and SOURCE has its own",
        at=source,
        hint="leave out --weights",
    )


def _check_architecture(config: Any, version: str | None, path: Path) -> bool:
    """Refuses what only code from the file could build; tells whether Keras 3 saved it."""
    if not isinstance(config, dict) or not {"class_name", "config"} <= config.keys():
        raise _not_keras(path)
    for entry in _entries(config["config"]):
        name = entry["config"].get("name", "?") if isinstance(entry["config"], dict) else "?"
        if entry["class_name"] == "Lambda":
            # Its Python code would have to run to rebuild the layer.
            raise UserError(
                "the model has a Lambda layer, whose code is not run",
                at=f"{path}, layer {name!r}",
                hint=f"take the layer out, or {BUILT_IN_ONLY}",
            )
        module = entry.get("module")
        if isinstance(module, str) and module.split(".")[0] not in _OWN_MODULES:
            raise UserError(
                f"the model needs the custom object {module}.{entry['class_name']}",
                at=f"{path}, layer {name!r}",
                hint=BUILT_IN_ONLY,
            )
    for graph in _entries(config):
        if graph["class_name"] in ("Functional", "Model"):
            _check_graph(graph["config"], path)
    if config["class_name"] not in ("Sequential", "Functional", "Model"):
        raise UserError(
            f"the model is of class {config['class_name']}: subclassed models are not supported",
            at=str(path),
            hint=BUILT_IN_ONLY,
        )
    if version is None:
        return _looks_like_keras_3(config)
    return version.startswith("3")


def _check_graph(config: Any, path: Path) -> None:
    """Refuses a graph with a layer that hangs in the air, on which Keras' loader never ends.

    Keras saves such files from models in which a layer's `_name` was changed after building.
    """
    for layer in config.get("layers", []):
        if layer["class_name"] != "InputLayer" and layer.get("inbound_nodes") == []:
            raise UserError(
                "a layer of the model has no input: it was renamed after the model was built",
                at=f"{path}, layer {layer['config'].get('name')!r}",
                hint="save the model with the layer's first name; convert does not go by names",
            )


def _entries(config: Any) -> Iterator[dict]:
    """All serialized objects within a config."""
    if isinstance(config, dict):
        if {"class_name", "config"} <= config.keys():
            yield config
        for value in config.values():
            yield from _entries(value)
    elif isinstance(config, list):
        for value in config:
            yield from _entries(value)


def _looks_like_keras_3(config: dict) -> bool:
    return any(
        entry["class_name"] == "DTypePolicy"
        or (entry["class_name"] == "InputLayer" and "batch_shape" in entry["config"])
        for entry in _entries(config)
    )


def _version(config: Any) -> str | None:
    return config.get("keras_version") if isinstance(config, dict) else None


class _Weights:
    """The layers of an HDF5 file that Keras' save_weights() or save() wrote."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file = file
        self._root = file.get("model_weights", file)
        if "layer_names" not in self._root.attrs:
            raise UserError(
                "the file holds no weights in Keras 2's HDF5 format",
                at=str(path),
                hint="save them with model.save_weights('weights.h5') in Keras 2, and a name that "
                "does not end in .weights.h5",
            )

    def __enter__(self) -> _Weights:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def layers(self) -> dict[str, list[h5py.Dataset]]:
        """Layer name to its datasets, in the order of the file; layers without any left out."""
        layers = {}
        for layer in map(_text, self._root.attrs["layer_names"]):
            group = self._root[layer]
            if names := [_text(name) for name in group.attrs["weight_names"]]:
                layers[layer] = [group[name] for name in names]
        return layers

    def by_variable(self) -> dict[str, h5py.Dataset]:
        """Variable name to dataset; empty if two variables of the file have the same name."""
        found = [
            (_text(name), self._root[layer][_text(name)])
            for layer in map(_text, self._root.attrs["layer_names"])
            for name in self._root[layer].attrs["weight_names"]
        ]
        return dict(found) if len(dict(found)) == len(found) else {}


def _load_weights(model: tf.keras.Model, path: Path) -> tuple[str, ...]:
    """Loads HDF5 weights by name, or in the file's order where the names differ.

    Keras itself goes by order alone and looks at no name. Freezing part of a nested model after
    saving its JSON changes that order, and VGG-16 has six kernels of one shape: they would be
    swapped without a word.

    Returns:
        A note, if the order had to serve.
    """
    with _open_weights(path) as file:
        by_name = file.by_variable()
        variables = {variable.name: variable for variable in model.weights}
        if by_name.keys() == variables.keys():
            pairs = [(name, [by_name[name]], [variables[name]]) for name in variables]
            note: tuple[str, ...] = ()
        else:
            pairs, note = _layer_pairs(file.layers(), model, path)
        for layer, datasets, targets in pairs:
            stored = [tuple(dataset.shape) for dataset in datasets]
            wanted = [tuple(variable.shape) for variable in targets]
            if stored != wanted:
                raise UserError(
                    f"weights do not fit the architecture: {_shapes(stored)} in the file, "
                    f"{_shapes(wanted)} in the model",
                    at=f"{path}, layer {layer!r}",
                    hint="give the weights that were saved from this architecture",
                )
        for _, datasets, targets in pairs:
            for dataset, variable in zip(datasets, targets, strict=True):
                variable.assign(np.asarray(dataset, dtype=variable.dtype.as_numpy_dtype))
    classifier_backbone.settle(model)
    return note


def _layer_pairs(
    stored: dict[str, list[h5py.Dataset]], model: tf.keras.Model, path: Path
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
        raise UserError(
            f"weights do not fit the architecture: {len(stored)} layers with weights in the file, "
            f"{len(layers)} in the model",
            at=f"{path}, {_difference(stored, layers)}",
            hint="give the weights that were saved from this architecture",
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


def _open_weights(path: Path) -> _Weights:
    if not h5py.is_hdf5(path):
        raise UserError(
            "the weights are not an HDF5 file",
            at=str(path),
            hint="save them with model.save_weights('weights.h5')",
        )
    return _Weights(_open_hdf5(path), path)


def _open_hdf5(path: Path) -> h5py.File:
    try:
        return h5py.File(path)
    except OSError as error:  # truncated: the signature is there and the rest is not
        raise UserError(
            f"the file is damaged: {first_line(error)}", at=str(path), hint="copy it again"
        ) from None


def _existing(weights: str) -> Path:
    path = Path(weights)
    if not path.is_file():
        raise UserError(
            "there is no such weights file", at=weights, hint="check the path of --weights"
        )
    return path


def _not_keras(path: Path) -> UserError:
    return UserError(
        "the file is not a Keras model",
        at=str(path),
        hint="give model.json (model.to_json()) with --weights, or what model.save() wrote as .h5 "
        "or .keras",
    )


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) or "scalar" for shape in shapes)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
