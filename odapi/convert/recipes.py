"""Pipeline configs: what `odapi convert` and the demo write, and the files under configs/."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import object_detection  # noqa: F401  (settles Keras 2, before the protos load TensorFlow)
from google.protobuf import text_format
from object_detection.protos import (
    faster_rcnn_pb2,
    hyperparams_pb2,
    image_resizer_pb2,
    input_reader_pb2,
    optimizer_pb2,
    pipeline_pb2,
    post_processing_pb2,
    preprocessor_pb2,
    ssd_pb2,
    train_pb2,
)

from odapi.console.files import write_text

FINE_TUNE_CHECKPOINT = "PATH_TO/ckpt-1"
TRAIN_RECORDS = "PATH_TO/train.record"
EVAL_RECORDS = "PATH_TO/eval.record"
LABEL_MAP = "PATH_TO/label_map.pbtxt"
"""Placeholders for what the caller does not know yet."""

WEIGHT_DECAY = 5e-4
"""Of every weight; Simonyan and Zisserman, arXiv:1409.1556, section 3.1."""

SSD_WEIGHT_DECAY = 1e-4
"""The same for SSD; Lin et al., arXiv:1708.02002, section 4.1."""

_RARE_OBJECTS = -math.log((1 - 0.01) / 0.01)
"""Bias of class scores at the start: an anchor holds an object with probability 0.01 (ibid.)."""

TEST_NMS_IOU = 0.3
"""Per-class NMS at test time; Girshick, Fast R-CNN, arXiv:1504.08083, as its code sets it."""


@dataclass(frozen=True)
class TrainingSettings:
    """What a training run needs to know besides the model; paths are not read or checked.

    Attributes:
        num_classes: object classes, without background.
        fine_tune_checkpoint: prefix of a checkpoint that `odapi convert` wrote.
        train_records: path, glob or list of such of the TFRecords to train on.
        eval_records: the same, to evaluate on.
        label_map: path of the label map of both.
        batch_size: images a step.
        num_steps: length of training.
    """

    num_classes: int
    fine_tune_checkpoint: str = FINE_TUNE_CHECKPOINT
    train_records: str | Sequence[str] = TRAIN_RECORDS
    eval_records: str | Sequence[str] = EVAL_RECORDS
    label_map: str = LABEL_MAP
    batch_size: int = 1
    num_steps: int = 80_000


def faster_rcnn(
    settings: TrainingSettings,
    *,
    extractor: str = "faster_rcnn_vgg16",
    stride: int = 16,
    masks: bool = False,
    image_size: tuple[int, int] = (600, 1000),
    tf1: bool = False,
) -> pipeline_pb2.TrainEvalPipelineConfig:
    """Faster R-CNN, or Mask R-CNN, with the training set-up of Ren et al., arXiv:1506.01497.

    Section 3.1.3 there gives the learning rates and RPN sampling, section 3.3 the image size; the
    four anchor scales are those it uses on COCO (section 4.2).

    Args:
        settings: what to train on; the learning rate falls to a tenth after three quarters of it.
        extractor: `type` of the feature extractor.
        stride: pixels of the image for one step of its first stage.
        masks: also predict a mask for each box: He et al., Mask R-CNN, arXiv:1703.06870.
        image_size: pixels of the shorter side, and the most that the longer may then have.
        tf1: for TF1 behaviour, which names the kind of `fine_tune_checkpoint` differently.

    Returns:
        A config.
    """
    config = pipeline_pb2.TrainEvalPipelineConfig()
    model = config.model.faster_rcnn
    _set_faster_rcnn(model, settings.num_classes, image_size, settings.batch_size)
    model.feature_extractor.type = extractor
    model.feature_extractor.first_stage_features_stride = stride
    grid = model.first_stage_anchor_generator.grid_anchor_generator
    grid.height_stride = grid.width_stride = stride
    if masks:
        _add_masks(model)
    _set_training(config.train_config, settings, tf1)
    schedule = optimizer_pb2.ManualStepLearningRate(initial_learning_rate=1e-3)
    schedule.schedule.add(step=settings.num_steps * 3 // 4, learning_rate=1e-4)
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    rate.manual_step_learning_rate.CopyFrom(schedule)
    config.train_config.data_augmentation_options.add(
        random_horizontal_flip=preprocessor_pb2.RandomHorizontalFlip()
    )
    _set_inputs(config, settings, masks)
    return config


def ssd(
    settings: TrainingSettings,
    *,
    extractor: str,
    fpn: bool = False,
    image_size: tuple[int, int] = (320, 320),
) -> pipeline_pb2.TrainEvalPipelineConfig:
    """SSD on features of strides 8, 16 and 32.

    Without a pyramid as Liu et al., arXiv:1512.02325, with further layers of halving size; with
    one as Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002, whose loss serves
    both: section 4 there gives the pyramid, anchors and loss.

    Args:
        settings: what to train on; the learning rate falls along a cosine.
        extractor: `type` of the feature extractor.
        fpn: build a feature pyramid, on levels 3 to 7.
        image_size: height and width to which images are resized.

    Returns:
        A config.
    """
    config = pipeline_pb2.TrainEvalPipelineConfig()
    model = config.model.ssd
    _set_ssd(model, settings.num_classes, image_size)
    model.feature_extractor.type = extractor
    if fpn:
        _set_pyramid(model)
    else:
        _set_layers(model)
    _set_training(config.train_config, settings, tf1=False)
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    rate.cosine_decay_learning_rate.CopyFrom(
        optimizer_pb2.CosineDecayLearningRate(
            # Section 4.1 there has 0.01 for 16 images a step; linear in their number.
            learning_rate_base=0.01 * settings.batch_size / 16,
            total_steps=settings.num_steps,
            warmup_learning_rate=0.001 * settings.batch_size / 16,
            warmup_steps=min(1000, settings.num_steps // 10),
        )
    )
    for option in (
        preprocessor_pb2.PreprocessingStep(
            random_horizontal_flip=preprocessor_pb2.RandomHorizontalFlip()
        ),
        preprocessor_pb2.PreprocessingStep(ssd_random_crop=preprocessor_pb2.SSDRandomCrop()),
    ):
        config.train_config.data_augmentation_options.append(option)
    _set_inputs(config, settings, masks=False)
    return config


def write(config: pipeline_pb2.TrainEvalPipelineConfig, path: Path) -> None:
    """Writes a config in protobuf's text format; `path` is never seen half-written."""
    write_text(path, text_format.MessageToString(config))


def _set_faster_rcnn(
    model: faster_rcnn_pb2.FasterRcnn, num_classes: int, image_size: tuple[int, int], batch: int
) -> None:
    model.num_classes = num_classes
    resizer = model.image_resizer.keep_aspect_ratio_resizer
    resizer.CopyFrom(
        image_resizer_pb2.KeepAspectRatioResizer(
            min_dimension=image_size[0], max_dimension=image_size[1]
        )
    )
    if batch > 1:  # images of different shapes stack only when padded to the same one
        resizer.pad_to_max_dimension = True

    extractor = model.feature_extractor
    _set_layer(extractor.conv_hyperparams, hyperparams_pb2.Hyperparams.CONV)
    # Asked for by the schema and unused: the backbone has its own initial values.
    extractor.conv_hyperparams.initializer.variance_scaling_initializer.factor = 2.0

    anchors = model.first_stage_anchor_generator.grid_anchor_generator
    anchors.scales.extend([0.25, 0.5, 1.0, 2.0])
    anchors.aspect_ratios.extend([0.5, 1.0, 2.0])

    rpn = model.first_stage_box_predictor_conv_hyperparams
    _set_layer(rpn, hyperparams_pb2.Hyperparams.CONV)
    rpn.initializer.truncated_normal_initializer.stddev = 0.01
    model.first_stage_box_predictor_depth = 512
    model.first_stage_minibatch_size = 256
    model.first_stage_positive_balance_fraction = 0.5
    model.first_stage_nms_score_threshold = 0.0
    model.first_stage_nms_iou_threshold = 0.7
    model.first_stage_max_proposals = 300

    # Crops of 14 x 14, pooled to 7 x 7: what VGG-16's fc1 flattens.
    model.initial_crop_size = 14
    model.maxpool_kernel_size = 2
    model.maxpool_stride = 2

    head = model.second_stage_box_predictor.mask_rcnn_box_predictor
    head.use_dropout = False  # VGG-16's fc1 and fc2 have theirs, other heads have no such layers
    _set_layer(head.fc_hyperparams, hyperparams_pb2.Hyperparams.FC)
    head.fc_hyperparams.initializer.truncated_normal_initializer.stddev = 0.01
    model.second_stage_batch_size = 128
    model.second_stage_balance_fraction = 0.25
    suppression = model.second_stage_post_processing.batch_non_max_suppression
    suppression.score_threshold = 0.0
    suppression.iou_threshold = TEST_NMS_IOU
    suppression.max_detections_per_class = 100
    suppression.max_total_detections = 100
    model.second_stage_post_processing.score_converter = post_processing_pb2.PostProcessing.SOFTMAX


def _add_masks(model: faster_rcnn_pb2.FasterRcnn) -> None:
    model.number_of_stages = 3
    # Masks need more room than boxes: crops of 14 x 14 go whole into the second stage, as in
    # figure 4, left, of He et al.
    model.maxpool_kernel_size = 1
    model.maxpool_stride = 1
    head = model.second_stage_box_predictor.mask_rcnn_box_predictor
    _set_layer(head.conv_hyperparams, hyperparams_pb2.Hyperparams.CONV)
    head.conv_hyperparams.initializer.truncated_normal_initializer.stddev = 0.01
    head.predict_instance_masks = True
    head.mask_height = 14
    head.mask_width = 14
    head.mask_prediction_conv_depth = 256
    head.mask_prediction_num_conv_layers = 2
    model.second_stage_mask_prediction_loss_weight = 4.0


def _set_ssd(model: ssd_pb2.Ssd, num_classes: int, image_size: tuple[int, int]) -> None:
    model.num_classes = num_classes
    model.image_resizer.fixed_shape_resizer.height = image_size[0]
    model.image_resizer.fixed_shape_resizer.width = image_size[1]
    model.box_coder.faster_rcnn_box_coder.y_scale = 10.0
    model.box_coder.faster_rcnn_box_coder.x_scale = 10.0
    model.box_coder.faster_rcnn_box_coder.height_scale = 5.0
    model.box_coder.faster_rcnn_box_coder.width_scale = 5.0
    matcher = model.matcher.argmax_matcher
    matcher.matched_threshold = 0.5
    matcher.unmatched_threshold = 0.5
    matcher.ignore_thresholds = False
    matcher.negatives_lower_than_unmatched = True
    matcher.force_match_for_each_row = True
    matcher.use_matmul_gather = True
    model.similarity_calculator.iou_similarity.SetInParent()
    model.encode_background_as_zeros = True
    model.freeze_batchnorm = True  # as Faster R-CNN's is: steps have few images

    extractor = model.feature_extractor
    _set_ssd_layers(extractor.conv_hyperparams)
    extractor.override_base_feature_extractor_hyperparams = True  # weight decay for the backbone

    loss = model.loss
    loss.classification_loss.weighted_sigmoid_focal.gamma = 2.0
    loss.classification_loss.weighted_sigmoid_focal.alpha = 0.25
    loss.localization_loss.weighted_smooth_l1.SetInParent()
    loss.classification_weight = 1.0
    loss.localization_weight = 1.0
    model.normalize_loss_by_num_matches = True
    model.normalize_loc_loss_by_codesize = True
    suppression = model.post_processing.batch_non_max_suppression
    suppression.score_threshold = 1e-8
    suppression.iou_threshold = 0.6
    suppression.max_detections_per_class = 100
    suppression.max_total_detections = 100
    model.post_processing.score_converter = post_processing_pb2.PostProcessing.SIGMOID


def _set_layers(model: ssd_pb2.Ssd) -> None:
    """Six maps, each with its own predictor and anchors."""
    model.feature_extractor.num_layers = 6
    anchors = model.anchor_generator.ssd_anchor_generator
    anchors.num_layers = 6
    anchors.min_scale = 0.1
    anchors.max_scale = 0.95
    anchors.aspect_ratios.extend([1.0, 2.0, 0.5, 3.0, 1 / 3])
    predictor = model.box_predictor.convolutional_box_predictor
    _set_ssd_layers(predictor.conv_hyperparams)
    predictor.kernel_size = 3
    predictor.box_code_size = 4
    predictor.use_dropout = False
    predictor.class_prediction_bias_init = _RARE_OBJECTS


def _set_pyramid(model: ssd_pb2.Ssd) -> None:
    """Five levels that share their predictor."""
    model.feature_extractor.fpn.min_level = 3
    model.feature_extractor.fpn.max_level = 7
    anchors = model.anchor_generator.multiscale_anchor_generator
    anchors.min_level = 3
    anchors.max_level = 7
    anchors.anchor_scale = 4.0
    anchors.aspect_ratios.extend([1.0, 2.0, 0.5])
    anchors.scales_per_octave = 3
    predictor = model.box_predictor.weight_shared_convolutional_box_predictor
    _set_ssd_layers(predictor.conv_hyperparams)
    predictor.depth = 256
    predictor.num_layers_before_predictor = 4
    predictor.kernel_size = 3
    predictor.class_prediction_bias_init = _RARE_OBJECTS


def _set_ssd_layers(hyperparams: hyperparams_pb2.Hyperparams) -> None:
    hyperparams.regularizer.l2_regularizer.weight = SSD_WEIGHT_DECAY
    hyperparams.initializer.random_normal_initializer.stddev = 0.01
    hyperparams.activation = hyperparams_pb2.Hyperparams.RELU_6
    hyperparams.batch_norm.decay = 0.997
    hyperparams.batch_norm.epsilon = 0.001


def _set_layer(hyperparams: hyperparams_pb2.Hyperparams, operation: int) -> None:
    hyperparams.op = operation
    hyperparams.regularizer.l2_regularizer.weight = WEIGHT_DECAY


def _set_training(train: train_pb2.TrainConfig, settings: TrainingSettings, tf1: bool) -> None:
    train.batch_size = settings.batch_size
    train.num_steps = settings.num_steps
    train.optimizer.momentum_optimizer.momentum_optimizer_value = 0.9
    train.optimizer.use_moving_average = False
    train.gradient_clipping_by_norm = 10.0
    train.fine_tune_checkpoint = settings.fine_tune_checkpoint
    if tf1:
        train.from_detection_checkpoint = False
    else:
        train.fine_tune_checkpoint_type = "classification"
    train.fine_tune_checkpoint_version = train_pb2.V2


def _set_inputs(
    config: pipeline_pb2.TrainEvalPipelineConfig, settings: TrainingSettings, masks: bool
) -> None:
    train_reader = config.train_input_reader
    train_reader.tf_record_input_reader.input_path.extend(_as_list(settings.train_records))
    config.eval_config.metrics_set.append("coco_detection_metrics")
    config.eval_config.batch_size = 1
    eval_reader = config.eval_input_reader.add()
    eval_reader.shuffle = False
    eval_reader.num_epochs = 1
    eval_reader.tf_record_input_reader.input_path.extend(_as_list(settings.eval_records))
    for reader in (train_reader, eval_reader):
        reader.label_map_path = settings.label_map
        if masks:
            reader.load_instance_masks = True
            reader.mask_type = input_reader_pb2.PNG_MASKS
    if masks:
        config.eval_config.metrics_set.append("coco_mask_metrics")


def _as_list(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
