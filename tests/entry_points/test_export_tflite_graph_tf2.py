"""export_tflite_graph_tf2.py, then TensorFlow Lite's converter and interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from object_detection.builders import model_builder
from object_detection.utils import config_util

from tests.entry_points.detections import Detections, differences, load_detector
from tests.entry_points.tree import run_script
from tests.small.scenes import SIDE

pytestmark = pytest.mark.sampled(one_in=2, of_file=True)
COUNT = 10
"""Detections asked for; as many as the SSD's config gives."""

CENTERNET = """
model {{
  center_net {{
    num_classes: 2
    image_resizer {{ fixed_shape_resizer {{ height: {side} width: {side} }} }}
    feature_extractor {{
      type: "mobilenet_v2_fpn"
      depth_multiplier: 0.25
      channel_means: [127.5, 127.5, 127.5]
      channel_stds: [127.5, 127.5, 127.5]
    }}
    object_detection_task {{
      task_loss_weight: 1.0
      localization_loss {{ l1_localization_loss {{}} }}
    }}
    object_center_params {{
      classification_loss {{ penalty_reduced_logistic_focal_loss {{}} }}
      max_box_predictions: {count}
    }}
  }}
}}
"""


def convert(folder: Path, config: Path, checkpoint_dir: Path, **flags: object) -> bytes:
    """The TensorFlow Lite model of a checkpoint."""
    run_script(
        "export_tflite_graph_tf2.py",
        folder,
        pipeline_config_path=config,
        trained_checkpoint_dir=checkpoint_dir,
        output_directory=folder,
        max_detections=COUNT,
        **flags,
    )
    return tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model")).convert()


def interpret(model: bytes, image: np.ndarray) -> Detections:
    """What the interpreter finds on an image float32 [height, width, 3]."""
    interpreter = tf.lite.Interpreter(model_content=model)
    [name] = interpreter.get_signature_list()
    found = interpreter.get_signature_runner(name)(input=image[None])
    return Detections.from_outputs(by_meaning(found))


def by_meaning(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs under the names that a detection model gives them.

    The exporter leaves them as output_0 to output_3: the number of detections, scores, classes
    and boxes. Classes count from 0.
    """
    return {
        "num_detections": found["output_0"],
        "detection_scores": found["output_1"],
        "detection_classes": found["output_2"] + 1,
        "detection_boxes": found["output_3"],
    }


def test_ssd(export_model, project, trained, tmp_path):
    # The default, fast NMS ignores classes; the regular one is what the SavedModel does.
    model = convert(tmp_path, project.config, trained.model_dir, ssd_use_regular_nms=True)
    saved = tf.saved_model.load(str(export_model("image_tensor") / "saved_model"))
    for scene in project.scenes[:2]:
        expected = Detections.from_outputs(saved(tf.constant(scene.image[None])))
        # A TensorFlow Lite SSD takes normalized pixels: -1..1 for MobileNetV2.
        actual = interpret(model, np.float32(scene.image / 127.5 - 1))
        assert len(expected.scores) == COUNT
        assert differences(actual, expected, box=1e-3, score=1e-3) == []
        assert differences(actual.shifted(0, 0.01), expected, box=1e-3, score=1e-3)


def test_centernet(project, tmp_path):
    config = tmp_path / "pipeline.config"
    config.write_text(CENTERNET.format(side=SIDE, count=COUNT))
    checkpoint = save_untrained(config, tmp_path / "checkpoint")
    model = convert(tmp_path, config, tmp_path / "checkpoint")
    detect = load_detector(config, checkpoint)
    for scene in project.scenes[:2]:
        expected = detect(scene.image)
        # A TensorFlow Lite CenterNet takes pixels as they are.
        actual = interpret(model, np.float32(scene.image))
        assert len(expected.scores) == COUNT
        assert differences(actual, expected, box=1e-3, score=1e-3) == []
        assert differences(actual.shifted(0, 0.01), expected, box=1e-3, score=1e-3)


def save_untrained(config: Path, folder: Path) -> str:
    """Writes a checkpoint of random weights and returns its prefix.

    Kernels are drawn as He et al., arXiv:1502.01852, section 2.2, do, so that values stay of the
    order of one in all layers. As the layers initialize themselves, all scores come out equal.
    """
    pipeline = config_util.get_configs_from_pipeline_file(str(config))
    model = model_builder.build(pipeline["model"], is_training=False)
    model.predict(*model.preprocess(tf.zeros([1, SIDE, SIDE, 3])))  # builds the variables
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if variable.shape.rank == 4:
            depthwise = "depthwise" in variable.name
            inputs = np.prod(variable.shape[: 2 if depthwise else 3])
            variable.assign(random.normal(0, np.sqrt(2 / inputs), variable.shape))
    return tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
