"""Reads a trained Keras classifier from what people have: JSON and H5, .h5, .keras, or a name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models import classifier_backbone

from odapi.console.errors import UserError
from odapi.convert import keras3
from odapi.convert.reading import building, door, foreign, hdf5, keras2
from odapi.convert.reading.text import one_line

_CLASSIFICATION_LAYERS = ("predictions", "conv_preds", "Logits")
"""Classification layers of keras.applications; MobileNet V1's and V3's are convolutions."""
KERAS_3_NOTE = "saved by Keras 3: rebuilt with Keras 2's layers, and compared with the original"


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


def load_classifier(
    source: str, weights: str | None = None, drop_layer: str | None = None
) -> Classifier:
    """Reads a classifier.

    Args:
        source: path of an architecture JSON, an HDF5 or a .keras file, or of a SavedModel's
            folder, or a name that keras.applications knows.
        weights: for JSON the path of its HDF5 weights; for a name such a path, `imagenet` (the
            default) or `none`; for the others None.
        drop_layer: name of a leading layer that is left out unread, or None.

    Raises:
        UserError: the classifier cannot be read, or only by running code that came with it.
    """
    if not Path(source).exists() and weights in (None, "none", "imagenet"):
        return in_float32(_load(source, weights, drop_layer))
    with building.as_user_errors(f"{source}, {weights}" if weights else source):
        return in_float32(_load(source, weights, drop_layer))


def in_float32(classifier: Classifier) -> Classifier:
    """The same classifier computing in float32 throughout, with a note if it did not."""
    model, dtypes = _model_in_float32(classifier.model)
    if not dtypes:
        return classifier
    note = f"computes in {', '.join(dtypes)}: compared with its weights in float32"
    return replace(classifier, model=model, notes=(*classifier.notes, note))


def _load(source: str, weights: str | None, drop_layer: str | None) -> Classifier:
    path = Path(source)
    if not path.exists():
        if drop_layer is not None:
            raise UserError(
                "--drop_layer is for a model in a file, and there is no such file", at=source
            )
        return _from_application(source, weights)
    if not (path.is_file() or path.is_dir()):
        raise UserError(  # a pipe would be waited for
            "SOURCE is neither a file nor a folder", at=source, hint="give the path of a model"
        )
    if path.suffix == ".json" and not path.is_dir():
        if weights is None:
            raise UserError(
                "the JSON holds an architecture and no weights",
                at=source,
                hint="add --weights weights.h5",
            )
        return _from_file(path, _existing_weights(weights), drop_layer)
    if weights is not None:
        raise _has_its_own_weights(source)
    return _from_file(path, None, drop_layer)


def _from_application(name: str, weights: str | None) -> Classifier:
    known = classifier_backbone.applications()
    if name not in known:
        if error := foreign.missing(Path(name)):
            raise error
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
                f"the ImageNet weights cannot be fetched: {one_line(error)}",
                hint="fetch the weights file of keras.applications elsewhere and give its path to "
                "--weights",
            ) from None
        return Classifier(model, f"{name}, ImageNet weights", application=name)
    path = _existing_weights(weights)
    weights_file = door.weights_file(path)
    with hdf5.open_checked(path) as file:
        layers = keras2.LayerWeights(file, str(path)).layers()
    top = next(
        (variables for name, variables in layers.items() if _is_classification_layer(name)), None
    )
    model = (
        build(weights=None, classes=top[0].shape[-1])
        if top
        else build(weights=None, include_top=False)
    )
    notes = keras2.load_weights(model, weights_file)
    return Classifier(model, f"{name}, {path}", notes, application=name)


def _is_classification_layer(layer: str) -> bool:
    """Whether a network of keras.applications ends with a layer of this name."""
    return layer in _CLASSIFICATION_LAYERS or layer.endswith("_head_dense")


def _from_file(path: Path, weights: Path | None, dropped: str | None) -> Classifier:
    file = door.model_file(path, weights, dropped)
    origin = str(path) if weights is None else f"{path}, {weights}"
    notes = () if dropped is None else (left_out_note(dropped),)
    if file.of_keras_3:
        return Classifier(keras3.load(file), origin, (*notes, KERAS_3_NOTE))
    model, weight_notes = keras2.load(file)
    return Classifier(model, origin, (*notes, *weight_notes))


def left_out_note(dropped: str) -> str:
    """What a report says of a leading layer that was left out."""
    return (
        f"layer {dropped!r} was left out unread: what it did to images is for --preprocessing to "
        "say, and no comparison can see it"
    )


def _model_in_float32(model: tf.keras.Model) -> tuple[tf.keras.Model, list[str]]:
    """The same model in float32, and what else its layers compute in, if anything."""
    dtypes = {
        layer.compute_dtype
        for layer in model._flatten_layers()
        if layer.compute_dtype and tf.as_dtype(layer.compute_dtype).is_floating
    } - {"float32"}
    if not dtypes:
        return model, []
    copy = type(model).from_config(
        _config_in_float32(model.get_config()), custom_objects=classifier_backbone.custom_objects()
    )
    values = zip(copy.weights, model.get_weights(), strict=True)
    copy.set_weights([value.astype(to.dtype.as_numpy_dtype) for to, value in values])
    classifier_backbone.finalize_states(copy)
    return copy, sorted(dtypes)


def _config_in_float32(config: Any) -> Any:
    """A config in which each layer that computes in floats does so in float32."""
    if isinstance(config, dict):
        return {
            key: "float32"
            if key == "dtype" and (isinstance(value, dict) or "float" in str(value))
            else _config_in_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(map(_config_in_float32, config))
    return config


def _has_its_own_weights(source: str) -> UserError:
    return UserError(
        "--weights goes with an architecture JSON or a name, and SOURCE has its own",
        at=source,
        hint="leave out --weights",
    )


def _existing_weights(weights: str) -> Path:
    path = Path(weights)
    if not path.is_file():
        if error := foreign.missing(path):
            raise error
        raise UserError(
            "there is no such weights file", at=weights, hint="check the path of --weights"
        )
    return path
