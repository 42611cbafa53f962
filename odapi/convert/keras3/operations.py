"""Bare operations in the graph of a Keras 3 model, done by TensorFlow's functions in Keras 2's.

`preprocess_input(x)`, `x / 255` and `keras.ops.mean(x, axis=-1)` are no layers in Keras 3. Keras 2
wraps the function of TensorFlow that is called with one of its tensors in a layer by itself; those
that are used here are on the list that `backbone.json` is read by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf

_BINARY = {
    "Add": tf.math.add,
    "Subtract": tf.math.subtract,
    "Multiply": tf.math.multiply,
    "TrueDivide": tf.math.divide,
    "Divide": tf.math.divide,
    "Maximum": tf.math.maximum,
    "Minimum": tf.math.minimum,
    "Power": tf.math.pow,
    "Matmul": tf.linalg.matmul,
}
_UNARY = {
    "Absolute": tf.math.abs,
    "Abs": tf.math.abs,
    "Negative": tf.math.negative,
    "Exp": tf.math.exp,
    "Log": tf.math.log,
    "Log1p": tf.math.log1p,
    "Sqrt": tf.math.sqrt,
    "Rsqrt": tf.math.rsqrt,
    "Square": tf.math.square,
    "Reciprocal": tf.math.reciprocal,
    "Relu": tf.nn.relu,
    "Relu6": tf.nn.relu6,
    "Sigmoid": tf.math.sigmoid,
    "Silu": tf.nn.silu,
    "Tanh": tf.math.tanh,
    "Softplus": tf.math.softplus,
    "Softsign": tf.nn.softsign,
    "Selu": tf.nn.selu,
}
_REDUCTIONS = {
    "Mean": tf.math.reduce_mean,
    "Max": tf.math.reduce_max,
    "Min": tf.math.reduce_min,
    "Sum": tf.math.reduce_sum,
    "Prod": tf.math.reduce_prod,
    "Amax": tf.math.reduce_max,
    "Amin": tf.math.reduce_min,
    "Var": tf.math.reduce_variance,
    "Std": tf.math.reduce_std,
}


def _reshape(operation: Any, x: Any) -> Any:
    # The batch is open in Keras 3's shapes, and one side may be in TensorFlow's.
    shape = [-1 if side is None else side for side in operation.newshape]
    return tf.reshape(x, shape)


def _concatenate(operation: Any, xs: Any) -> Any:
    return tf.keras.layers.Concatenate(axis=operation.axis, name=operation.name)(list(xs))


_OTHERS: dict[str, Callable[..., Any]] = {
    # A file holds the key as a list.
    "GetItem": lambda _, x, key: x[tuple(key) if isinstance(key, list) else key],
    "Reshape": _reshape,
    "Concatenate": _concatenate,
    "Stack": lambda operation, xs: tf.stack(list(xs), axis=operation.axis),
    "Transpose": lambda operation, x: tf.transpose(x, operation.axes),
    "ExpandDims": lambda operation, x: tf.expand_dims(x, operation.axis),
    "Squeeze": lambda operation, x: tf.squeeze(x, operation.axis),
    "Flip": lambda operation, x: tf.reverse(x, np.atleast_1d(operation.axis).tolist()),
    "Clip": lambda operation, x: tf.clip_by_value(x, operation.x_min, operation.x_max),
    "Softmax": lambda operation, x: tf.nn.softmax(x, operation.axis),
    "LogSoftmax": lambda operation, x: tf.nn.log_softmax(x, operation.axis),
    "Gelu": lambda operation, x: tf.nn.gelu(x, operation.approximate),
    "Elu": lambda operation, x: tf.nn.elu(x),
    "LeakyRelu": lambda operation, x: tf.nn.leaky_relu(x, operation.negative_slope),
    "HardSigmoid": lambda _, x: tf.nn.relu6(x + 3.0) / 6.0,
    "HardSilu": lambda _, x: x * tf.nn.relu6(x + 3.0) / 6.0,
}


def apply(operation: Any, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    """Does to Keras 2's tensors what an operation of Keras 3 does.

    Args:
        operation: of the original's graph.
        arguments: it is called with: Keras 2's tensors in the place of Keras 3's, and what `plain`
            makes of constants.
        options: the same, by name.

    Returns:
        Keras 2's tensor, or None for an operation that is not among these.

    Raises:
        TypeError: the arguments are others than these operations take.
        ValueError: their shapes do not go together.
    """
    kind = type(operation).__name__
    if function := _BINARY.get(kind) or _UNARY.get(kind):
        return function(*arguments, **options)
    if function := _REDUCTIONS.get(kind):
        axis = list(operation.axis) if isinstance(operation.axis, tuple) else operation.axis
        return function(*arguments, axis=axis, keepdims=operation.keepdims, **options)
    if function := _OTHERS.get(kind):
        return function(operation, *arguments, **options)
    return None


def holds_tensor(value: Any) -> bool:
    """Whether an argument of an operation is a tensor of its graph, or a list with one."""
    import keras

    return any(isinstance(item, keras.KerasTensor) for item in tf.nest.flatten(value))


def plain(value: Any) -> Any:
    """A constant argument, an array of it as numbers: `backbone.json` holds no others."""
    return np.asarray(value).tolist() if hasattr(value, "dtype") else value
