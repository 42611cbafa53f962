"""CONFIG CHECKPOINT IMAGE.npy RESULT.npz: detects without the exporter, in TF1 behaviour.

Builds the detector that a pipeline config describes, restores a training checkpoint (the moving
averages if eval_config asks for them), and writes boxes, scores and classes of one image.
"""

from __future__ import annotations

import sys

import numpy as np
import object_detection  # noqa: F401  (settles TF1 behaviour)
import tensorflow.compat.v1 as tf
from object_detection.builders import model_builder
from object_detection.utils import config_util


def main(config: str, checkpoint: str, image: str, result: str) -> None:
    """Restores, detects, and writes the result."""
    configs = config_util.get_configs_from_pipeline_file(config)
    detector = model_builder.build(configs["model"], is_training=False)
    inputs = tf.constant(np.load(image)[np.newaxis], tf.float32)
    resized, shapes = detector.preprocess(inputs)
    detections = detector.postprocess(detector.predict(resized, shapes), shapes)
    variables = {variable.op.name: variable for variable in tf.global_variables()}
    if configs["eval_config"].use_moving_averages:
        trained = {variable.op.name for variable in tf.trainable_variables()}
        variables = {
            f"{name}/ExponentialMovingAverage" if name in trained else name: variable
            for name, variable in variables.items()
        }
    with tf.Session() as session:
        tf.train.Saver(variables).restore(session, checkpoint)
        found = session.run(detections)
    np.savez(
        result,
        detection_boxes=found["detection_boxes"],
        detection_scores=found["detection_scores"],
        detection_classes=found["detection_classes"] + 1,  # label map ids start at 1
        num_detections=found["num_detections"],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
