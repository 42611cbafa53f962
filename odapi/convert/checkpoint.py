"""Writes a detector's initial weights as the checkpoint that training starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models.classifier_backbone import Backbone

from odapi.convert.vgg16 import FULLY_CONNECTED

NAME = "ckpt-1"
"""Prefix of the checkpoint's files within their folder."""

_FRESH_SEED = 0


def fresh_fully_connected() -> dict[str, np.ndarray]:
    """Untrained fc1 and fc2, float32, the same at each call: He normal kernels, zero biases.

    He initialisation is arXiv:1502.01852; the detector itself uses it for these layers.
    """
    values = {}
    for index, (name, shape) in enumerate(FULLY_CONNECTED.items()):
        initial = tf.keras.initializers.HeNormal(seed=_FRESH_SEED + index)
        values[f"{name}/kernel"] = initial(shape, dtype=tf.float32).numpy()
        values[f"{name}/bias"] = np.zeros(shape[-1:], np.float32)
    return values


def write_tf2(folder: Path, values: dict[str, np.ndarray]) -> None:
    """Writes an object-based checkpoint for `fine_tune_checkpoint_type: "classification"`.

    Args:
        folder: where `ckpt-1.*` and `checkpoint` go.
        values: variable such as `block1_conv1/kernel` to float32. Training refuses a checkpoint
            that lacks any of the detector's, so fc1 and fc2 have to be among them.
    """
    layers: dict[str, dict[str, tf.Variable]] = {}
    for name, value in values.items():
        layer, attribute = name.split("/")
        layers.setdefault(layer, {})[attribute] = tf.Variable(value)
    backbone = tf.train.Checkpoint(
        **{layer: tf.train.Checkpoint(**variables) for layer, variables in layers.items()}
    )
    tf.train.Checkpoint(feature_extractor=backbone).save(str(folder / "ckpt"))


def write_layers(folder: Path, backbone: Backbone) -> None:
    """The same for the layers of any classifier, under the names that these have."""
    tf.train.Checkpoint(feature_extractor=backbone.checkpoint()).save(str(folder / "ckpt"))


def write_tf1(folder: Path, values: dict[str, np.ndarray]) -> None:
    """Writes a name-based checkpoint for `from_detection_checkpoint: false` in TF1 behaviour.

    Args:
        folder: where `ckpt-1.*` and `checkpoint` go.
        values: variable such as `block1_conv1/kernel` to float32. Training takes what is there
            and starts the rest afresh.
    """
    tf1 = tf.compat.v1
    with tf.Graph().as_default():
        feeds, variables = {}, []
        for name, value in values.items():
            # Fed, not a constant: a graph holds at most 2 GB.
            initial = tf1.placeholder(tf.float32, value.shape)
            variables.append(tf1.Variable(initial, name=name, use_resource=True))
            feeds[initial] = value
        saver = tf1.train.Saver(variables, save_relative_paths=True)
        with tf1.Session() as session:
            session.run([variable.initializer for variable in variables], feeds)
            saver.save(session, str(folder / "ckpt"), global_step=1, write_meta_graph=False)
