"""A small classifier on VGG-16, in every form in which people have one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def classifier() -> tf.keras.Model:
    """VGG-16's convolutions, Flatten, Dense 64, Dense 4, for images of 240x240."""
    tf.keras.utils.set_random_seed(7)
    base = tf.keras.applications.VGG16(weights=None, include_top=False, input_shape=(240, 240, 3))
    random = np.random.default_rng(7)
    for layer in base.layers:
        if layer.weights:  # Keras' own start has zero biases, whose swapping nothing could see
            layer.kernel.assign(layer.kernel * np.float32(1.4))
            layer.bias.assign(random.normal(0, 0.1, layer.bias.shape))
    return tf.keras.Sequential(
        [
            base,
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(4, activation="softmax"),
        ]
    )


@pytest.fixture(scope="session")
def files(classifier: tf.keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.json, weights.h5, model.h5, model.keras, and VGG-16's alone: base.h5."""
    folder = tmp_path_factory.mktemp("classifier")
    (folder / "model.json").write_text(classifier.to_json())
    classifier.save_weights(folder / "weights.h5")
    classifier.save(folder / "model.h5")
    classifier.save(folder / "model.keras")
    classifier.layers[0].save_weights(folder / "base.h5")
    return folder
