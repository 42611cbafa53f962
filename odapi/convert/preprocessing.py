"""How a classifier's images were preprocessed: said by the user, known, or found in the model."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models import classifier_backbone, classifier_preprocessing
from object_detection.models.keras_models.classifier_preprocessing import Preprocessing

from odapi.console.errors import UserError
from odapi.convert.plan import ReferencePreprocessing
from odapi.convert.source import Classifier

MODES = ("caffe", "tf", "torch", "none")
"""Those of keras.applications; none: the model takes 0..255, or preprocesses by itself."""

UNIT = "unit"
"""Pixels divided by 255, as `ImageDataGenerator(rescale=1/255)` does."""

_LUMA = (0.299, 0.587, 0.114)
"""Grey of red, green and blue: ITU-R BT.601, as image libraries have it."""

_CHANGE_VALUES = ("Rescaling", "Normalization", "TFOpLambda", "SlicingOpLambda")
"""Layers that preprocess, if they come before any other with weights. The last two are what
`preprocess_input(inputs)` and arithmetic leave in a model."""


def built_in(layers: Iterable[tf.keras.layers.Layer]) -> bool:
    """Whether a model preprocesses images by itself.

    Args:
        layers: its layers in the order in which they are called.
    """
    for layer in layers:
        if type(layer).__name__ in _CHANGE_VALUES:
            return True
        if layer.weights:
            return False
    return False


def decide(
    user_choice: str | None, classifier: Classifier, layers: Iterable[tf.keras.layers.Layer]
) -> tuple[Preprocessing, ReferencePreprocessing]:
    """Settles how the detector preprocesses images, and an independent way to do the same.

    Args:
        user_choice: one of `MODES`, `UNIT`, or what `_custom` reads; or None.
        classifier: whose images are meant.
        layers: of its trunk, in the order in which they are called.

    Raises:
        UserError: nobody knows, or `user_choice` cannot be.
    """
    gray = is_gray(classifier)
    name = classifier.application
    if user_choice is None and name:
        # Keras' own function for the network, which owes nothing to the detector's.
        module = sys.modules[getattr(tf.keras.applications, name).__module__]
        return (
            classifier_preprocessing.of_application(name),
            ReferencePreprocessing(
                f"{module.__name__.split('.')[-1]}.preprocess_input", module.preprocess_input
            ),
        )
    if user_choice is None:
        if not built_in(layers):
            raise UserError(
                "the file does not tell how the classifier's images were preprocessed",
                at=classifier.origin,
                hint=f"add --preprocessing {'|'.join((*MODES, UNIT))}, whichever it was trained "
                f"with{_likely(classifier.model)}",
            )
        user_choice = "none"
        description = "the classifier's own layers"
    else:
        description = user_choice
    try:
        if user_choice in MODES:
            preprocessing = classifier_preprocessing.of_mode(user_choice, gray)
        else:
            preprocessing = _custom(user_choice, gray)
    except ValueError as error:
        raise UserError(
            f"--preprocessing cannot be {user_choice!r}: {error}",
            at=classifier.origin,
            hint=f"one of {', '.join((*MODES, UNIT))}, or 'scale=0.017,0.018,0.017 "
            "offset=-2.1,-2,-1.8 channels=rgb', by which pixels are multiplied and what is added",
        ) from None
    return preprocessing, ReferencePreprocessing(description, _in_numpy(preprocessing))


def is_gray(classifier: Classifier) -> bool:
    """Whether a classifier's images have one channel, and not three.

    Raises:
        UserError: they have another number, or there are no images.
    """
    inputs = classifier.model.inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise UserError(
            "the classifier does not take one batch of images",
            at=classifier.origin,
            hint="convert takes classifiers with one input, [batch, height, width, channels]",
        )
    channels = inputs[0].shape[-1]
    if channels not in (1, 3):
        raise UserError(
            f"the classifier takes images of {channels} channels",
            at=classifier.origin,
            hint="convert takes classifiers of 1 or 3 channels, the channels last",
        )
    return channels == 1


def _likely(model: tf.keras.Model) -> str:
    """A hint, if the model contains a network of keras.applications."""
    names = {layer.name.replace("_", "").lower() for layer in [model, *model.layers]}
    for name in classifier_backbone.applications():
        if name.lower() in names:
            mode = classifier_preprocessing.of_application(name).mode
            return f"; {name}'s preprocess_input of keras.applications is {mode}"
    return ""


def _custom(text: str, gray: bool) -> Preprocessing:
    """Reads `scale=S[,S,S] offset=O[,O,O] channels=rgb|bgr`, the latter two optional.

    Raises:
        ValueError: it is something else.
    """
    if text == UNIT:
        text = f"scale={1 / 255}"
    words = dict(word.partition("=")[::2] for word in text.split())
    if not words or words.keys() - {"scale", "offset", "channels"}:
        raise ValueError("there is no such mode")
    channels = words.get("channels") or ("gray" if gray else "rgb")
    if (channels == "gray") is not gray:
        raise ValueError(f"the classifier takes {1 if gray else 3} channels")
    depth = 1 if gray else 3

    def numbers(key: str, default: str) -> tuple[float, ...]:
        found = tuple(float(number) for number in (words.get(key) or default).split(","))
        return found * depth if len(found) == 1 else found

    return Preprocessing("custom", channels, numbers("scale", "1"), numbers("offset", "0"))


def _in_numpy(preprocessing: Preprocessing):
    """The same in NumPy, or by Keras' own function where that has a mode for it."""

    def prepare(images: np.ndarray) -> np.ndarray:
        if preprocessing.channels == "gray":
            images = np.dot(images.astype(np.float64), _LUMA)[..., np.newaxis].astype(np.float32)
        if preprocessing.mode == "none":
            return images
        if preprocessing.mode in MODES:
            preprocess_input = tf.keras.applications.imagenet_utils.preprocess_input
            return preprocess_input(images, mode=preprocessing.mode)
        if preprocessing.channels == "bgr":
            images = images[..., ::-1]
        scale, offset = np.array(preprocessing.scale), np.array(preprocessing.offset)
        return (images * scale + offset).astype(np.float32)

    return prepare
