"""How a classifier's images were preprocessed: said by the user, known, or found in the model."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models import classifier_backbone, classifier_preprocessing
from object_detection.models.keras_models.classifier_preprocessing import Preprocessing

from odapi.console.errors import UserError
from odapi.convert import front
from odapi.convert.plan import ReferencePreprocessing
from odapi.convert.source import Classifier

MODES = ("caffe", "tf", "torch", "none")
"""Those of keras.applications; none: the model takes 0..255, or preprocesses by itself."""

UNIT = "unit"
"""Pixels divided by 255, as `ImageDataGenerator(rescale=1/255)` does."""

_LUMA = (0.299, 0.587, 0.114)
"""Grey of red, green and blue: ITU-R BT.601, as image libraries have it."""

_WITHOUT_PREPROCESSING = (
    (r"MobileNetV3\w+", "tf"),
    (r"EfficientNetV2B\d", "torch"),
    (r"EfficientNetV2[SML]", "scale=0.0078125 offset=-1"),
    (r"ConvNeXt\w+|ResNetRS\d+", "torch"),
    (r"RegNet\w+", "unit"),
)
"""What the layers do that `include_preprocessing=False` leaves out of networks of
keras.applications; the numbers are in the modules of the networks there."""


@dataclass(frozen=True)
class Decision:
    """How images are preprocessed.

    Attributes:
        detector: as the detector does it.
        reference: an independent way to do the same.
        note: for people: where this comes from, and what becomes of pixels.
    """

    detector: Preprocessing
    reference: ReferencePreprocessing
    note: str


def decide(
    user_choice: str | None,
    classifier: Classifier,
    trunk: tf.keras.Model,
    *,
    in_front: bool = False,
    assumed: str | None = None,
) -> Decision:
    """Settles how the detector preprocesses images.

    Args:
        user_choice: one of `MODES`, `UNIT`, or what `_custom` reads; or None.
        classifier: whose images are meant.
        trunk: its trunk, with its weights.
        in_front: whether the user says that images went through both, `user_choice` and then the
            classifier's own layers.
        assumed: the mode of a classifier that has no such layers, if the user says nothing.

    Raises:
        UserError: nobody knows, or `user_choice` cannot be.
    """
    gray = is_gray(classifier)
    layers = front.read(trunk)
    if user_choice is None and classifier.application:
        preprocessing = classifier_preprocessing.of_application(classifier.application)
        # Keras' own function for the network, which owes nothing to the detector's.
        module = sys.modules[getattr(tf.keras.applications, classifier.application).__module__]
        name = f"{module.__name__.split('.')[-1]}.preprocess_input"
        reference = ReferencePreprocessing(name, module.preprocess_input)
        return Decision(preprocessing, reference, _note(preprocessing, name, layers))
    if user_choice is None:
        user_choice, description = _known(classifier, layers, assumed)
    else:
        description = user_choice
        if layers.reading is front.Reading.BYTES and user_choice != "none" and not in_front:
            raise _twice(user_choice, classifier, layers)
    try:
        preprocessing = _of_choice(user_choice, gray)
    except ValueError as error:
        raise UserError(
            f"--preprocessing cannot be {user_choice!r}: {error}",
            at=classifier.origin,
            hint=f"one of {', '.join((*MODES, UNIT))}, or 'scale=0.017,0.018,0.017 "
            "offset=-2.1,-2,-1.8 channels=rgb', by which pixels are multiplied and what is added",
        ) from None
    reference = ReferencePreprocessing(description, _in_numpy(preprocessing))
    return Decision(preprocessing, reference, _note(preprocessing, description, layers))


def _known(classifier: Classifier, layers: front.Front, assumed: str | None) -> tuple[str, str]:
    """The mode, and where it comes from, of a classifier of which the user says nothing.

    Raises:
        UserError: its file does not tell either.
    """
    if layers.reading is front.Reading.BYTES:
        return "none", "the classifier's own layers"
    gray = is_gray(classifier)
    if layers.reading is front.Reading.NOTHING:
        if assumed is not None:
            return assumed, f"{assumed}, as VGG-16 was published"
        choices = ", ".join(
            f"{mode} {layers.ends(_in_numpy(_of_choice(mode, gray)))}"
            for mode in (*MODES, UNIT)
            if not (gray and mode in ("caffe", "torch"))
        )
        raise UserError(
            "the file does not tell how the classifier's images were preprocessed",
            at=classifier.origin,
            hint="add --preprocessing with what it was trained with, by what becomes of pixels 0 "
            f"and 255: {choices}{_likely(classifier.model)}",
        )
    readings = " or ".join(
        f"--preprocessing {mode} if it was trained on {trained_on}: pixels 0 and 255 then become "
        f"{layers.ends(_in_numpy(_of_choice(mode, gray)))};"
        for mode, trained_on in (("none", "0..255"), (UNIT, "0..1"))
    )
    raise UserError(
        f"the classifier's own layers do not tell for which pixels they are: {_listed(layers)}",
        at=classifier.origin,
        hint=f"add {readings.removesuffix(';')}",
    )


def _twice(choice: str, classifier: Classifier, layers: front.Front) -> UserError:
    own = layers.ends(_in_numpy(_of_choice("none", is_gray(classifier))))
    return UserError(
        f"--preprocessing {choice}, and the classifier preprocesses by itself: {_listed(layers)} "
        f"make {own} of pixels 0 and 255",
        at=classifier.origin,
        hint="leave out --preprocessing; if it was trained on images that went through both, add "
        "--preprocessing_in_front",
    )


def _listed(layers: front.Front) -> str:
    shown = ", ".join(map(repr, layers.names[:3]))
    return shown + (f" and {len(layers.names) - 3} more" if len(layers.names) > 3 else "")


def _note(preprocessing: Preprocessing, description: str, layers: front.Front) -> str:
    ends = layers.ends(lambda images: np.asarray(preprocessing(images)))
    by = [f"by {description}"]
    if layers.reading is not front.Reading.NOTHING:
        own = f"by its own {_listed(layers)}"
        by = [own] if preprocessing.mode == "none" else [*by, own]
    return (
        f"preprocessing: {preprocessing.mode}, {preprocessing.channels}, {', then '.join(by)}: "
        f"pixels 0 and 255 become {ends}"
    )


def _of_choice(choice: str, gray: bool) -> Preprocessing:
    """Raises ValueError for a choice that cannot be."""
    if choice in MODES:
        return classifier_preprocessing.of_mode(choice, gray)
    return _custom(choice, gray)


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
            if mode := without_its_layers(name):
                return f"; the layers that this {name} was made without do: {mode}"
            mode = classifier_preprocessing.of_application(name).mode
            return f"; {name}'s preprocess_input of keras.applications is {mode}"
    return ""


def without_its_layers(application: str) -> str | None:
    """What a network with `include_preprocessing=False` lacks, as --preprocessing has it."""
    return next(
        (how for names, how in _WITHOUT_PREPROCESSING if re.fullmatch(names, application)), None
    )


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
