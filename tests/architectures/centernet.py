"""CenterNet and DeepMAC among the architectures under test."""

from __future__ import annotations

from tests.architectures.catalogue import (
    CLASSES,
    HOURGLASS_SIDE,
    KEYPOINTS,
    MASK_INPUT,
    MAX_DETECTIONS,
    SIDE,
    Architecture,
    resizer,
)

CENTERNET = f"""
model {{
  center_net {{
    num_classes: {len(CLASSES)}
    {resizer(SIDE)}
    feature_extractor {{
      bgr_ordering: true channel_means: [104.0, 114.0, 120.0] channel_stds: [74.0, 70.0, 71.0]
    }}
    object_detection_task {{
      task_loss_weight: 1.0 offset_loss_weight: 1.0 scale_loss_weight: 0.1
      localization_loss {{ l1_localization_loss {{}} }}
    }}
    object_center_params {{
      object_center_loss_weight: 1.0 min_box_overlap_iou: 0.7 max_box_predictions: {MAX_DETECTIONS}
      classification_loss {{ penalty_reduced_logistic_focal_loss {{ alpha: 2.0 beta: 4.0 }} }}
    }}
  }}
}}
"""
_KEYPOINT_STDS = " ".join(
    f'keypoint_label_to_std {{ key: "{name}" value: 0.5 }}' for name in KEYPOINTS
)
CENTERNET_KEYPOINTS = f"""
model {{
  center_net {{
    keypoint_label_map_path: "FOLDER/label_map.pbtxt"
    keypoint_estimation_task {{
      task_name: "pose"
      task_loss_weight: 1.0
      loss {{
        localization_loss {{ l1_localization_loss {{}} }}
        classification_loss {{ penalty_reduced_logistic_focal_loss {{ alpha: 2.0 beta: 4.0 }} }}
      }}
      keypoint_class_name: "{CLASSES[0]}"
      {_KEYPOINT_STDS}
      keypoint_regression_loss_weight: 0.1
      keypoint_heatmap_loss_weight: 1.0
      keypoint_offset_loss_weight: 1.0
      offset_peak_radius: 3
      per_keypoint_offset: true
    }}
  }}
}}
train_input_reader {{ num_keypoints: {len(KEYPOINTS)} }}
"""


def _centernet_type(extractor: str) -> str:
    # With a depth multiplier of 1 the MobileNet extractors load ImageNet weights from the network.
    depth = "depth_multiplier: 0.5" if "mobilenet" in extractor else ""
    larger = resizer(HOURGLASS_SIDE) if extractor == "hourglass_104" else ""
    return f"""
    model {{ center_net {{ {larger} feature_extractor {{ type: "{extractor}" {depth} }} }} }}
    """


def centernet(extractor: str) -> Architecture:
    """CenterNet, boxes only."""
    return Architecture("CenterNet", extractor, (CENTERNET, _centernet_type(extractor)))


def centernet_keypoints(extractor: str) -> Architecture:
    """CenterNet with boxes and the keypoints of one class."""
    pieces = (CENTERNET, _centernet_type(extractor), CENTERNET_KEYPOINTS)
    return Architecture("CenterNet with keypoints", extractor, pieces, keypoints=True)


def deepmac(extractor: str, mask_head: str) -> Architecture:
    """CenterNet with DeepMAC's class-agnostic masks, trained on masks of the first class only."""
    head = f"""
    model {{ center_net {{ deepmac_mask_estimation {{
      dim: 16 num_init_channels: 8 task_loss_weight: 5.0 pixel_embedding_dim: 8 mask_size: 32
      use_xy: true use_instance_embedding: true use_only_last_stage: true
      postprocess_crop_size: 32
      network_type: "{mask_head}"
      classification_loss {{ weighted_sigmoid {{}} }}
      allowed_masked_classes_ids: [1]
    }} }} }}
    """
    pieces = (CENTERNET, _centernet_type(extractor), head, MASK_INPUT)
    variant = f"{mask_head} mask head"
    return Architecture("DeepMAC", extractor, pieces, masks=(32, 32), variant=variant)
