"""Makes of a Keras 3 model the same one of Keras 2's layers.

TensorFlow has come with Keras 3 since 2.16, and the Object Detection API is Keras 2 code. Each
layer is made anew in Keras 2 with its configuration and its weights. The two libraries have layers
of the same names that do not always do the same, so weights and outputs of every layer are compared
before anything is done with the copy.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models.classifier_backbone import finalize_states

from odapi.console.errors import UserError
from odapi.convert.keras3 import comparison, operations, weights
from odapi.convert.reading.text import one_line

if TYPE_CHECKING:
    import keras

_DIFFERENT_ACTIVATIONS = {
    "hard_sigmoid": "it has another slope in Keras 2; give it an Activation layer of its own",
    "hard_silu": "Keras 2 has none; give it an Activation layer of its own",
    "hard_swish": "Keras 2 has none; give it an Activation layer of its own",
}
_OPERATIONS_MODULE = "keras.src.ops."
_MERGING_LAYERS = ("Add", "Maximum", "Minimum", "Multiply", "Subtract")
# Settings of training, and of how a layer starts; the weights are known.
_TRAINING_SETTINGS = ("_initializer", "_regularizer", "_constraint")
_OF_THE_COPY = {"name", "trainable", "dtype", "seed"}
"""Options that the copy gets in another way, or that nothing reads at inference."""
_OTHER_NAMES = {"LeakyReLU": {"negative_slope": "alpha"}}
"""Class of Keras 3 to options that have another name in Keras 2."""


def translate(model: keras.Model, path: Path | str) -> tf.keras.Model:
    """Makes the counterpart of a model, and compares the two.

    Args:
        model: functional or sequential, with its weights.
        path: what messages call it.

    Raises:
        UserError: a layer has no counterpart, or does something else.
    """
    translator = Translator(path)
    counterpart, pairs = translator.translate(model)
    try:
        weights.require_all(model, counterpart, pairs)
        comparison.compare(model, counterpart, translator.call)
    except comparison.DifferentError as error:
        raise UserError(
            f"the model does something else in Keras 2: {error}",
            at=f"{path}, {error.layer.name!r} ({type(error.layer).__name__})",
            hint="build and train the model with tf_keras, or report it with the model's JSON",
        ) from None
    except weights.Unmatched as error:
        raise UserError(
            f"the weights did not all arrive in Keras 2: {error}",
            at=str(path),
            hint="report it with the model's JSON",
        ) from None
    return counterpart


class Translator:
    """Makes a Keras 2 model of a Keras 3 one; a layer that is called twice is made once."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._translated: dict[int, tuple[Any, tf.keras.layers.Layer]] = {}
        """The original and its counterpart, by the id of the former."""

    def translate(self, model: keras.Model) -> tuple[tf.keras.Model, list[tuple[Any, Any]]]:
        """Makes the counterpart of a functional or sequential model.

        Returns:
            The counterpart with its weights; and each of the original's, with what took it.
        """
        copy = self._model(model)
        pairs = []
        for original, layer in self._translated.values():
            if not isinstance(layer, tf.keras.Model):
                pairs += self._copy_weights(original, layer)
        finalize_states(copy)
        return copy, pairs

    def _model(self, model: keras.Model) -> tf.keras.Model:
        graph = comparison.functional(model)
        if not hasattr(graph, "_nodes_by_depth"):
            raise self._refused(model, "it is subclassed, and its code is not run")
        inputs = [tf.keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in model.inputs]
        tensors = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
        for node in comparison.nodes(graph):
            outputs = self.call(node, tensors)
            tensors |= zip(map(id, node.output_tensors), outputs, strict=True)
        outputs = [tensors[id(tensor)] for tensor in model.outputs]
        return tf.keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=model.name)

    def call(self, node: Any, tensors: dict[int, Any]) -> Sequence[Any]:
        """Calls the counterpart of a node's operation.

        Args:
            node: of the original's graph.
            tensors: ids of the original's tensors to Keras 2's, or to `comparison.Values`.
        """
        arguments, options = node.arguments.fill_in(tensors)
        # Keras 3 notes a default of training=True, which Keras 2 would hold to for ever.
        options = {
            key: value for key, value in options.items() if value is not None and key != "training"
        }
        try:
            if node.operation.__class__.__module__.startswith(_OPERATIONS_MODULE):
                return tf.nest.flatten(self._operation(node, arguments, options))
            layer = self._layer(node.operation)
            if isinstance(tensors, comparison.Values) and layer._expects_training_arg:
                # Augmentation layers take it for training where nothing is said.
                options["training"] = False
            return tf.nest.flatten(layer(*arguments, **options))
        except (TypeError, ValueError) as error:
            raise self._refused(node.operation, one_line(error)) from None

    def _operation(self, node: Any, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        """Makes a layer of what `x + y`, `3 * x` and the like left in the graph."""
        original = node.operation
        kind = type(original).__name__
        if len(arguments) == 2 and not options:
            left, right = arguments
            numbers = [value for value in arguments if isinstance(value, int | float)]
            if kind in _MERGING_LAYERS and len(node.input_tensors) == 2:
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
        constants = [not operations.holds_tensor(value) for value in node.arguments.args]
        values = [
            operations.plain(value) if constant else value
            for value, constant in zip(arguments, constants, strict=True)
        ]
        result = operations.apply(original, values, options)
        if result is None:
            raise self._refused(original, "it is a bare operation, for which Keras 2 has no layer")
        return result

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
        renamed = _OTHER_NAMES.get(kind.__name__, {})
        config = {
            renamed.get(key, key): value
            for key, value in config.items()
            if key not in _OF_THE_COPY and not key.endswith(_TRAINING_SETTINGS)
        }
        known = _constructor_arguments(counterpart)
        options = {key: value for key, value in config.items() if key in known}
        for key in config.keys() - options.keys():
            if not _is_of_no_effect(kind, key, config[key]):
                reason = f"Keras 2's layer has no option {key}, and it is {config[key]!r}"
                raise self._refused(original, reason)
        try:
            return counterpart(**options, name=original.name)
        except (TypeError, ValueError) as error:
            raise self._refused(original, one_line(error)) from None

    def _copy_weights(self, original: Any, layer: tf.keras.layers.Layer) -> list[tuple[Any, Any]]:
        try:
            pairs = weights.matched(original, layer)
        except weights.Unmatched as error:
            raise self._refused(original, one_line(error)) from None
        for weight, variable in pairs:
            variable.assign(tf.cast(tf.convert_to_tensor(weight), variable.dtype))
        return pairs

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


def _is_of_no_effect(kind: type, option: str, value: Any) -> bool:
    """Whether an option of a layer is off, or what it is where nothing is said."""
    if value is None or value is False or (option, value) == ("data_format", "channels_last"):
        return True
    if kind.__name__.startswith("Random"):  # augmentation, which inference passes over
        return True
    parameters = inspect.signature(kind.__init__).parameters
    return option in parameters and value == parameters[option].default


def _constructor_arguments(layer: type) -> set[str]:
    """The names that a layer's constructors take, those of its base classes included."""
    names: set[str] = set()
    for base in layer.__mro__:
        if "__init__" in vars(base):
            names |= inspect.signature(base.__init__).parameters.keys()
    return names - {"self", "args", "kwargs", "name", "trainable"}
