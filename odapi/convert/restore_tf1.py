"""The child process of `restore.restore_tf1`: FOLDER IMAGES.npz RESULT.npz, in TF1 behaviour."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles TF1 behaviour and Keras 2)
import tensorflow.compat.v1 as tf
from object_detection.utils import variables_helper

from odapi.convert.checkpoint import NAME
from odapi.convert.restore import build_detector, fingerprint


def main(folder: Path, images_file: Path, result: Path) -> None:
    """Builds the detector's graph, restores, and writes fingerprints and features."""
    with np.load(images_file) as arrays:
        images = [arrays[name] for name in arrays.files]
    config, detector = build_detector(folder)
    image = tf.placeholder(tf.float32, [1, None, None, 3])
    inputs, shapes = detector.preprocess(image)
    (features,) = detector.predict(inputs, shapes)["rpn_features_to_crop"]
    variables = detector.restore_map(
        fine_tune_checkpoint_type=config.train_config.fine_tune_checkpoint_type or "classification"
    )
    before = _initial_values(variables)

    checkpoint = str(folder / NAME)
    found = variables_helper.get_variables_available_in_checkpoint(
        variables, checkpoint, include_global_step=False
    )
    tf.train.init_from_checkpoint(checkpoint, found)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        after = {name: fingerprint(session.run(variable)) for name, variable in found.items()}
        outputs = {
            f"features_{index}": session.run(features, {image: array[np.newaxis]})[0]
            for index, array in enumerate(images)
        }
    np.savez(result, hashes=json.dumps({"before": before, "after": after}), **outputs)


def _initial_values(variables: dict[str, tf.Variable]) -> dict[str, str]:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return {name: fingerprint(session.run(variable)) for name, variable in variables.items()}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
