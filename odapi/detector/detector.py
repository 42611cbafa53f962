"""One interface to a detection model, whether it comes from a checkpoint or a SavedModel."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import object_detection  # noqa: F401  settles Keras 2 before TensorFlow is used
import tensorflow as tf
from PIL import Image

from odapi.console.errors import UserError
from odapi.detector.masks import paste

CONVERTED_FIELDS = (
    "detection_boxes",
    "detection_classes",
    "detection_masks",
    "detection_scores",
    "num_detections",
)
"""What a model in another format than SavedModel returns, under the SavedModel's names."""


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

    def select(self, keep: np.ndarray) -> Detections:
        """Those where `keep`, bool [N], is true."""
        masks = None if self.masks is None else self.masks[keep]
        return Detections(self.boxes[keep], self.scores[keep], self.classes[keep], masks)


class Detector:
    """Finds objects in images of any size."""

    def __init__(
        self,
        infer: Callable[[np.ndarray], dict[str, Any]],
        source: str,
        variables: Sequence[tf.Variable],
        batch_size: int | None = None,
        model: Any = None,
    ) -> None:
        """Use `from_checkpoint` or `from_saved_model`.

        Args:
            infer: takes uint8 [B, H, W, 3], RGB; returns what a model's `postprocess` returns,
                with class ids from 1.
            source: the checkpoint or folder the model comes from.
            variables: what `infer` computes with.
            batch_size: how many images `infer` takes, neither more nor fewer; None: any number.
            model: whose `variables` a checkpoint gives; None: they cannot change.
        """
        self._infer = infer
        self.source = source
        self.variables = tuple(variables)
        self.batch_size = batch_size
        self._model = model

    @classmethod
    def from_checkpoint(cls, pipeline_config: Any, checkpoint: str) -> Detector:
        """Builds the model of a config in float32 and restores every one of its variables.

        Args:
            pipeline_config: a `pipeline_pb2.TrainEvalPipelineConfig`.
            checkpoint: prefix of an object-based checkpoint, as training writes them.

        Raises:
            UserError: the checkpoint cannot be read, or lacks a variable of the model, or has it
                in another shape.
        """
        from object_detection.builders import model_builder
        from object_detection.utils import autograph_fallback

        # Layers are made here and while the function is traced.
        with _inference(), _without_initial_values():
            model = model_builder.build(pipeline_config.model, is_training=False)

            def infer(images: tf.Tensor) -> dict[str, tf.Tensor]:
                batch, true_shapes = model.preprocess(tf.cast(images, tf.float32))
                found = dict(model.postprocess(model.predict(batch, true_shapes), true_shapes))
                # The model counts classes from 0; label maps count from 1, 0 is the background.
                found["detection_classes"] += 1
                return found

            def trace(function: Callable[[tf.Tensor], dict[str, tf.Tensor]]) -> Any:
                signature = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
                graph = tf.function(function, input_signature=signature)
                # The variables come into being while the function is traced. Restoring before that
                # is deferred and cannot be checked: a checkpoint of another model would pass
                # unnoticed.
                graph.get_concrete_function()
                return graph

            infer = autograph_fallback.build(trace, infer)
        detector = cls(infer, checkpoint, model.variables, model=model)
        detector.restore(checkpoint)
        return detector

    def restore(self, checkpoint: str) -> None:
        """Takes another checkpoint of the same config; only after `from_checkpoint`.

        Raises:
            UserError: as `from_checkpoint`.
        """
        _restore(self._model, checkpoint)
        self.source = checkpoint

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

        def infer(images: np.ndarray) -> dict[str, tf.Tensor]:
            # `loaded` stays referenced here: its variables die with it.
            return loaded.signatures["serving_default"](**{argument: encode(images)})

        return cls(infer, str(found), signature.variables, spec.shape[0])

    def trace(self, height: int | None = None, width: int | None = None) -> Any:
        """The model as a function of one image, for a converter; only after `from_checkpoint`.

        Args:
            height: of the image, in pixels; None: any.
            width: likewise.

        Returns:
            A concrete function from `input_tensor`, uint8 [1, height, width, 3], RGB, to those of
            the fields of `CONVERTED_FIELDS` that the model has.
        """
        # Traced anew: the batch of any size that `infer` takes makes of the postprocessing a loop
        # over images, which converters write down as such.
        infer = self._infer.python_function
        # As many detections are returned whatever the image; the graph's shapes do not say so, and
        # users of the file allocate by them.
        example = self._infer(np.zeros([1, height or 320, width or 320, 3], np.uint8))
        shapes = {name: example[name].shape for name in CONVERTED_FIELDS if name in example}

        @tf.function(
            input_signature=[tf.TensorSpec([1, height, width, 3], tf.uint8, "input_tensor")],
            autograph=False,
        )
        def detect(input_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
            found = infer(input_tensor)
            return {
                name: tf.reshape(tf.cast(found[name], tf.float32), shape)
                for name, shape in shapes.items()
            }

        with _inference():
            return detect.get_concrete_function()

    def detect(self, image: np.ndarray, min_score: float = 0.0) -> Detections:
        """Runs the model on one image.

        Args:
            image: uint8 [H, W, 3], RGB.
            min_score: detections below it are left out.

        Raises:
            ValueError: the image has another shape or dtype.
        """
        return next(self.detect_batch(image[np.newaxis], min_score))

    def detect_batch(self, images: np.ndarray, min_score: float = 0.0) -> Iterator[Detections]:
        """Runs the model once on several images of equal size.

        Args:
            images: uint8 [B, H, W, 3], RGB; B is at most `batch_size`, if that is a number.
            min_score: detections below it are left out.

        Yields:
            What was found in each, in order. Masks are pasted only then, so that those of one
            image are in memory at a time.

        Raises:
            ValueError: the images have another shape or dtype.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            shape = images.shape[1:]
            raise ValueError(f"image must be uint8 [H, W, 3], not {images.dtype} {shape}")
        missing = (self.batch_size or 0) - len(images)
        padded = np.pad(images, [(0, missing), *[(0, 0)] * 3]) if missing > 0 else images
        found = self._infer(padded)
        size = images.shape[1:3]
        for index in range(len(images)):
            scores = np.asarray(found["detection_scores"][index], np.float32)
            scores = scores[: int(found["num_detections"][index])]
            order = np.argsort(-scores, kind="stable")
            order = order[scores[order] >= min_score]
            boxes = np.asarray(found["detection_boxes"][index], np.float32)[order]
            boxes = boxes * np.float32([*size, *size])
            masks = None
            if "detection_masks" in found:
                masks = paste(np.asarray(found["detection_masks"][index])[order], boxes, size)
            classes = np.asarray(found["detection_classes"][index])[order].astype(np.int64)
            yield Detections(boxes, scores[order], classes, masks)


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


@contextmanager
def _inference() -> Iterator[None]:
    """Makes models for inference, whatever training goes on in the process.

    In its learning phase batch normalisation would use the statistics of the one image, and dropout
    would drop; under its policy layers might compute in 16 bits.
    """
    from object_detection.utils import mixed_precision

    phase = tf.keras.backend.learning_phase()
    tf.keras.backend.set_learning_phase(0)
    try:
        with mixed_precision.policy("float32"):
            yield
    finally:
        tf.keras.backend.set_learning_phase(phase)


@contextmanager
def _without_initial_values() -> Iterator[None]:
    """Makes variables of memory that nothing was written to: each is restored, or refused.

    To draw VGG-16's weights takes a second, and as much memory as the checkpoint's.
    """

    def create(next_creator: Callable[..., tf.Variable], **options: Any) -> tf.Variable:
        shape, dtype = tf.TensorShape(options.get("shape")), options.get("dtype")
        if callable(options["initial_value"]) and dtype and shape.is_fully_defined():
            options["initial_value"] = lambda: tf.raw_ops.Empty(shape=shape, dtype=dtype)
        return next_creator(**options)

    with tf.variable_creator_scope(create):
        yield


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
    """How to turn uint8 [B, H, W, 3] into what a signature takes."""
    if spec.dtype != tf.string:
        return lambda images: tf.cast(images, spec.dtype)
    if input_type == "tf_example":
        return lambda images: tf.constant(
            [_example(_png(image)).SerializeToString() for image in images]
        )
    return lambda images: tf.constant([_png(image) for image in images])


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
