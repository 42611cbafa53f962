"""The detectors that are measured, and the floor beside each: its layers with nothing between them.

    python -m benchmarks.detectors CASE

serves a training step for each line it is sent; CASE is a `Case` as JSON.

Both sides are one `tf.function` over the same Keras layers and variables, on as many pixels and
RoIs. What the detector takes beyond the floor is what the Object Detection API adds: anchors,
proposals, crops and their pooling, targets, sampling, losses, weight decay, clipping, the look for
what is not finite.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import object_detection  # noqa: F401  settles Keras 2 before TensorFlow is used
import tensorflow as tf
from object_detection import exporter_lib_v2, inputs, model_lib_v2
from object_detection.builders import model_builder, optimizer_builder
from object_detection.core.standard_fields import InputDataFields as Fields
from object_detection.utils import nonfinite_steps

from benchmarks.timing import serve
from odapi.convert import recipes

EXTRACTORS = {"faster_rcnn_vgg16", "faster_rcnn_resnet50_keras"}
"""Those that are no Keras classifier."""
CLASSES = 20
"""As Pascal VOC has."""
OBJECTS = 8
"""Boxes in an image."""
SHORTENING = "gradients that are too long"
CLIPPING, CLIPPING_AND_DECAY = "clipping", "clipping and weight decay"
"""What a step of training can do without."""
OUT_OF_REACH = 1e12
"""A norm that no gradients have."""
LEARNING_RATE = 1e-9
"""Gradients of random weights are large, and nothing is to be learnt."""
PADDED_OBJECTS = 100
"""Rows of ground truth in a batch; upstream's input_reader.proto, `max_number_of_boxes`."""


@dataclass(frozen=True)
class Case:
    """A detector and what it is given.

    Attributes:
        backbone: `vgg16`, a network of `tf.keras.applications`, or `resnet50_keras`, upstream's.
        height: of the images, in pixels.
        width: likewise.
        batch: images of a step.
        rois: boxes of an image that the second stage trains on; None for SSD.
        proposals: boxes of an image that the first stage hands on, and that the second detects in.
        classes: of objects.
    """

    backbone: str
    height: int
    width: int
    batch: int
    rois: int | None
    proposals: int = 300
    classes: int = CLASSES

    def __str__(self) -> str:
        kind = "Faster R-CNN" if self.rois else "SSD"
        return f"{self.backbone}, {kind}, {self.height}x{self.width}, batch {self.batch}"

    def config(self) -> Any:
        """The `pipeline_pb2.TrainEvalPipelineConfig` that `odapi convert` writes, at this size."""
        run = recipes.TrainingSettings(
            num_classes=self.classes, batch_size=self.batch, num_steps=1000
        )
        keras = f"keras:{self.backbone}"
        if self.rois is None:
            config = recipes.ssd(run, extractor=keras, image_size=(self.height, self.width))
        else:
            given = f"faster_rcnn_{self.backbone}" in EXTRACTORS
            extractor = f"faster_rcnn_{self.backbone}" if given else keras
            config = recipes.faster_rcnn(run, extractor=extractor)
            model = config.model.faster_rcnn
            if self.backbone == "resnet50_keras":  # It has its own weight decay.
                model.feature_extractor.ClearField("conv_hyperparams")
            model.image_resizer.fixed_shape_resizer.height = self.height
            model.image_resizer.fixed_shape_resizer.width = self.width
            model.first_stage_max_proposals = self.proposals
            model.second_stage_batch_size = self.rois
        return config


Head = Callable[[str | None], Any]
"""Given the name of a scope, a Keras model from crops to what boxes are predicted from."""


def per_location_head(name: str | None = None) -> Any:
    """VGG-16's second stage as the tutorial wrote it: layers of 4,096 at each location of a crop.

    `Dense` on a crop of 7 x 7 x 512 that is not flattened has 512 x 4,096 weights and is applied
    49 times, as is the next: 925 million multiply-adds for each crop, where the paper's layers, on
    all 25,088 values at once, take 120 million.
    """
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((7, 7, 512)),
            layers.Dense(4096, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(4096, activation="relu"),
            layers.Dropout(0.5),
        ],
        name,
    )


@dataclass(frozen=True)
class Pair:
    """Two functions to be timed side by side, each of which ends when its work is done.

    Attributes:
        detector: of the detector.
        floor: of its layers alone.
        without: of the detector without what the key says; those of training only.
    """

    detector: Callable[[], object]
    floor: Callable[[], object]
    without: dict[str, Callable[[], object]] = field(default_factory=dict)


def training(case: Case, head: Head | None = None) -> Pair:
    """A training step, as the train loop takes it, and the floor: forward, backward and update.

    Computes under the Keras policy in force.

    Args:
        case: what is trained on what.
        head: makes another second stage than the extractor's own.
    """
    config = case.config()
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    rate.constant_learning_rate.learning_rate = LEARNING_RATE
    model = model_builder.build(config.model, is_training=True)
    if head:
        model._feature_extractor.get_box_classifier_feature_extractor_model = head
    features, labels = _batch(case, model)
    detector_step = training_step(config.train_config, model)
    detector_step(features, labels)  # makes the variables that the floor takes
    tf.keras.backend.set_learning_phase(1)  # as the train step has it
    momentum = config.train_config.optimizer.momentum_optimizer.momentum_optimizer_value
    bare = tf.keras.optimizers.legacy.SGD(LEARNING_RATE, momentum)
    images, crops = features[Fields.image], _crops(case, model, case.rois)

    @tf.function(autograph=False)
    def floor_step(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = _layers(model, images, crops)
            loss = tf.add_n([tf.cast(tf.reduce_mean(output), tf.float32) for output in outputs])
        bare.apply_gradients(all_gradients(tape, loss, model.trainable_variables))
        return loss

    def of_detector(step: Callable[[Any, Any], tf.Tensor]) -> Callable[[], object]:
        return lambda: step(features, labels).numpy()

    short, unclipped, undecayed = (copy.deepcopy(config.train_config) for _ in range(3))
    short.gradient_clipping_by_norm = OUT_OF_REACH
    unclipped.gradient_clipping_by_norm = undecayed.gradient_clipping_by_norm = 0
    undecayed.add_regularization_loss = False
    without = {SHORTENING: short, CLIPPING: unclipped, CLIPPING_AND_DECAY: undecayed}
    return Pair(
        of_detector(detector_step),
        lambda: floor_step(images).numpy(),
        {name: of_detector(training_step(changed, model)) for name, changed in without.items()},
    )


def training_step(train_config: Any, model: Any) -> Callable[[Any, Any], tf.Tensor]:
    """The step of the train loop, from features and labels to the total loss."""
    optimizer, _ = optimizer_builder.build(train_config.optimizer)
    step = tf.Variable(0, dtype=tf.int64)
    recorder = nonfinite_steps.Recorder(f"{tempfile.gettempdir()}/nonfinite")

    @tf.function(autograph=False)
    def detector_step(features: Any, labels: Any) -> tf.Tensor:
        losses = model_lib_v2.eager_train_step(
            model,
            features,
            labels,
            train_config.unpad_groundtruth_tensors,
            optimizer,
            tf.identity(step),
            train_config.add_regularization_loss,
            train_config.gradient_clipping_by_norm or None,
            on_nonfinite=recorder.for_batch(step, features, labels),
        )
        return losses["Loss/total_loss"]

    return detector_step


def all_gradients(
    tape: tf.GradientTape, loss: tf.Tensor, variables: list[tf.Variable]
) -> list[tuple[tf.Tensor, tf.Variable]]:
    """Gradients with their variables.

    Raises:
        ValueError: names the variables that the loss does not depend on.
    """
    pairs = list(zip(tape.gradient(loss, variables), variables, strict=True))
    if missing := [variable.name for gradient, variable in pairs if gradient is None]:
        raise ValueError(f"the floor leaves out {', '.join(missing)}")
    return pairs


def inference(case: Case) -> Pair:
    """Detection by an exported SavedModel, preprocessing and NMS included, and the floor: forward.

    The SavedModel takes images of any size, one or a batch of them.
    """
    config = case.config()
    model = model_builder.build(config.model, is_training=False)
    tf.keras.backend.set_learning_phase(0)
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (case.batch, case.height, case.width, 3), np.uint8)
    images, shapes = model.preprocess(tf.constant(pixels, tf.float32))

    @tf.function(autograph=False)
    def build() -> Any:
        return model.predict(images, shapes)

    build()  # makes the variables
    with tempfile.TemporaryDirectory() as folder:
        tf.train.Checkpoint(model=model).save(f"{folder}/ckpt")
        kind = "image_tensor" if case.batch == 1 else "float_image_tensor"
        exporter_lib_v2.export_inference_graph(kind, config, folder, f"{folder}/exported")
        exported = tf.saved_model.load(f"{folder}/exported/saved_model")
    given = tf.cast(pixels, tf.uint8 if case.batch == 1 else tf.float32)
    crops = _crops(case, model, case.rois and case.proposals)

    @tf.function(autograph=False)
    def floor(images: tf.Tensor) -> list[tf.Tensor]:
        return _layers(model, images, crops)

    # A signature alone would not keep its variables alive.
    return Pair(
        lambda: _wait(exported.signatures["serving_default"](given)), lambda: _wait(floor(images))
    )


def _wait(outputs: Any) -> None:
    for output in tf.nest.flatten(outputs):
        output.numpy()


def _batch(case: Case, model: Any) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Features and labels as `inputs.train_input` gives them, of noise with boxes on it."""
    random = np.random.default_rng(1)
    batch = case.batch
    noise = random.uniform(0, 255, (batch, case.height, case.width, 3)).astype(np.float32)
    images, true_shapes = model.preprocess(tf.constant(noise))
    corners = random.uniform(0, 0.7, (batch, OBJECTS, 2))
    sizes = random.uniform(0.1, 0.3, (batch, OBJECTS, 2))
    boxes = np.zeros((batch, PADDED_OBJECTS, 4), np.float32)
    boxes[:, :OBJECTS] = np.concatenate([corners, corners + sizes], axis=-1)
    classes = np.zeros((batch, PADDED_OBJECTS, case.classes), np.float32)
    chosen = random.integers(0, case.classes, (batch, OBJECTS))
    np.put_along_axis(classes[:, :OBJECTS], chosen[..., np.newaxis], 1, axis=-1)
    weights = np.zeros((batch, PADDED_OBJECTS), np.float32)
    weights[:, :OBJECTS] = 1
    features = {
        Fields.image: images,
        Fields.true_image_shape: true_shapes,
        inputs.HASH_KEY: tf.range(batch),
    }
    labels = {
        Fields.num_groundtruth_boxes: tf.fill([batch], OBJECTS),
        Fields.groundtruth_boxes: tf.constant(boxes),
        Fields.groundtruth_classes: tf.constant(classes),
        Fields.groundtruth_weights: tf.constant(weights),
    }
    return features, labels


def _crops(case: Case, model: Any, rois: int | None) -> tf.Tensor | None:
    """What the second stage is given for each image, as noise."""
    if rois is None:
        return None
    extractor = model._feature_extractor_for_box_classifier_features
    shape = extractor.input_shape
    side = shape[1] or model._initial_crop_size // model._maxpool_stride
    return tf.random.stateless_uniform([case.batch * rois, side, side, shape[3]], [1, 2])


def _layers(model: Any, images: tf.Tensor, crops: tf.Tensor | None) -> list[tf.Tensor]:
    """All outputs of the layers of a model."""
    if crops is None:
        return tf.nest.flatten(model._box_predictor(model._feature_extractor(images)))
    features = model._feature_extractor_for_proposal_features(images)
    rpn = model._first_stage_box_predictor_first_conv(features)
    first = model._first_stage_box_predictor([rpn])
    # Without the means no gradient would go from the second stage to the first.
    crops += tf.cast(tf.reduce_mean(features, axis=[0, 1, 2]), crops.dtype)
    head = model._feature_extractor_for_box_classifier_features(crops)
    second = model._mask_rcnn_box_predictor([head], prediction_stage=2)
    return tf.nest.flatten([first, second])


if __name__ == "__main__":
    serve(training(Case(**json.loads(sys.argv[1]))).detector)
