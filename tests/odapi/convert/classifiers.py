"""Small residual classifiers of either Keras, and their conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf

from odapi.convert.request import Request
from odapi.convert.transfer import convert


def build(
    keras=tf.keras, size=(96, 96, 3), classes=4, front=(), nested=False, name=None
) -> tf.keras.Model:
    """Residual blocks at strides 8, 16 and 32, of either Keras.

    Args:
        front: layers before the first convolution.
        nested: put the blocks into a model within the model.
    """
    layers = keras.layers

    def blocks(x):
        for stage in range(5):
            x = layers.Conv2D(8, 3, strides=2, padding="same", name=f"conv{stage}")(x)
            x = layers.BatchNormalization(name=f"bn{stage}")(x)
            x = layers.ReLU(name=f"relu{stage}")(x)
            y = layers.Conv2D(8, 3, padding="same", name=f"side{stage}")(x)
            x = layers.Add(name=f"add{stage}")([x, y])
        return x

    x = images = keras.Input(size)
    for layer in front:
        x = layer(x)
    if nested:
        inner = keras.Input(x.shape[1:])
        x = keras.Model(inner, blocks(inner), name="base")(x)
    else:
        x = blocks(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    outputs = layers.Dense(classes, activation="softmax", name="classes")(x)
    return keras.Model(images, outputs, name=name)


def shake(model: tf.keras.Model, seed: int = 3) -> tf.keras.Model:
    """Gives every weight a value that no initialiser would, statistics included."""
    random = np.random.default_rng(seed)
    model.set_weights(
        [
            random.uniform(0.1, 0.6, w.shape) * random.choice([-1, 1, 1], w.shape)
            if w.ndim == 4
            else random.uniform(0.5, 1.5, w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def normalization(keras, pixels: np.ndarray):
    """A Normalization layer whose statistics are weights."""
    layer = keras.layers.Normalization(name="normalization")
    layer.adapt(pixels)
    return layer


def to_convert(source: object, output: Path, **fields: object):
    return convert(Request(str(source), output, **fields), say=len)


def hashes(report) -> dict[str, str]:
    return {row.target: row.hash_after for row in report.variables}
