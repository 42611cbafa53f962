"""What the layers in front of a classifier make of pixels, and which pixels they were made for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf

_CHANGE_VALUES = ("Rescaling", "Normalization", "TFOpLambda", "SlicingOpLambda")
"""Layers that preprocess, if they come before any other with weights. The last two are what
`preprocess_input(inputs)` and arithmetic leave in a model."""

_SIDE = 8
_LEAST_SPAN, _MOST = 0.5, 25.0
"""Networks are trained on images that are spread over 1 to 5: 0..1, -1..1, or standard deviations.
255 is more than the quotient of the two, so layers that do this to 0..255 cannot do it to 0..1."""
_SUBTRACTED = 30
"""Of 0..255, the least that is taken for a mean which was subtracted, as mode caffe does."""


class Reading(StrEnum):
    """The pixels that the layers in front were made for, as their numbers tell."""

    NOTHING = "there are none, or they change no value"
    BYTES = "0..255"
    UNIT = "0..1"
    UNKNOWN = "the numbers do not tell"


@dataclass(frozen=True)
class Front:
    """The layers before the first with weights.

    Attributes:
        reading: which pixels they were made for.
        names: of those that change values, in order.
        model: they alone; None if there are none, or they cannot be run alone.
    """

    reading: Reading
    names: tuple[str, ...] = ()
    model: tf.keras.Model | None = None

    def ends(self, prepare: Callable[[np.ndarray], np.ndarray]) -> str:
        """What becomes of pixels 0 and 255: "-1 and 1", or "-2.12..-1.8 and 2.25..2.64".

        Args:
            prepare: what happens to RGB float32 images [N, H, W, 3] before these layers.
        """
        return " and ".join(
            _interval(_run(self.model, prepare(_gray(pixel)))) for pixel in (0, 255)
        )


def leading(layers: Iterable[tf.keras.layers.Layer]) -> list[tf.keras.layers.Layer]:
    """The layers that may preprocess: those that change values before any other with weights.

    Args:
        layers: of a model, in the order in which they are called.
    """
    found = []
    for layer in layers:
        if type(layer).__name__ in _CHANGE_VALUES:
            found.append(layer)
        elif layer.weights:
            break
    return found


def read(trunk: tf.keras.Model) -> Front:
    """Runs the layers in front of a model on grey images.

    Args:
        trunk: for images of any size, with its weights.
    """
    layers = leading(trunk.layers)
    if not layers:
        return Front(Reading.NOTHING)
    names = tuple(layer.name for layer in layers)
    try:
        model = tf.keras.Model(trunk.input, layers[-1].output)
    except (AttributeError, ValueError):  # it is called twice
        return Front(Reading.UNKNOWN, names)
    depth = trunk.input_shape[-1]
    return Front(
        _reading(*(_run(model, _gray(pixel, depth)) for pixel in (0, 1, 255))), names, model
    )


def _gray(pixel: int, depth: int = 3) -> np.ndarray:
    return np.full((1, _SIDE, _SIDE, depth), pixel, np.float32)


def _run(model: tf.keras.Model | None, images: np.ndarray) -> np.ndarray:
    """A value for each channel in the middle of the image, where no padding comes to."""
    values = np.asarray(images if model is None else model(images), np.float64)
    return values[0, _SIDE // 2, _SIDE // 2] if values.ndim == 4 else values.ravel()


def _interval(values: np.ndarray) -> str:
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low}..{high}"


def _reading(zero: np.ndarray, one: np.ndarray, full: np.ndarray) -> Reading:
    if np.allclose(zero, 0) and np.allclose(full, 255):
        return Reading.NOTHING
    subtracted = np.allclose(full - zero, 255) and bool((zero <= -_SUBTRACTED).all())
    if _spread(zero, full) or subtracted:
        return Reading.BYTES
    return Reading.UNIT if _spread(zero, one) else Reading.UNKNOWN


def _spread(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether these are the ends of what networks are trained on."""
    least = np.abs(high - low).min()
    return bool(least >= _LEAST_SPAN and max(np.abs(low).max(), np.abs(high).max()) <= _MOST)
