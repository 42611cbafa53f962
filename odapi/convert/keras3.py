"""Reads what Keras 3 saved, and makes the same model of Keras 2's layers.

TensorFlow has come with Keras 3 since 2.16, and the Object Detection API is Keras 2 code. Keras 3
itself reads the file; then each layer is made anew in Keras 2 with its configuration and its
weights. The two libraries have layers of the same names that do not always do the same, so the
outputs of both models on an image are compared before anything is done with the copy.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models import keras_graph, keras_sizes
from object_detection.models.keras_models.classifier_backbone import finalize_states

from odapi.console.errors import UserError
from odapi.convert.reading import keras2
from odapi.convert.reading.building import build_model
from odapi.convert.reading.door import ModelFile, WeightsFile
from odapi.convert.reading.text import one_line

if TYPE_CHECKING:
    import keras

_TOLERANCE = 1e-3
"""Largest difference of the outputs that passes, as a share of their range.

Float32 rounding is far below, unless logits of hundreds go through a softmax; what another
definition of a layer does is far above.
"""
_MIXED_TOLERANCE = 5e-2
"""The same where the original computes in 16 bits and the copy in 32."""
_DIFFERENT_ACTIVATIONS = {
    "hard_sigmoid": "it has another slope in Keras 2; give it an Activation layer of its own",
    "hard_silu": "Keras 2 has none; give it an Activation layer of its own",
    "hard_swish": "Keras 2 has none; give it an Activation layer of its own",
}
_OPERATORS_MODULE = "keras.src.ops.numpy"
# Settings of training, and of how a layer starts; the weights are known.
_TRAINING_SETTINGS = ("_initializer", "_regularizer", "_constraint")


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


def translate(model: keras.Model, path: Path | str) -> tf.keras.Model:
    """Makes the counterpart of a model, and compares the two.

    Args:
        model: functional or sequential, with its weights.
        path: what messages call it.

    Raises:
        UserError: a layer has no counterpart, or does something else.
    """
    counterpart = _Translator(path).translate(model)
    _compare(model, counterpart, path)
    return counterpart


class _Translator:
    """Makes a Keras 2 model of a Keras 3 one; a layer that is called twice is made once."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._translated: dict[int, tuple[Any, tf.keras.layers.Layer]] = {}
        """The original and its counterpart, by the id of the former."""

    def translate(self, model: keras.Model) -> tf.keras.Model:
        """Returns the counterpart of a functional or sequential model, with its weights."""
        copy = self._model(model)
        for original, layer in self._translated.values():
            if not isinstance(layer, tf.keras.Model):
                self._copy_weights(original, layer)
        finalize_states(copy)
        return copy

    def _model(self, model: keras.Model) -> tf.keras.Model:
        graph = getattr(model, "_functional", None) or model
        if not hasattr(graph, "_nodes_by_depth"):
            raise self._refused(model, "it is subclassed, and its code is not run")
        inputs = [tf.keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in model.inputs]
        tensors = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if not node.is_input:
                    outputs = self._call(node, tensors)
                    tensors |= zip(map(id, node.output_tensors), outputs, strict=True)
        outputs = [tensors[id(tensor)] for tensor in model.outputs]
        return tf.keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=model.name)

    def _call(self, node: Any, tensors: dict[int, Any]) -> list[Any]:
        arguments, options = node.arguments.fill_in(tensors)
        # Keras 3 notes a default of training=True, which Keras 2 would hold to for ever.
        options = {
            key: value for key, value in options.items() if value is not None and key != "training"
        }
        try:
            if node.operation.__class__.__module__ == _OPERATORS_MODULE:
                return [self._operator(node.operation, *arguments)]
            return tf.nest.flatten(self._layer(node.operation)(*arguments, **options))
        except (TypeError, ValueError) as error:
            raise self._refused(node.operation, one_line(error)) from None

    def _operator(self, original: Any, left: Any, right: Any = None) -> Any:
        """Makes a layer of what `x + y`, `3 * x` and the like left in the graph."""
        kind = type(original).__name__
        numbers = [value for value in (left, right) if isinstance(value, int | float)]
        if kind in ("Add", "Maximum", "Minimum", "Multiply", "Subtract") and not numbers:
            return getattr(tf.keras.layers, kind)(name=original.name)([left, right])
        if len(numbers) == 1:
            (number,), first = numbers, left is numbers[0]
            scales = {
                "Add": (1, number),
                "Multiply": (number, 0),
                "Subtract": (-1, number) if first else (1, -number),
                "TrueDivide": (1 / number, 0) if number and not first else None,
            }
            if scale := scales.get(kind):
                rescaling = tf.keras.layers.Rescaling(*scale, name=original.name)
                return rescaling(right if first else left)
        raise self._refused(original, "it is a bare operation, for which Keras 2 has no layer")

    def _layer(self, original: Any) -> tf.keras.layers.Layer:
        import keras

        if id(original) not in self._translated:
            nested = isinstance(original, keras.Model)
            layer = self._model(original) if nested else self._new_layer(original)
            layer.trainable = getattr(original, "trainable", True)
            self._translated[id(original)] = original, layer
        return self._translated[id(original)][1]

    def _new_layer(self, original: Any) -> tf.keras.layers.Layer:
        import keras

        kind = type(original)
        if not isinstance(original, keras.layers.Layer):
            raise self._refused(original, "it is a bare operation, for which Keras 2 has no layer")
        counterpart = _counterpart(kind)
        if counterpart is None:
            raise self._refused(original, "Keras 2 has no such layer")
        config = original.get_config()
        activation = config.get("activation")
        if isinstance(activation, str) and activation in _DIFFERENT_ACTIVATIONS:
            if kind is keras.layers.Activation:
                return _hard_activation(activation, original)
            raise self._refused(
                original, f"activation {activation}: {_DIFFERENT_ACTIVATIONS[activation]}"
            )
        if kind.__name__ == "LeakyReLU":
            config["alpha"] = config["negative_slope"]
        known = _constructor_arguments(counterpart) - {"dtype", "seed"}
        options = {
            key: value
            for key, value in config.items()
            if key in known and not key.endswith(_TRAINING_SETTINGS)
        }
        try:
            return counterpart(**options, name=original.name)
        except (TypeError, ValueError) as error:
            raise self._refused(original, one_line(error)) from None

    def _copy_weights(self, original: Any, layer: tf.keras.layers.Layer) -> None:
        names = [weight.name for weight in original.weights]
        values = dict(zip(names, original.get_weights(), strict=True))
        targets = {weight.name.split("/")[-1].split(":")[0]: weight for weight in layer.weights}
        # Normalization may count the batches it saw; nothing reads that at inference.
        if ("count" in values) != ("count" in targets):
            for side in (values, targets):
                side.pop("count", None)
        if values.keys() != targets.keys():  # a depthwise kernel, for one, is a plain kernel now
            targets = dict(zip(values, targets.values(), strict=False))
        shapes = {name: value.shape for name, value in values.items()}
        if shapes != {name: tuple(target.shape) for name, target in targets.items()}:
            raise self._refused(original, "its weights are others in Keras 2")
        for name, target in targets.items():
            target.assign(values[name])

    def _refused(self, layer: Any, reason: str) -> UserError:
        return UserError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot be taken over from Keras 3: "
            f"{reason}",
            at=str(self._path),
            hint="replace it by layers that Keras 2 has, or build and train the model in tf_keras",
        )


def _counterpart(kind: type) -> type | None:
    """The layer of Keras 2 that has the name of one of Keras 3's own, if there is one."""
    if not kind.__module__.startswith("keras."):
        return None
    if found := getattr(tf.keras.layers, kind.__name__, None):
        return found
    # A layer that belongs to one application stands beside it, in the same place in both.
    try:
        beside = importlib.import_module("tf_" + kind.__module__)
    except ImportError:
        return None
    return getattr(beside, kind.__name__, None)


def _hard_activation(name: str, original: Any) -> tf.keras.Model:
    """Keras 3's hard_sigmoid, relu6(x + 3) / 6, and hard_silu, x times that (arXiv:1905.02244)."""
    inputs = tf.keras.Input(original.output.shape[1:])
    outputs = tf.keras.layers.Rescaling(1 / 6, offset=0.5)(inputs)
    outputs = tf.keras.layers.ReLU(max_value=1.0)(outputs)
    if name != "hard_sigmoid":
        outputs = tf.keras.layers.Multiply()([inputs, outputs])
    return tf.keras.Model(inputs, outputs, name=original.name)


def _constructor_arguments(layer: type) -> set[str]:
    """The names that a layer's constructors take, those of its base classes included."""
    names: set[str] = set()
    for base in layer.__mro__:
        if "__init__" in vars(base):
            names |= inspect.signature(base.__init__).parameters.keys()
    return names - {"self", "args", "kwargs", "name", "trainable"}


def _compare(original: keras.Model, copy: tf.keras.Model, path: Path | str) -> None:
    """Raises UserError if the two give different outputs for an image."""
    shapes = [
        [1, *(side or keras_sizes.FREE_SIDE for side in tensor.shape[1:-1]), tensor.shape[-1]]
        for tensor in original.inputs
    ]
    random = np.random.default_rng(0)
    images = [random.uniform(0, 255, shape).astype(np.float32) for shape in shapes]
    image = images if len(images) > 1 else images[0]
    # Said aloud: augmentation layers take it for training where nothing is said.
    original_outputs, copy_outputs = (
        [np.asarray(tf.cast(output, tf.float32)) for output in tf.nest.flatten(outputs)]
        for outputs in (original(image, training=False), copy(image, training=False))
    )
    mixed = any(layer.compute_dtype != "float32" for layer in original._flatten_layers())
    tolerance = _MIXED_TOLERANCE if mixed else _TOLERANCE
    for left, right in zip(original_outputs, copy_outputs, strict=True):
        spread = float(np.ptp(left)) or float(np.abs(left).max()) or 1.0
        difference = float(np.abs(left - right).max()) / spread
        if not difference <= tolerance:  # true for NaN too
            raise UserError(
                f"the model does something else in Keras 2: outputs differ by {difference:.1e} of "
                "their range",
                at=str(path),
                hint="build and train the model with tf_keras, or report it with the model's JSON",
            )
