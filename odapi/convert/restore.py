"""Reads a written checkpoint back the way training does, into a detector built from its config."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models.classifier_backbone import variables_of

from odapi.convert.checkpoint import NAME


class RestoreRefused(Exception):
    """Training's own restore does not accept the checkpoint."""


@dataclass(frozen=True)
class Restored:
    """A detector before and after training's restore."""

    before: dict[str, str]
    """Variable (`block1_conv1/kernel`, ...) to fingerprint, freshly built."""
    after: dict[str, str]
    """The same after the restore."""
    features: list[list[np.ndarray]]
    """Float32 [H_i, W_i, C_i] for each image, after the restore. Of Faster R-CNN on any classifier
    those of the first stage and what the second makes of them, whole; on VGG-16 with fc1 and fc2
    the former alone. Of SSD those of strides 8, 16 and 32."""


def fingerprint(values: np.ndarray) -> str:
    """The first 16 hex digits of the SHA-256 of an array's float32 bytes."""
    return sha256(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest()[:16]


def restore_tf2(folder: Path, images: Sequence[np.ndarray]) -> Restored:
    """Restores as `model_lib_v2.train_loop` does.

    Args:
        folder: holds pipeline.config and the checkpoint.
        images: RGB uint8 [H, W, 3]. They are not resized, whatever the config says, so that their
            features compare with the classifier's.

    Raises:
        RestoreRefused: the checkpoint lacks variables, or they have other shapes.
    """
    from object_detection import model_lib_v2

    config, detector = build_detector(folder)
    _features(detector, images[0])  # builds the variables
    backbone = detector.restore_from_objects("classification")["feature_extractor"]
    before = _fingerprints(backbone)
    train = config.train_config
    try:
        model_lib_v2.load_fine_tune_checkpoint(
            detector,
            str(folder / NAME),
            train.fine_tune_checkpoint_type,
            train.fine_tune_checkpoint_version,
            run_model_on_dummy_input=False,
            input_dataset=None,
            unpad_groundtruth_tensors=train.unpad_groundtruth_tensors,
        )
    except (AssertionError, ValueError, OSError, tf.errors.OpError) as error:
        raise RestoreRefused(str(error)) from error
    by_image = [_features(detector, image) for image in images]
    return Restored(
        before, _fingerprints(backbone), [list(maps) for maps in zip(*by_image, strict=True)]
    )


def _features(detector, image: np.ndarray) -> list[np.ndarray]:
    from object_detection.models import faster_rcnn_keras_classifier_feature_extractor as any_keras

    inputs, shapes = detector.preprocess(tf.constant(image[np.newaxis], tf.float32))
    extractor = detector.feature_extractor
    if hasattr(extractor, "backbone"):
        maps = extractor.backbone(inputs, training=False)
    else:
        maps = detector.predict(inputs, shapes)["rpn_features_to_crop"]
        if isinstance(extractor, any_keras.FasterRCNNKerasClassifierFeatureExtractor):
            second_stage = extractor.get_box_classifier_feature_extractor_model()
            maps = [*maps, second_stage(maps[0], training=False)]
    return [features[0].numpy() for features in tf.nest.flatten(maps)]


def restore_tf1(folder: Path, images: Sequence[np.ndarray]) -> Restored:
    """Restores as `model_lib` does in TF1 behaviour, in a process of that behaviour.

    Args: see `restore_tf2`.

    Raises:
        RestoreRefused: the checkpoint has variables of other shapes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        images_file = Path(scratch, "images.npz")
        result = Path(scratch, "result.npz")
        np.savez(images_file, *images)
        paths = [str(path) for path in (folder, images_file, result)]
        environment = os.environ | {
            "ODAPI_TF_BEHAVIOR": "1",
            "PYTHONPATH": os.pathsep.join(entry or "." for entry in sys.path),
        }
        child = subprocess.run(
            [sys.executable, "-m", "odapi.convert.restore_tf1", *paths],
            env=environment,
            capture_output=True,
            text=True,
        )
        if child.returncode:
            raise RestoreRefused(child.stderr.strip()[-2000:])
        with np.load(result) as found:
            hashes = json.loads(str(found["hashes"]))
            features = [found[f"features_{index}"] for index in range(len(images))]
    return Restored(hashes["before"], hashes["after"], [features])


def build_detector(folder: Path):
    """Builds a detector from a folder's pipeline.config, resizing and proposals excepted.

    Returns:
        The config as written, and the `DetectionModel`.
    """
    from object_detection.builders import model_builder
    from object_detection.protos import image_resizer_pb2
    from object_detection.utils import config_util

    configs = config_util.get_configs_from_pipeline_file(str(folder / "pipeline.config"))
    config = config_util.create_pipeline_proto_from_configs(configs)
    model = config.model.__class__()
    model.CopyFrom(config.model)
    architecture = getattr(model, model.WhichOneof("model"))
    architecture.image_resizer.CopyFrom(
        image_resizer_pb2.ImageResizer(identity_resizer=image_resizer_pb2.IdentityResizer())
    )
    if model.HasField("faster_rcnn"):
        # The second stage is run for its variables, and 300 crops would take a minute.
        model.faster_rcnn.first_stage_max_proposals = 4
    if architecture.feature_extractor.type.startswith("keras:"):
        # The config names the folder in which all of this will be.
        architecture.feature_extractor.type = f"keras:{folder}"
    return config, model_builder.build(model, is_training=False)


def _fingerprints(backbone: tf.train.Checkpoint) -> dict[str, str]:
    return {
        f"{name}/{key}": fingerprint(variable.numpy())
        for name, layer in vars(backbone).items()
        if isinstance(layer, tf.keras.layers.Layer)
        for key, variable in variables_of(layer).items()
    }
