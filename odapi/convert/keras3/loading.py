"""Has Keras 3 itself read what it saved."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models import keras_graph, keras_sizes

from odapi.console.errors import UserError
from odapi.convert.keras3.translation import translate
from odapi.convert.reading import keras2
from odapi.convert.reading.building import build_model
from odapi.convert.reading.door import ModelFile, WeightsFile
from odapi.convert.reading.text import one_line

if TYPE_CHECKING:
    import keras


def load(file: ModelFile) -> tf.keras.Model:
    """Makes the model that Keras 3 saved, and its counterpart in Keras 2.

    Raises:
        UserError: Keras 3 cannot make it, its weights do not fit, or a layer has no counterpart.
    """
    with file.weights() as weights:
        model = build_model(file.path, lambda: _load_original(file, weights), "Keras 3")
        try:
            model.load_weights(weights.path)
        except Exception as error:  # h5py's, and Keras' on what it finds in place of a group
            raise UserError(
                f"weights do not fit the architecture: {one_line(error)}",
                at=weights.name,
                hint="give the weights that were saved from this architecture, by Keras 3",
            ) from None
    keras2.require_finite(model.weights, str(file.path))
    return translate(model, file.path)


def _load_original(file: ModelFile, weights: WeightsFile) -> keras.Model:
    import keras

    with _limited_weights(weights.values + keras2.SPARE_VALUES):
        config = copy.deepcopy(file.config)
        if "module" in config:
            return keras.saving.deserialize_keras_object(config)
        # As in .h5, whose entries are named as in Keras 2.
        kind = keras.Sequential if config["class_name"] == "Sequential" else keras.Model
        return kind.from_config(config["config"])


@contextlib.contextmanager
def _limited_weights(limit: int) -> Iterator[None]:
    """Refuses to make weights of more than `limit` values, before their memory is taken.

    Keras 3 fills a weight before TensorFlow is told of a variable, so that `keras_sizes` is late.
    """
    import keras

    add_weight = keras.layers.Layer.add_weight
    total = 0

    def add_limited_weight(layer: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal total
        total += math.prod(shape or ())
        if total > limit:
            raise keras_graph.Refusal(
                f"its layers declare more than the {limit:,} values that the file holds", layer.name
            )
        return add_weight(layer, shape, *args, **kwargs)

    keras.layers.Layer.add_weight = add_limited_weight
    try:
        with (
            keras_sizes.limited_tensors(keras.Operation),
            keras_sizes.limited_tensors(keras.layers.Layer),
        ):
            yield
    finally:
        keras.layers.Layer.add_weight = add_weight
