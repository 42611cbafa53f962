"""A model that the user's own Python made: the code in it is the user's, in the user's process."""

from __future__ import annotations

import json
from typing import Any

import keras
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models import classifier_backbone, keras_graph

from odapi.console.errors import UserError
from odapi.convert import keras3
from odapi.convert.reading import building, keras2, leading
from odapi.convert.reading.refusals import refusal_error
from odapi.convert.reading.text import one_line
from odapi.convert.source import KERAS_3_NOTE, Classifier, in_float32, left_out_note


def classifier(model: Any, drop_layer: str | None = None) -> Classifier:
    """Takes a model of either Keras as the classifier.

    Layers of the user's own classes are allowed in descriptions of backbones that this process
    reads from now on: the detector is built from one.

    Args:
        model: functional or sequential, built, with its weights.
        drop_layer: name of a leading layer to leave out, or None.

    Raises:
        UserError: it is neither, or Keras 3 made it of layers that Keras 2 does not have.
    """
    origin = f"model {getattr(model, 'name', '?')!r} of this process"
    notes: tuple[str, ...] = ()
    if not isinstance(model, tf.keras.Model | keras.Model):
        raise UserError(
            f"model is a {type(model).__name__}, and no Keras model", at="odapi.convert(model=...)"
        )
    building.require_shapes(model, origin)
    if drop_layer is not None:
        model = _drop_layer(model, drop_layer, origin)
        notes = (left_out_note(drop_layer),)
    keras2.require_finite(model.weights, origin)
    if isinstance(model, keras.Model):
        counterpart = keras3.translate(model, origin)
        return in_float32(Classifier(counterpart, origin, (*notes, KERAS_3_NOTE)))
    classifier_backbone.allow_layers(*_own_classes(model))
    return in_float32(Classifier(model, origin, notes))


def _drop_layer(model: Any, name: str, origin: str) -> Any:
    """A copy of a model in which what reads a leading layer reads its input instead."""
    of_keras_2 = isinstance(model, tf.keras.Model)
    own = {kind.__name__: kind for kind in _own_classes(model)}
    try:
        config = leading.drop_layer(json.loads(model.to_json()), name)
        if of_keras_2:
            copy = tf.keras.models.model_from_json(json.dumps(config), own)
        else:
            copy = keras.saving.deserialize_keras_object(config, own)
        for layer in copy.layers:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    except keras_graph.Refusal as refusal:
        raise refusal_error(refusal, origin) from None
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the model cannot be made without layer {name!r}: {one_line(error)}",
            at=origin,
            hint="give each class of your own a get_config(), or build the model without the layer",
        ) from None
    return copy


def _own_classes(model: Any) -> list[type]:
    """Classes of the model's layers that are not Keras's."""
    return [
        type(layer)
        for layer in model._flatten_layers()
        if type(layer).__module__.split(".")[0] not in ("keras", "tf_keras")
    ]
