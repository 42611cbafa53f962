"""Compares each layer that was made anew with the original's own forward pass.

The output of a whole model proves little: a softmax that is saturated is the same whatever the
layers before it do. So every layer gets what the original's layer got, on photographs and on noise,
in the ranges that classifiers are trained on, and gives what the original's gave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models import keras_sizes

from odapi.convert.parity import photographs

_TOLERANCE = 1e-3
"""Largest difference that passes, as a share of the range of what a layer gives for an image.

Float32 rounding is far below, unless logits of hundreds go through a softmax; what another
definition of a layer does is far above.
"""
_MIXED_TOLERANCE = 5e-2
"""The same where the original computes in 16 bits and the copy in 32."""

_SMALL = 0.05
"""What inputs of a layer are multiplied by, to look at it once more."""


class Values(dict[int, Any]):
    """What tensors of the original's graph hold for some images, by the ids of the tensors."""

    def scaled(self, tensors: Sequence[Any], factor: float) -> Values:
        """The same, but for some tensors of floats."""
        scaled = Values(self)
        for tensor in tensors:
            if tf.as_dtype(tensor.dtype).is_floating:
                scaled[id(tensor)] = self[id(tensor)] * factor
        return scaled


Replay = Callable[[Any, Values], Sequence[Any]]
"""Calls the counterpart of a node of the original's graph: node and values of tensors, by id."""


class DifferentError(ValueError):
    """A layer does something else in Keras 2.

    Attributes:
        layer: of the original.
    """

    def __init__(self, layer: Any, difference: float) -> None:
        super().__init__(f"outputs differ by {difference:.1e} of their range")
        self.layer = layer


def compare(original: keras.Model, counterpart: tf.keras.Model, replay: Replay) -> None:
    """Runs both models on the same images, layer by layer and as a whole.

    Args:
        original: functional or sequential, of Keras 3.
        counterpart: the same of Keras 2.
        replay: calls the layer that was made of one of the original's.

    Raises:
        DifferentError: at the first layer, in the order of the graph, that gives something else.
    """
    mixed = any(layer.compute_dtype != "float32" for layer in original._flatten_layers())
    tolerance = _MIXED_TOLERANCE if mixed else _TOLERANCE
    inputs = [_images(tensor) for tensor in original.inputs]
    outputs = _follow(original, inputs, replay, tolerance)
    images = inputs if len(inputs) > 1 else inputs[0]
    # Said aloud: augmentation layers take it for training where nothing is said.
    found = tf.nest.flatten(counterpart(images, training=False))
    _require_equal(original, outputs, found, tolerance)


def _follow(
    model: keras.Model, inputs: Sequence[Any], replay: Replay, tolerance: float
) -> list[Any]:
    """Computes the original's outputs node by node, and compares on the way."""
    graph = functional(model)
    values = Values(zip(map(id, graph.inputs), inputs, strict=True))
    ahead = Counter(id(tensor) for node in nodes(graph) for tensor in node.input_tensors)
    ahead.update(id(tensor) for tensor in tf.nest.flatten(graph.outputs))
    for node in nodes(graph):
        operation = node.operation
        if isinstance(operation, keras.Model):
            arguments, _ = node.arguments.fill_in(values)
            outputs = _follow(operation, tf.nest.flatten(arguments), replay, tolerance)
        else:
            outputs = _call(node, values)
            _require_equal(operation, outputs, replay(node, values), tolerance)
            # A softmax of its own may be saturated, and show nothing of the layer's weights.
            small = values.scaled(node.input_tensors, _SMALL)
            _require_equal(operation, _call(node, small), replay(node, small), tolerance)
        values |= zip(map(id, node.output_tensors), outputs, strict=True)
        # A network's activations for images of 600 pixels are more than memory holds.
        ahead.subtract(map(id, node.input_tensors))
        for tensor in node.input_tensors:
            if not ahead[id(tensor)]:
                values.pop(id(tensor), None)
    return [values[id(tensor)] for tensor in tf.nest.flatten(graph.outputs)]


def _call(node: Any, values: Values) -> list[Any]:
    """Calls an operation of the original, at inference."""
    arguments, options = node.arguments.fill_in(values)
    if getattr(node.operation, "_call_has_training_arg", False):
        options["training"] = False
    return tf.nest.flatten(node.operation(*arguments, **options))


def functional(model: keras.Model) -> Any:
    """The graph of a functional or sequential model; of another one the model itself."""
    return getattr(model, "_functional", None) or model


def nodes(graph: Any) -> list[Any]:
    """The calls of a graph's operations, each after those whose outputs it takes."""
    return [
        node
        for depth in sorted(graph._nodes_by_depth, reverse=True)
        for node in graph._nodes_by_depth[depth]
        if not node.is_input
    ]


def _images(tensor: Any) -> np.ndarray:
    """Photographs and noise for an input, [4, ...]: 0..255, 0..1, -1..1 and normal.

    For one of whole numbers photographs alone, or zeros and ones where it takes no images: they may
    be indices of a short table.
    """
    shape = [side or keras_sizes.FREE_SIDE for side in tensor.shape[1:-1]] + [tensor.shape[-1]]
    random = np.random.default_rng(0)
    pictures = [random.uniform(0, 255, shape) for _ in range(2)]
    if len(shape) == 3 and shape[2] in (1, 3):
        pictures = [_with_channels(one, shape[2]) for one in photographs(shape[0], shape[1])]
    dtype = tf.as_dtype(tensor.dtype)
    if not dtype.is_floating:
        whole = pictures[:2] * 2 if len(shape) == 3 else random.integers(0, 2, [4, *shape])
        return np.stack(whole).astype(dtype.as_numpy_dtype)
    noise = [random.uniform(-1, 1, shape), random.normal(0, 1, shape)]
    return np.stack([pictures[0], pictures[1] / 255, *noise]).astype(np.float32)


def _with_channels(photograph: np.ndarray, channels: int) -> np.ndarray:
    return photograph if channels == 3 else photograph.mean(axis=-1, keepdims=True)


def _require_equal(
    layer: Any, wanted: Sequence[Any], found: Sequence[Any], tolerance: float
) -> None:
    for left, right in zip(map(_array, wanted), map(_array, found), strict=True):
        if left.shape != right.shape:
            raise DifferentError(layer, np.inf)
        # Of an image at which the original overflows, as one in 16 bits may, nothing is known.
        known = [np.isfinite(one).all() for one in left]
        if not any(known):
            raise DifferentError(layer, np.nan)
        for one, other in zip(left[known], right[known], strict=True):
            spread = float(np.ptp(one)) or float(np.abs(one).max()) or 1.0
            difference = float(np.abs(one - other).max()) / spread
            if not difference <= tolerance:  # true for NaN too
                raise DifferentError(layer, difference)


def _array(value: Any) -> np.ndarray:
    return np.asarray(tf.cast(value, tf.float32))
