"""The config of an SSD on a quarter of a MobileNet, which trains in seconds."""

from __future__ import annotations

from pathlib import Path

from tests.small.scenes import SIDE

_CONFIG = """
model {{
  ssd {{
    num_classes: {num_classes}
    image_resizer {{ fixed_shape_resizer {{ height: {side} width: {side} }} }}
    feature_extractor {{
      type: "{extractor}"
      depth_multiplier: 0.25
      num_layers: {num_layers}
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
      ssd_anchor_generator {{
        num_layers: {num_layers} min_scale: {scales[0]} max_scale: {scales[1]} aspect_ratios: 1.0
      }}
    }}
    box_predictor {{
      convolutional_box_predictor {{
        kernel_size: {kernel_size}
        class_prediction_bias_init: -2.0
        conv_hyperparams {{
          activation: {predictor_activation}
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
        iou_threshold: {nms_iou}
        max_detections_per_class: {max_detections}
        max_total_detections: {max_detections}
      }}
      score_converter: SIGMOID
    }}
  }}
}}
train_config {{
  batch_size: {batch_size}
  num_steps: {num_steps}
  optimizer {{
    adam_optimizer {{
      learning_rate {{ constant_learning_rate {{ learning_rate: {learning_rate} }} }}
    }}
    use_moving_average: false
  }}
  max_number_of_boxes: 4
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


def config(folder: Path, **changes: object) -> str:
    """Returns the text of a pipeline config for the records and the label map in a folder.

    Args:
        changes: fields of the text with other values than the ones below.
    """
    values = {
        "side": SIDE,
        "num_classes": 2,
        "extractor": "ssd_mobilenet_v1_keras",
        "num_layers": 3,
        "scales": (0.2, 0.5),
        "kernel_size": 1,
        "predictor_activation": "RELU_6",
        "nms_iou": 0.6,
        "max_detections": 20,
        "batch_size": 4,
        "num_steps": 20,
        "learning_rate": 0.002,
        "label_map": folder / "label_map.pbtxt",
        "train_records": folder / "train.record",
        "eval_records": folder / "eval.record",
    }
    assert not changes.keys() - values.keys(), "no such field"
    return _CONFIG.format(**(values | changes))
