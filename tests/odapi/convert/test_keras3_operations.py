"""Bare operations of Keras 3's graphs, beside Keras 3's own forward pass."""

from __future__ import annotations

import json

import keras
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf
from keras import layers, ops
from object_detection.models.keras_models import keras_config

from odapi.convert.source import load_classifier

OPERATIONS = {
    "add": lambda x: ops.add(x, np.float32([1, 2, 3])),
    "subtract": lambda x: ops.subtract(np.float32([1, 2, 3]), x),
    "multiply": lambda x: ops.multiply(x, np.float32([0.1, 0.2, 0.3])),
    "true_divide": lambda x: x / np.float32([1, 2, 3]),
    "divide": lambda x: ops.divide(x, 3.0),
    "divided": lambda x: 2 / (ops.abs(x) + 1),
    "power": lambda x: ops.abs(x) ** 1.5,
    "maximum": lambda x: ops.maximum(x, 0.25),
    "minimum": lambda x: ops.minimum(x, np.float32([0, 0.5, 1])),
    "matmul": lambda x: ops.matmul(x, np.eye(3, dtype=np.float32)[::-1].copy()),
    "absolute": ops.absolute,
    "negative": ops.negative,
    "exp": ops.exp,
    "log": lambda x: ops.log(ops.abs(x) + 1),
    "log1p": lambda x: ops.log1p(ops.abs(x)),
    "sqrt": lambda x: ops.sqrt(ops.abs(x)),
    "rsqrt": lambda x: ops.rsqrt(ops.abs(x) + 1),
    "square": ops.square,
    "reciprocal": lambda x: ops.reciprocal(ops.abs(x) + 1),
    "relu": ops.relu,
    "relu6": ops.relu6,
    "sigmoid": ops.sigmoid,
    "silu": ops.silu,
    "tanh": ops.tanh,
    "softplus": ops.softplus,
    "softsign": ops.softsign,
    "selu": ops.selu,
    "elu": ops.elu,
    "gelu": ops.gelu,
    "gelu, exact": lambda x: ops.gelu(x, approximate=False),
    "leaky_relu": lambda x: ops.leaky_relu(x, 0.3),
    "hard_sigmoid": ops.hard_sigmoid,
    "hard_silu": ops.hard_silu,
    "softmax": lambda x: ops.softmax(x, axis=-1),
    "log_softmax": lambda x: ops.log_softmax(x, axis=-1),
    "clip": lambda x: ops.clip(x, -0.5, 0.5),
    "getitem": lambda x: x[..., ::-1],
    "getitem, part": lambda x: x[:, 1:-1, :, :2],
    "flip": lambda x: ops.flip(x, axis=-1),
    "mean": lambda x: ops.mean(x, axis=-1, keepdims=True),
    "mean over places": lambda x: x * ops.mean(x, axis=(1, 2), keepdims=True),
    "max": lambda x: ops.max(x, axis=-1, keepdims=True),
    "amax": lambda x: ops.amax(x, axis=3, keepdims=True),
    "min": lambda x: ops.min(x, axis=-1, keepdims=True),
    "sum": lambda x: ops.sum(x, axis=1),
    "var": lambda x: ops.var(x, axis=-1, keepdims=True),
    "std": lambda x: ops.std(x, axis=-1, keepdims=True),
    "reshape": lambda x: ops.reshape(x, (-1, 36, 3)),
    "transpose": lambda x: ops.transpose(x, (0, 3, 1, 2)),
    "expand_dims": lambda x: ops.expand_dims(x, 1),
    "squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
    "concatenate": lambda x: ops.concatenate([x, x * 2], axis=-1),
    "stack": lambda x: ops.stack([x, x * 2], axis=1),
}


def test_operations_do_what_keras_3_does(tmp_path):
    images = keras.Input((6, 6, 3))
    model = keras.Model(images, [operation(images) for operation in OPERATIONS.values()])
    model.save(tmp_path / "model.keras")
    loaded = load_classifier(str(tmp_path / "model.keras")).model
    # What backbone.json would hold gives the same again.
    text = json.dumps(keras_config.checked(json.loads(loaded.to_json())))
    again = tf.keras.models.model_from_json(text)
    values = np.random.default_rng(0).normal(0, 1, (2, 6, 6, 3)).astype(np.float32)
    wanted = model(values)
    for found in (loaded(values), again(values)):
        for name, left, right in zip(OPERATIONS, wanted, found, strict=True):
            np.testing.assert_allclose(right, left, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("mode", ["caffe", "torch", "tf"])
def test_preprocess_input_within_a_model(mode, tmp_path):
    images = keras.Input((8, 8, 3))
    preprocess_input = {
        "caffe": keras.applications.resnet50.preprocess_input,
        "torch": keras.applications.densenet.preprocess_input,
        "tf": keras.applications.mobilenet_v2.preprocess_input,
    }[mode]
    x = layers.Conv2D(2, 1)(preprocess_input(images))
    model = keras.Model(images, x)
    model.save(tmp_path / "model.keras")
    loaded = load_classifier(str(tmp_path / "model.keras")).model
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    reference = tf.keras.applications.imagenet_utils.preprocess_input(pixels.copy(), mode=mode)
    kernel, bias = map(np.asarray, model.layers[-1].weights)
    np.testing.assert_allclose(loaded(pixels), reference @ kernel[0, 0] + bias, atol=1e-3)
