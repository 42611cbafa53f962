"""The demo's detectors: what `odapi convert` configured, fitted to small scenes and short runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import object_detection  # noqa: F401  (settles Keras 2, before the protos load TensorFlow)
from object_detection.models.keras_models.classifier_backbone import TYPE_PREFIX
from object_detection.protos import faster_rcnn_pb2, pipeline_pb2, ssd_pb2

from odapi.convert.request import Architecture
from odapi.demo import scenes

SIDE = scenes.DEFAULT_STYLE.size
"""Height and width in pixels at which detectors look at scenes: their own."""


@dataclass(frozen=True)
class Training:
    """How a detector is trained, from the classifier and from scratch alike.

    Attributes:
        steps: their number.
        batch: scenes in a step.
        learning_rate: Adam's peak, after a sixteenth of the steps; a cosine takes it to 0.
        epsilon: Adam's.
        stride: pixels for one step of Faster R-CNN's first stage; None for what `odapi convert`
            chose.
    """

    steps: int
    batch: int
    learning_rate: float
    epsilon: float = 1e-8
    stride: int | None = None


SMALL = Training(steps=800, batch=8, learning_rate=1e-3)
"""For the small network: AP@0.5 0.92 after 600 steps, 0.96 after 1,000, at 0.05 seconds each."""

TRAININGS = {
    ("small", Architecture.FASTER_RCNN): SMALL,
    # With stride 16 in scenes enlarged twice AP@0.5 of masks ended at 0.81: the masks had the shape
    # of their digits, and most lay beside them. Proposals are cut out of features with the corners
    # of both aligned (tf.image.crop_and_resize), and features begin half a step inside the image,
    # so that what is cut out may lie up to half a step beside the proposal. Boxes get over that,
    # strokes of four pixels do not, and half a step of stride 8 is less: 0.89.
    ("small", Architecture.MASK_RCNN): replace(SMALL, stride=8),
    ("small", Architecture.SSD): SMALL,
    # Adam's epsilon is far above its usual 1e-8, so that a weight whose gradient is small moves
    # little. Adam moves every weight by about the learning rate. fc1 has 25,088 inputs, so that at
    # 1e-4 it forgets the digits faster than the new layers learn: 400 steps ended at AP@0.5 0.65,
    # and plain momentum, which keeps fc1, left the proposals behind. This does for both.
    ("vgg16", Architecture.FASTER_RCNN): Training(
        steps=400, batch=4, learning_rate=2e-4, epsilon=1e-4
    ),
}

OTHER = Training(steps=600, batch=4, learning_rate=5e-4)
"""For what nobody has tuned."""


def training(backbone: str, architecture: Architecture) -> Training:
    """How to train a detector on a backbone, a name of the demo's or a path."""
    return TRAININGS.get((backbone, architecture), OTHER)


def fit_to_scenes(config: pipeline_pb2.TrainEvalPipelineConfig, training: Training) -> None:
    """Changes the config that `odapi convert` wrote: sizes and anchors for scenes, and `training`.

    Backbone, preprocessing, losses and everything else stay as they are.
    """
    if config.model.HasField("ssd"):
        _fit_ssd(config.model.ssd)
    else:
        _fit_faster_rcnn(config.model.faster_rcnn, training.stride)
    train = config.train_config
    train.ClearField("data_augmentation_options")  # a mirrored digit is another sign
    train.batch_size = training.batch
    train.num_steps = training.steps
    train.optimizer.ClearField("optimizer")
    adam = train.optimizer.adam_optimizer
    adam.epsilon = training.epsilon
    schedule = adam.learning_rate.cosine_decay_learning_rate
    schedule.learning_rate_base = training.learning_rate
    schedule.total_steps = training.steps
    schedule.warmup_learning_rate = training.learning_rate / 20
    schedule.warmup_steps = max(1, training.steps // 16)
    config.train_input_reader.shuffle_buffer_size = 512


def start_afresh(config: pipeline_pb2.TrainEvalPipelineConfig) -> None:
    """Makes a config train from random weights.

    Batch normalisation has to learn its statistics then: with the classifier's the detector
    starts from something useful, with the initial ones it would have no normalisation at all.
    """
    config.train_config.ClearField("fine_tune_checkpoint")
    config.train_config.ClearField("fine_tune_checkpoint_type")
    if config.model.HasField("ssd"):
        config.model.ssd.freeze_batchnorm = False
    else:
        config.model.faster_rcnn.feature_extractor.batch_norm_trainable = True


def _fit_faster_rcnn(model: faster_rcnn_pb2.FasterRcnn, stride: int | None) -> None:
    has_masks = model.number_of_stages == 3
    # Strokes are four pixels wide, and masks want to see them larger.
    enlarged = 2 if has_masks else 1
    model.image_resizer.fixed_shape_resizer.height = enlarged * SIDE
    model.image_resizer.fixed_shape_resizer.width = enlarged * SIDE
    # A penalty on VGG-16's 137 million weights takes a tenth of a step, and changes nothing in
    # so few.
    model.feature_extractor.ClearField("conv_hyperparams")
    # Digits are 32 to 60 pixels long and rather high than wide; scale 1 is 256 pixels.
    anchors = model.first_stage_anchor_generator.grid_anchor_generator
    if stride:
        model.feature_extractor.first_stage_features_stride = stride
        anchors.height_stride = anchors.width_stride = stride
    anchors.ClearField("scales")
    anchors.scales.extend(enlarged * scale for scale in (0.14, 0.19, 0.25))
    anchors.ClearField("aspect_ratios")
    anchors.aspect_ratios.extend([0.5, 0.9])
    model.first_stage_box_predictor_depth = 256
    model.first_stage_minibatch_size = 64
    # At most four digits a scene: few proposals do, and they are most of the cost.
    model.first_stage_max_proposals = 32
    model.first_stage_localization_loss_weight = 2.0
    model.second_stage_localization_loss_weight = 2.0
    model.second_stage_batch_size = 16
    model.second_stage_balance_fraction = 0.5
    suppression = model.second_stage_post_processing.batch_non_max_suppression
    suppression.score_threshold = 0.05
    suppression.iou_threshold = 0.4
    suppression.max_detections_per_class = 10
    suppression.max_total_detections = 20
    if model.feature_extractor.type.startswith(TYPE_PREFIX):
        # Enough for networks of a hundred or two channels.
        model.first_stage_box_predictor_depth = 128
        # Of 14x14 they cost twice the time and brought nothing. VGG-16's fc1 takes no other size.
        model.initial_crop_size = 8
    if has_masks:
        # The second stage goes on to stride 32, and masks are made of the 7x7 cells it ends with.
        model.initial_crop_size = 7 * 32 // model.feature_extractor.first_stage_features_stride
        # A mask costs as much as all the rest that is done for a proposal.
        model.second_stage_batch_size = 8
        head = model.second_stage_box_predictor.mask_rcnn_box_predictor
        head.mask_height = 28
        head.mask_width = 28
        head.mask_prediction_conv_depth = 64


def _fit_ssd(model: ssd_pb2.Ssd) -> None:
    model.image_resizer.fixed_shape_resizer.height = SIDE
    model.image_resizer.fixed_shape_resizer.width = SIDE
    # The classifier's maps alone: further ones have two cells a side, and no digit is that long.
    model.feature_extractor.num_layers = 3
    anchors = model.anchor_generator.ssd_anchor_generator
    anchors.num_layers = 3
    # Of the scene's side: from digits that lie aslant to the longest.
    anchors.min_scale = 0.2
    anchors.max_scale = 0.45
    anchors.reduce_boxes_in_lowest_layer = False
    anchors.ClearField("aspect_ratios")
    anchors.aspect_ratios.extend([0.5, 0.9])
    suppression = model.post_processing.batch_non_max_suppression
    suppression.score_threshold = 0.05
    suppression.iou_threshold = 0.4
    suppression.max_detections_per_class = 10
    suppression.max_total_detections = 20
