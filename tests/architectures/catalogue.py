"""The architectures under test, each as a pipeline config shrunk to small images.

The configs have the structure of upstream's sample configs (heads, losses, matchers, static shapes
where those have them) with few classes, anchors and proposals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from object_detection.protos import pipeline_pb2

SIDE = 128
"""Of the images, in pixels: what the deepest hourglass halves seven times."""

PYRAMID_SIDE = 160
"""SSD's pyramids refuse images below 129, and need a multiple of 32."""

BIFPN_SIDE = 256
"""EfficientDet's pyramid doubles every level up from 7, so it needs a multiple of 128 as well."""

HOURGLASS_SIDE = 256
"""Below, the deepest hourglass ends in maps of one point, whose normalization over a batch of two
makes its gradients grow beyond float32."""

CLASSES = ("red", "blue")
KEYPOINTS = ("top", "middle", "bottom")
"""Of objects of the first class."""

MAX_CONTEXT_FEATURES = 6
CONTEXT_FEATURE_LENGTH = 9
MAX_DETECTIONS = 5


@dataclass(frozen=True)
class Architecture:
    """A detector to build.

    Attributes:
        meta_architecture: its name in the literature, with the task heads that need saying.
        extractor: `feature_extractor.type` in the config.
        pieces: texts in protobuf's text format, merged in order into a pipeline config.
        masks: shape of one predicted mask, or None.
        keypoints: whether keypoints are predicted.
        context: whether it attends to context features.
        variant: tells apart two entries of the same meta-architecture and extractor.
    """

    meta_architecture: str
    extractor: str
    pieces: tuple[str, ...]
    masks: tuple[int, int] | None = None
    keypoints: bool = False
    context: bool = False
    variant: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.meta_architecture, self.extractor, self.variant)))

    def config(self, folder: Path) -> pipeline_pb2.TrainEvalPipelineConfig:
        """The pipeline config, on the records and label map of `records.write`."""
        config = pipeline_pb2.TrainEvalPipelineConfig()
        for piece in (TRAINING, *self.pieces):
            text_format.Merge(piece.replace("FOLDER", str(folder)), config)
        return config


TRAINING = """
train_config {
  batch_size: 2
  optimizer {
    momentum_optimizer {
      learning_rate { constant_learning_rate { learning_rate: 0.01 } }
      momentum_optimizer_value: 0.0
    }
    use_moving_average: false
  }
  gradient_clipping_by_norm: 10.0
  unpad_groundtruth_tensors: false
  data_augmentation_options { random_horizontal_flip { keypoint_flip_permutation: [0, 1, 2] } }
}
train_input_reader {
  label_map_path: "FOLDER/label_map.pbtxt"
  tf_record_input_reader { input_path: "FOLDER/train.record" }
  max_number_of_boxes: 6
  shuffle_buffer_size: 8
  num_readers: 1
}
"""
MASK_INPUT = "train_input_reader { load_instance_masks: true mask_type: PNG_MASKS }"


def resizer(side: int) -> str:
    return f"""
    image_resizer {{
      keep_aspect_ratio_resizer {{
        min_dimension: {side} max_dimension: {side} pad_to_max_dimension: true
      }}
    }}
    """


NORMAL_INITIALIZER = "initializer { truncated_normal_initializer { stddev: 0.03 } }"
L2 = "regularizer { l2_regularizer { weight: 0.0004 } }"
CONV_BATCH_NORM = f"""
conv_hyperparams {{
  activation: RELU_6
  {L2} {NORMAL_INITIALIZER}
  batch_norm {{ scale: true decay: 0.99 epsilon: 0.001 }}
}}
"""
NMS = f"""
batch_non_max_suppression {{
  score_threshold: 0.0 iou_threshold: 0.6
  max_detections_per_class: {MAX_DETECTIONS} max_total_detections: {MAX_DETECTIONS}
}}
"""


# Faster R-CNN and its descendants.

FASTER_RCNN = f"""
model {{
  faster_rcnn {{
    num_classes: {len(CLASSES)}
    {resizer(SIDE)}
    first_stage_box_predictor_conv_hyperparams {{ op: CONV {L2} {NORMAL_INITIALIZER} }}
    first_stage_nms_score_threshold: 0.0
    first_stage_nms_iou_threshold: 0.7
    first_stage_minibatch_size: 32
    first_stage_max_proposals: 8
    first_stage_localization_loss_weight: 2.0
    first_stage_objectness_loss_weight: 1.0
    initial_crop_size: 14
    maxpool_kernel_size: 2
    maxpool_stride: 2
    second_stage_batch_size: 8
    second_stage_box_predictor {{
      mask_rcnn_box_predictor {{
        use_dropout: false
        fc_hyperparams {{ op: FC {L2} {NORMAL_INITIALIZER} }}
      }}
    }}
    second_stage_post_processing {{ {NMS} score_converter: SOFTMAX }}
    second_stage_localization_loss_weight: 2.0
    second_stage_classification_loss_weight: 1.0
  }}
}}
"""
GRID_ANCHORS = """
model { faster_rcnn { first_stage_anchor_generator { grid_anchor_generator {
  scales: [0.125, 0.25] aspect_ratios: [0.5, 1.0, 2.0] height_stride: 16 width_stride: 16
} } } }
"""
STATIC_SHAPES = """
model { faster_rcnn {
  use_static_shapes: true
  use_matmul_crop_and_resize: true
  clip_anchors_to_image: true
  use_static_balanced_label_sampler: true
  use_matmul_gather_in_matcher: true
} }
"""
FASTER_RCNN_FPN = f"""
model {{ faster_rcnn {{
  feature_extractor {{
    fpn {{ min_level: 2 max_level: 6 additional_layer_depth: 64 }}
    override_base_feature_extractor_hyperparams: true
    {CONV_BATCH_NORM}
  }}
  first_stage_anchor_generator {{ multiscale_anchor_generator {{
    min_level: 2 max_level: 6 anchor_scale: 4.0 aspect_ratios: [1.0, 2.0, 0.5]
    scales_per_octave: 1 normalize_coordinates: false
  }} }}
}} }}
"""
MASK_RCNN = f"""
model {{ faster_rcnn {{
  number_of_stages: 3
  second_stage_box_predictor {{ mask_rcnn_box_predictor {{
    predict_instance_masks: true
    mask_height: 15 mask_width: 15
    mask_prediction_conv_depth: 16 mask_prediction_num_conv_layers: 2
    conv_hyperparams {{ op: CONV {L2} {NORMAL_INITIALIZER} }}
  }} }}
  second_stage_mask_prediction_loss_weight: 4.0
  resize_masks: false
}} }}
"""
INCEPTION_CROPS = """
model { faster_rcnn { initial_crop_size: 17 maxpool_kernel_size: 1 maxpool_stride: 1 } }
"""
VGG16 = f"""
model {{ faster_rcnn {{
  feature_extractor {{ conv_hyperparams {{ op: CONV {L2} {NORMAL_INITIALIZER} }} }}
}} }}
train_config {{ optimizer {{ momentum_optimizer {{
  learning_rate {{ constant_learning_rate {{ learning_rate: 0.0001 }} }}
}} }} }}
"""
"""The learning rate that a network without batch normalisation bears from random weights."""

CONTEXT_RCNN = f"""
model {{ faster_rcnn {{
  second_stage_box_predictor {{ mask_rcnn_box_predictor {{ share_box_across_classes: true }} }}
  context_config {{
    max_num_context_features: {MAX_CONTEXT_FEATURES}
    context_feature_length: {CONTEXT_FEATURE_LENGTH}
    attention_bottleneck_dimension: 32
  }}
}} }}
train_input_reader {{ load_context_features: true }}
"""


def _faster_rcnn_type(extractor: str) -> str:
    # A feature pyramid ignores the stride. Batch normalisation is trained because weights here are
    # random: normalised by initial averages their outputs grow until the box classifier saturates.
    return f"""
    model {{ faster_rcnn {{
      feature_extractor {{
        type: "{extractor}" first_stage_features_stride: 16 batch_norm_trainable: true
      }}
    }} }}
    """


def faster_rcnn(extractor: str) -> Architecture:
    """Faster R-CNN."""
    pieces = [FASTER_RCNN, _faster_rcnn_type(extractor), GRID_ANCHORS]
    if "inception" in extractor:
        pieces.append(INCEPTION_CROPS)
    if "vgg16" in extractor:
        pieces.append(VGG16)
    return Architecture("Faster R-CNN", extractor, tuple(pieces))


def faster_rcnn_fpn(extractor: str) -> Architecture:
    """Faster R-CNN on a feature pyramid, with static shapes as in its sample config."""
    pieces = (FASTER_RCNN, _faster_rcnn_type(extractor), FASTER_RCNN_FPN, STATIC_SHAPES)
    return Architecture("Faster R-CNN", extractor, pieces)


def mask_rcnn(extractor: str) -> Architecture:
    """Faster R-CNN with a mask head."""
    pieces = (*faster_rcnn(extractor).pieces, MASK_RCNN, MASK_INPUT)
    return Architecture("Mask R-CNN", extractor, pieces, masks=(15, 15))


def context_rcnn(extractor: str) -> Architecture:
    """Faster R-CNN with attention to context features, static shapes as in its sample config."""
    pieces = (*faster_rcnn(extractor).pieces, STATIC_SHAPES, CONTEXT_RCNN)
    return Architecture("Context R-CNN", extractor, pieces, context=True)


# SSD.

SSD = f"""
model {{
  ssd {{
    num_classes: {len(CLASSES)}
    {resizer(SIDE)}
    inplace_batchnorm_update: true
    freeze_batchnorm: false
    box_coder {{
      faster_rcnn_box_coder {{ y_scale: 10 x_scale: 10 height_scale: 5 width_scale: 5 }}
    }}
    matcher {{
      argmax_matcher {{
        matched_threshold: 0.5 unmatched_threshold: 0.5 ignore_thresholds: false
        negatives_lower_than_unmatched: true force_match_for_each_row: true
        use_matmul_gather: true
      }}
    }}
    similarity_calculator {{ iou_similarity {{}} }}
    encode_background_as_zeros: true
    loss {{
      classification_loss {{ weighted_sigmoid_focal {{ alpha: 0.25 gamma: 2.0 }} }}
      localization_loss {{ weighted_smooth_l1 {{}} }}
      classification_weight: 1.0 localization_weight: 1.0
    }}
    normalize_loss_by_num_matches: true
    normalize_loc_loss_by_codesize: true
    post_processing {{ {NMS} score_converter: SIGMOID }}
  }}
}}
"""
SSD_HEAD = f"""
model {{ ssd {{
  anchor_generator {{ ssd_anchor_generator {{
    num_layers: 6 min_scale: 0.2 max_scale: 0.9 aspect_ratios: [1.0, 2.0, 0.5]
  }} }}
  box_predictor {{ convolutional_box_predictor {{
    kernel_size: 1 box_code_size: 4 class_prediction_bias_init: -2.0
    {CONV_BATCH_NORM}
  }} }}
}} }}
"""


def _shared_head(scales: int, activation: str = "RELU_6") -> str:
    """A head shared by the levels of a pyramid, from 3 to 7."""
    convolution = CONV_BATCH_NORM.replace("RELU_6", activation)
    return f"""
    model {{ ssd {{
      anchor_generator {{ multiscale_anchor_generator {{
        min_level: 3 max_level: 7 anchor_scale: 4.0 aspect_ratios: [1.0, 2.0, 0.5]
        scales_per_octave: {scales}
      }} }}
      box_predictor {{ weight_shared_convolutional_box_predictor {{
        depth: 32 class_prediction_bias_init: -4.6 num_layers_before_predictor: 2 kernel_size: 3
        {convolution}
      }} }}
      feature_extractor {{ {convolution} }}
    }} }}
    """


SSD_FPN = f"""
model {{ ssd {{
  {resizer(PYRAMID_SIDE)}
  feature_extractor {{
    fpn {{ min_level: 3 max_level: 7 additional_layer_depth: 64 }}
    override_base_feature_extractor_hyperparams: true
  }}
}} }}
"""
FPN_LITE = """
model { ssd {
  feature_extractor { use_depthwise: true }
  box_predictor { weight_shared_convolutional_box_predictor {
    share_prediction_tower: true use_depthwise: true
  } }
} }
"""
EFFICIENTDET = f"""
model {{ ssd {{
  {resizer(BIFPN_SIDE)}
  add_background_class: false
  feature_extractor {{
    bifpn {{ min_level: 3 max_level: 7 num_iterations: 2 num_filters: 32 }}
    conv_hyperparams {{ force_use_bias: true }}
  }}
  box_predictor {{ weight_shared_convolutional_box_predictor {{
    use_depthwise: true conv_hyperparams {{ force_use_bias: true }}
  }} }}
}} }}
"""


def _ssd_type(extractor: str) -> str:
    return f"""
    model {{ ssd {{ feature_extractor {{
      type: "{extractor}" min_depth: 16 depth_multiplier: 1.0
    }} }} }}
    """


def ssd(extractor: str) -> Architecture:
    """SSD with a predictor for each of six feature maps."""
    override = f"override_base_feature_extractor_hyperparams: true {CONV_BATCH_NORM}"
    extra = f"model {{ ssd {{ feature_extractor {{ {override} }} }} }}"
    return Architecture("SSD", extractor, (SSD, _ssd_type(extractor), extra, SSD_HEAD))


def ssd_fpn(extractor: str, lite: bool = False) -> Architecture:
    """SSD with a shared head on a feature pyramid (RetinaNet); depthwise throughout if lite."""
    pieces = (SSD, _ssd_type(extractor), _shared_head(scales=2), SSD_FPN)
    if lite:
        return Architecture("SSD", extractor, (*pieces, FPN_LITE), variant="FPN-lite")
    return Architecture("SSD", extractor, pieces)


def efficientdet(extractor: str) -> Architecture:
    """SSD on a BiFPN."""
    head = _shared_head(scales=3, activation="SWISH")
    return Architecture("EfficientDet", extractor, (SSD, _ssd_type(extractor), head, EFFICIENTDET))


# CenterNet.
