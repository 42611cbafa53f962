"""A small detection project: records of coloured rectangles, and a config that trains quickly."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odapi import cli

SIDE = 96
COLOURS = {1: (220, 40, 40), 2: (40, 80, 230)}

CONFIG = """
model {{
  ssd {{
    num_classes: {num_classes}
    image_resizer {{ fixed_shape_resizer {{ height: 96 width: 96 }} }}
    feature_extractor {{
      type: "{extractor}"
      depth_multiplier: 0.25
      num_layers: 3
      override_base_feature_extractor_hyperparams: true
      conv_hyperparams {{
        activation: RELU_6
        regularizer {{ l2_regularizer {{ weight: 0.00004 }} }}
        initializer {{ truncated_normal_initializer {{ stddev: 0.03 }} }}
        batch_norm {{ scale: true decay: 0.9 epsilon: 0.001 }}
      }}
    }}
    box_coder {{
      faster_rcnn_box_coder {{ y_scale: 10 x_scale: 10 height_scale: 5 width_scale: 5 }}
    }}
    matcher {{
      argmax_matcher {{
        matched_threshold: 0.5
        unmatched_threshold: 0.5
        ignore_thresholds: false
        negatives_lower_than_unmatched: true
        force_match_for_each_row: true
      }}
    }}
    similarity_calculator {{ iou_similarity {{}} }}
    encode_background_as_zeros: true
    anchor_generator {{
      ssd_anchor_generator {{ num_layers: 3 min_scale: 0.2 max_scale: 0.5 aspect_ratios: 1.0 }}
    }}
    box_predictor {{
      convolutional_box_predictor {{
        kernel_size: 1
        box_code_size: 4
        class_prediction_bias_init: -2.0
        conv_hyperparams {{
          activation: RELU_6
          regularizer {{ l2_regularizer {{ weight: 0.00004 }} }}
          initializer {{ random_normal_initializer {{ stddev: 0.01 }} }}
        }}
      }}
    }}
    loss {{
      classification_loss {{ weighted_sigmoid_focal {{ alpha: 0.75 gamma: 2.0 }} }}
      localization_loss {{ weighted_smooth_l1 {{}} }}
      classification_weight: 1.0
      localization_weight: 1.0
    }}
    normalize_loss_by_num_matches: true
    normalize_loc_loss_by_codesize: true
    post_processing {{
      batch_non_max_suppression {{
        score_threshold: 1e-8
        iou_threshold: 0.6
        max_detections_per_class: 20
        max_total_detections: 20
      }}
      score_converter: SIGMOID
    }}
  }}
}}
train_config {{
  batch_size: 4
  num_steps: {num_steps}
  optimizer {{
    adam_optimizer {{
      learning_rate {{ constant_learning_rate {{ learning_rate: {learning_rate} }} }}
    }}
    use_moving_average: false
  }}
  max_number_of_boxes: 10
  unpad_groundtruth_tensors: false
}}
train_input_reader {{
  label_map_path: "{label_map}"
  tf_record_input_reader {{ input_path: "{train_records}" }}
}}
eval_config {{ metrics_set: "coco_detection_metrics" batch_size: 1 }}
eval_input_reader {{
  label_map_path: "{label_map}"
  shuffle: false
  num_epochs: 1
  tf_record_input_reader {{ input_path: "{eval_records}" }}
}}
"""


@dataclass(frozen=True)
class Scene:
    """One image and what is on it: boxes [N, 4] ymin, xmin, ymax, xmax in pixels, labels [N]."""

    image: np.ndarray
    boxes: np.ndarray
    labels: list[int]
    crowd: list[int] = field(default_factory=list)
    source_id: str = ""


@dataclass(frozen=True)
class Project:
    """A folder with records, a label map and a pipeline config."""

    folder: Path
    config: Path
    label_map: Path
    scenes: list[Scene]

    def variant(self, name: str, **changes: object) -> Path:
        """Writes the config with some values changed, and returns its path."""
        path = self.folder / f"{name}.config"
        path.write_text(CONFIG.format(**(_values(self.folder) | changes)))
        return path


def _values(folder: Path) -> dict[str, object]:
    return {
        "num_classes": 2,
        "extractor": "ssd_mobilenet_v1_keras",
        "num_steps": 20,
        "learning_rate": 0.002,
        "label_map": folder / "label_map.pbtxt",
        "train_records": folder / "train.record",
        "eval_records": folder / "eval.record",
    }


def make_scene(seed: int) -> Scene:
    """One or two rectangles, red for class 1 and blue for class 2, on grey noise."""
    random = np.random.default_rng(seed)
    image = random.integers(90, 130, (SIDE, SIDE, 3)).astype(np.uint8)
    boxes, labels = [], []
    for half in range(random.integers(1, 3)):
        height, width = random.integers(24, 44, 2)
        top = random.integers(0, SIDE - height)
        left = half * SIDE // 2 + random.integers(0, SIDE // 2 - width + 1)
        label = int(random.integers(1, 3))
        image[top : top + height, left : left + width] = COLOURS[label]
        boxes.append([top, left, top + height, left + width])
        labels.append(label)
    return Scene(image, np.float32(boxes).reshape(-1, 4), labels, source_id=str(seed))


def _write_records(path: Path, scenes: list[Scene]) -> None:
    """Writes scenes with the standard keys of the Object Detection API."""
    import tensorflow as tf

    def ints(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def texts(values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def floats(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for scene in scenes:
            height, width = scene.image.shape[:2]
            buffer = io.BytesIO()
            Image.fromarray(scene.image).save(buffer, "PNG")
            names = {1: b"red", 2: b"blue"}
            feature = {
                "image/encoded": texts([buffer.getvalue()]),
                "image/format": texts([b"png"]),
                "image/height": ints([height]),
                "image/width": ints([width]),
                "image/source_id": texts([scene.source_id.encode()]),
                "image/object/bbox/ymin": floats(scene.boxes[:, 0] / height),
                "image/object/bbox/xmin": floats(scene.boxes[:, 1] / width),
                "image/object/bbox/ymax": floats(scene.boxes[:, 2] / height),
                "image/object/bbox/xmax": floats(scene.boxes[:, 3] / width),
                "image/object/class/label": ints(scene.labels),
                "image/object/class/text": texts([names.get(n, b"green") for n in scene.labels]),
                "image/object/is_crowd": ints(scene.crowd or [0] * len(scene.labels)),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


@pytest.fixture
def write_records() -> Callable[[Path, list[Scene]], None]:
    """Writes scenes to a TFRecord file."""
    return _write_records


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Sixteen scenes to train on, six to evaluate on, and a config for both."""
    pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")
    folder = tmp_path_factory.mktemp("project")
    scenes = [make_scene(seed) for seed in range(22)]
    _write_records(folder / "train.record", scenes[:16])
    _write_records(folder / "eval.record", scenes[16:])
    label_map = folder / "label_map.pbtxt"
    label_map.write_text("item { id: 1 name: 'red' }\nitem { id: 2 name: 'blue' }\n")
    config = folder / "pipeline.config"
    config.write_text(CONFIG.format(**_values(folder)))
    return Project(folder, config, label_map, scenes[16:])


@pytest.fixture(scope="session")
def trained(project: Project) -> Path:
    """A model_dir after 24 steps in two runs: 20, then 4 more."""
    import tensorflow as tf

    # From other first weights, the loss may fall too slowly to show in so few steps.
    tf.keras.utils.set_random_seed(1)
    model_dir = project.folder / "model"
    common = ["train", f"--pipeline_config_path={project.config}", "--model_dir", str(model_dir)]
    assert cli.main(common) == 0
    assert cli.main([*common, "--num_train_steps=24"]) == 0
    return model_dir
