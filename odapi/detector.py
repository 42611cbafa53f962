"""One interface to a detection model, whether it comes from a checkpoint or a SavedModel."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import object_detection  # noqa: F401  settles Keras 2 before TensorFlow is used
import tensorflow as tf
from PIL import Image

from odapi.errors import UserError


@dataclass(frozen=True)
class Detections:
    """What a model found in one image, highest score first.

    Attributes:
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax in pixels of the image.
        scores: float32 [N], in 0..1.
        classes: int64 [N], ids of the label map, from 1.
        masks: uint8 [N, H, W] of 0 and 1, or None for a model without masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        keep = self.scores >= score
        masks = None if self.masks is None else self.masks[keep]
        return Detections(self.boxes[keep], self.scores[keep], self.classes[keep], masks)


class Detector:
    """Finds objects in images of any size, one at a time."""

    def __init__(
        self,
        infer: Callable[[np.ndarray], dict[str, Any]],
        source: str,
        variables: Sequence[tf.Variable],
    ) -> None:
        """Use `from_checkpoint` or `from_saved_model`.

        Args:
            infer: takes uint8 [H, W, 3], RGB; returns what a model's `postprocess` returns for a
                batch of one, with class ids from 1.
            source: the checkpoint or folder the model comes from.
            variables: what `infer` computes with.
        """
        self._infer = infer
        self.source = source
        self.variables = tuple(variables)

    @classmethod
    def from_checkpoint(cls, pipeline_config: Any, checkpoint: str) -> Detector:
        """Builds the model of a config and restores every one of its variables.

        Args:
            pipeline_config: a `pipeline_pb2.TrainEvalPipelineConfig`.
            checkpoint: prefix of an object-based checkpoint, as training writes them.

        Raises:
            UserError: the checkpoint cannot be read, or lacks a variable of the model, or has it
                in another shape.
        """
        from object_detection.builders import model_builder

        # Training leaves Keras in its training phase, for the whole process: batch normalisation
        # would use the statistics of the one image, and dropout would drop.
        tf.keras.backend.set_learning_phase(0)
        model = model_builder.build(pipeline_config.model, is_training=False)

        @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
        def infer(image: tf.Tensor) -> dict[str, tf.Tensor]:
            batch, true_shapes = model.preprocess(tf.cast(image, tf.float32)[tf.newaxis])
            found = dict(model.postprocess(model.predict(batch, true_shapes), true_shapes))
            # The model counts classes from 0; label maps count from 1, 0 is the background.
            found["detection_classes"] += 1
            return found

        # The variables come into being while the function is traced. Restoring before that is
        # deferred and cannot be checked: a checkpoint of another model would pass unnoticed.
        infer.get_concrete_function()
        _restore(model, checkpoint)
        return cls(infer, checkpoint, model.variables)

    @classmethod
    def from_saved_model(cls, directory: str, input_type: str | None = None) -> Detector:
        """Loads an exported model.

        Args:
            directory: a SavedModel, or the folder above it that `odapi export` wrote.
            input_type: what the model takes, one of `odapi export`'s. Without it, it is taken
                from the signature; two of the types take strings and cannot be told apart so,
                and `encoded_image_string_tensor` is assumed.

        Raises:
            UserError: the folder is not a SavedModel with such a signature.
        """
        found = find_saved_model(directory)
        loaded = tf.saved_model.load(str(found))
        signature = loaded.signatures.get("serving_default")
        inputs = list(signature.structured_input_signature[1].items()) if signature else []
        if len(inputs) != 1 or "detection_boxes" not in signature.structured_outputs:
            raise UserError(
                "the SavedModel is not a detection model with one input",
                at=str(found),
                hint="odapi export writes one",
            )
        argument, spec = inputs[0]
        encode = _encoder(spec, input_type)

        def infer(image: np.ndarray) -> dict[str, tf.Tensor]:
            # `loaded` stays referenced here: its variables die with it.
            return loaded.signatures["serving_default"](**{argument: encode(image)})

        return cls(infer, str(found), signature.variables)

    def detect(self, image: np.ndarray) -> Detections:
        """Runs the model on one image.

        Args:
            image: uint8 [H, W, 3], RGB.

        Raises:
            ValueError: the image has another shape or dtype.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image must be uint8 [H, W, 3], not {image.dtype} {image.shape}")
        found = self._infer(image)
        height, width = image.shape[:2]
        count = int(found["num_detections"][0])
        boxes = np.asarray(found["detection_boxes"][0, :count], np.float32)
        boxes = boxes * np.float32([height, width, height, width])
        scores = np.asarray(found["detection_scores"][0, :count], np.float32)
        classes = np.asarray(found["detection_classes"][0, :count]).astype(np.int64)
        masks = None
        if "detection_masks" in found:
            masks = _paste_masks(found["detection_masks"][0, :count], boxes, (height, width))
        order = np.argsort(-scores, kind="stable")
        return Detections(
            boxes[order], scores[order], classes[order], None if masks is None else masks[order]
        )


def find_saved_model(directory: str) -> Path:
    """The SavedModel in `directory` or in `directory`/saved_model.

    Raises:
        UserError: there is none.
    """
    for folder in (Path(directory), Path(directory) / "saved_model"):
        if (folder / "saved_model.pb").is_file():
            return folder
    raise UserError(
        f"there is no SavedModel in {directory}", at="--saved_model", hint="odapi export writes one"
    )


def _restore(model: Any, checkpoint: str) -> None:
    """Reads the values of all variables of `model`; one without a value is an error."""
    try:
        status = tf.train.Checkpoint(model=model).restore(checkpoint)
        status.assert_existing_objects_matched().expect_partial()
    except AssertionError as error:
        raise UserError(
            "the checkpoint does not hold all variables of the config's model: "
            + str(error).strip().splitlines()[0],
            at=checkpoint,
            hint="evaluate, export and predict need a checkpoint that odapi train wrote, "
            "and the config it was trained with",
        ) from None
    except ValueError as error:
        if "shape" not in str(error):
            raise
        raise UserError(
            f"the checkpoint holds a variable in another shape than the config's model: {error}",
            at=checkpoint,
            hint="use the config the model was trained with (num_classes, anchors, backbone)",
        ) from None
    except (tf.errors.NotFoundError, tf.errors.DataLossError) as error:
        raise UserError(
            f"the checkpoint cannot be read: {error.message.splitlines()[0]}", at=checkpoint
        ) from None


def _encoder(spec: tf.TensorSpec, input_type: str | None) -> Callable[[np.ndarray], tf.Tensor]:
    """How to turn uint8 [H, W, 3] into the batch of one that a signature takes."""
    if spec.dtype != tf.string:
        return lambda image: tf.cast(image, spec.dtype)[tf.newaxis]
    if input_type == "tf_example":
        return lambda image: tf.constant([_example(_png(image)).SerializeToString()])
    return lambda image: tf.constant([_png(image)])


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _example(png: bytes) -> tf.train.Example:
    def feature(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    return tf.train.Example(
        features=tf.train.Features(
            feature={"image/encoded": feature(png), "image/format": feature(b"png")}
        )
    )


def _paste_masks(masks: tf.Tensor, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Box-sized masks [N, h, w] in 0..1, pasted at their boxes: uint8 [N, H, W]."""
    from object_detection.utils import ops

    height, width = size
    scale = np.float32([height, width, height, width])
    pasted = ops.reframe_box_masks_to_image_masks(masks, boxes / scale, height, width)
    return np.asarray(pasted > 0.5, np.uint8)
