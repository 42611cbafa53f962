"""A small detection project: records, a label map, and a config of an SSD MobileNetV2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from tests.entry_points.records import scene_features, write_records
from tests.entry_points.scenes import SIDE, Scene, make_scene, write_label_map

STEPS = 100
"""Training logs every hundredth."""

_SSD = """
model {{
  ssd {{
    num_classes: 2
    image_resizer {{ fixed_shape_resizer {{ height: {side} width: {side} }} }}
    feature_extractor {{
      type: "ssd_mobilenet_v2_keras"
      depth_multiplier: 0.25
      num_layers: 2
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
        negatives_lower_than_unmatched: true
        force_match_for_each_row: true
      }}
    }}
    similarity_calculator {{ iou_similarity {{}} }}
    encode_background_as_zeros: true
    anchor_generator {{
      ssd_anchor_generator {{ num_layers: 2 min_scale: 0.3 max_scale: 0.45 aspect_ratios: 1.0 }}
    }}
    box_predictor {{
      convolutional_box_predictor {{
        kernel_size: 3
        class_prediction_bias_init: -2.0
        conv_hyperparams {{
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
        iou_threshold: 0.5
        max_detections_per_class: 10
        max_total_detections: 10
      }}
      score_converter: SIGMOID
    }}
  }}
}}
train_config {{
  batch_size: 8
  num_steps: {steps}
  optimizer {{
    adam_optimizer {{
      learning_rate {{ constant_learning_rate {{ learning_rate: 0.002 }} }}
    }}
    use_moving_average: false
  }}
  max_number_of_boxes: 4
  unpad_groundtruth_tensors: false
}}
train_input_reader {{
  label_map_path: "{folder}/label_map.pbtxt"
  tf_record_input_reader {{ input_path: "{folder}/train.record" }}
}}
eval_config {{ metrics_set: "coco_detection_metrics" batch_size: 1 }}
eval_input_reader {{
  label_map_path: "{folder}/label_map.pbtxt"
  shuffle: false
  num_epochs: 1
  tf_record_input_reader {{ input_path: "{folder}/eval.record" }}
}}
"""


@dataclass(frozen=True)
class Project:
    """A folder with records, a label map and a pipeline config; `scenes` are the eval records'."""

    folder: Path
    config: Path
    label_map: Path
    scenes: list[Scene]


@dataclass(frozen=True)
class Training:
    """A model_dir, and what the script that filled it wrote to the terminal."""

    model_dir: Path
    output: str

    @property
    def checkpoint(self) -> str:
        """Prefix of the last checkpoint."""
        return tf.train.latest_checkpoint(str(self.model_dir))


def make_project(folder: Path) -> Project:
    """Twenty-four scenes to train on, six to evaluate on, and a model of 96 x 96 pixels."""
    scenes = [make_scene(seed) for seed in range(30)]
    features = [scene_features(scene, str(seed)) for seed, scene in enumerate(scenes)]
    write_records(folder / "train.record", features[:24])
    write_records(folder / "eval.record", features[24:])
    label_map = write_label_map(folder / "label_map.pbtxt")
    config = folder / "pipeline.config"
    config.write_text(_SSD.format(folder=folder, side=SIDE, steps=STEPS))
    return Project(folder, config, label_map, scenes[24:])
