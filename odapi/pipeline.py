"""Pipeline configs: what `odapi convert` and the demo write, and the files under configs/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import object_detection  # noqa: F401  (settles Keras 2, before the protos load TensorFlow)
from google.protobuf import text_format
from object_detection.protos import (
    faster_rcnn_pb2,
    hyperparams_pb2,
    image_resizer_pb2,
    optimizer_pb2,
    pipeline_pb2,
    post_processing_pb2,
    preprocessor_pb2,
    train_pb2,
)

from odapi.files import write_text

FINE_TUNE_CHECKPOINT = "PATH_TO/ckpt-1"
TRAIN_RECORDS = "PATH_TO/train.record"
EVAL_RECORDS = "PATH_TO/eval.record"
LABEL_MAP = "PATH_TO/label_map.pbtxt"
"""Placeholders for what the caller does not know yet."""

WEIGHT_DECAY = 5e-4
"""Of every weight; Simonyan and Zisserman, arXiv:1409.1556, section 3.1."""

TEST_NMS_IOU = 0.3
"""Per-class NMS at test time; Girshick, Fast R-CNN, arXiv:1504.08083, as its code sets it."""


def vgg16_faster_rcnn(
    num_classes: int,
    *,
    fine_tune_checkpoint: str = FINE_TUNE_CHECKPOINT,
    train_records: str | Sequence[str] = TRAIN_RECORDS,
    eval_records: str | Sequence[str] = EVAL_RECORDS,
    label_map: str = LABEL_MAP,
    image_size: tuple[int, int] = (600, 1000),
    batch_size: int = 1,
    num_steps: int = 80_000,
    tf1: bool = False,
) -> pipeline_pb2.TrainEvalPipelineConfig:
    """Faster R-CNN on VGG-16, with the training set-up of Ren et al., arXiv:1506.01497.

    Section 3.1.3 there gives the learning rates and RPN sampling, section 3.3 the image size; the
    four anchor scales are those it uses on COCO (section 4.2).

    Args:
        num_classes: object classes, without background.
        fine_tune_checkpoint: prefix of a checkpoint that `odapi convert` wrote.
        train_records: path, glob or list of such of the TFRecords to train on.
        eval_records: the same, to evaluate on.
        label_map: path of the label map of both.
        image_size: pixels of the shorter side, and the most that the longer may then have.
        batch_size: images a step.
        num_steps: length of training; the learning rate falls to a tenth after three quarters.
        tf1: for TF1 behaviour, which names the kind of `fine_tune_checkpoint` differently.

    Returns:
        A config whose paths are as given; nothing is read or checked.
    """
    config = pipeline_pb2.TrainEvalPipelineConfig()
    _set_model(config.model.faster_rcnn, num_classes, image_size, batch_size)
    _set_training(config.train_config, fine_tune_checkpoint, batch_size, num_steps, tf1)

    config.train_input_reader.label_map_path = label_map
    config.train_input_reader.tf_record_input_reader.input_path.extend(_as_list(train_records))
    config.eval_config.metrics_set.append("coco_detection_metrics")
    config.eval_config.batch_size = 1
    reader = config.eval_input_reader.add()
    reader.label_map_path = label_map
    reader.shuffle = False
    reader.num_epochs = 1
    reader.tf_record_input_reader.input_path.extend(_as_list(eval_records))
    return config


def write(config: pipeline_pb2.TrainEvalPipelineConfig, path: Path) -> None:
    """Writes a config in protobuf's text format; `path` is never seen half-written."""
    write_text(path, text_format.MessageToString(config))


def _set_model(
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
    extractor.type = "faster_rcnn_vgg16"
    extractor.first_stage_features_stride = 16
    _set_layer(extractor.conv_hyperparams, hyperparams_pb2.Hyperparams.CONV)
    # Asked for by the schema and unused: VGG-16 chooses its own initial values.
    extractor.conv_hyperparams.initializer.variance_scaling_initializer.factor = 2.0

    anchors = model.first_stage_anchor_generator.grid_anchor_generator
    anchors.scales.extend([0.25, 0.5, 1.0, 2.0])
    anchors.aspect_ratios.extend([0.5, 1.0, 2.0])
    anchors.height_stride = 16
    anchors.width_stride = 16

    rpn = model.first_stage_box_predictor_conv_hyperparams
    _set_layer(rpn, hyperparams_pb2.Hyperparams.CONV)
    rpn.initializer.truncated_normal_initializer.stddev = 0.01
    model.first_stage_box_predictor_depth = 512
    model.first_stage_minibatch_size = 256
    model.first_stage_positive_balance_fraction = 0.5
    model.first_stage_nms_score_threshold = 0.0
    model.first_stage_nms_iou_threshold = 0.7
    model.first_stage_max_proposals = 300

    # Crops of 14 x 14, pooled to the 7 x 7 that fc1 flattens.
    model.initial_crop_size = 14
    model.maxpool_kernel_size = 2
    model.maxpool_stride = 2

    head = model.second_stage_box_predictor.mask_rcnn_box_predictor
    head.use_dropout = False  # fc1 and fc2 have theirs
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


def _set_layer(hyperparams: hyperparams_pb2.Hyperparams, operation: int) -> None:
    hyperparams.op = operation
    hyperparams.regularizer.l2_regularizer.weight = WEIGHT_DECAY


def _set_training(
    train: train_pb2.TrainConfig, checkpoint: str, batch_size: int, num_steps: int, tf1: bool
) -> None:
    train.batch_size = batch_size
    train.num_steps = num_steps
    schedule = optimizer_pb2.ManualStepLearningRate(initial_learning_rate=1e-3)
    schedule.schedule.add(step=num_steps * 3 // 4, learning_rate=1e-4)
    momentum = train.optimizer.momentum_optimizer
    momentum.learning_rate.manual_step_learning_rate.CopyFrom(schedule)
    momentum.momentum_optimizer_value = 0.9
    train.optimizer.use_moving_average = False
    train.gradient_clipping_by_norm = 10.0
    train.fine_tune_checkpoint = checkpoint
    if tf1:
        train.from_detection_checkpoint = False
    else:
        train.fine_tune_checkpoint_type = "classification"
    train.fine_tune_checkpoint_version = train_pb2.V2
    train.data_augmentation_options.add(
        random_horizontal_flip=preprocessor_pb2.RandomHorizontalFlip()
    )


def _as_list(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
