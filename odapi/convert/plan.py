"""What a conversion is going to do: which weights go where, and what has to come out the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf

from odapi.convert.stages import Stage


@dataclass(frozen=True)
class Weight:
    """A variable of the detector, and what it is to hold."""

    layer: str
    """Of the detector."""
    variable: str
    """Its name within the layer, such as `kernel`."""
    shape: tuple[int, ...]
    value: np.ndarray | None
    """Float32; None if the checkpoint leaves it out, and the detector starts it afresh."""
    source: str | None
    """Variable of the classifier; None for fresh values."""
    matched_by: str | None
    """`name`, or `order` where the classifier's layer has another name; None for fresh values."""

    @property
    def target(self) -> str:
        return f"{self.layer}/{self.variable}"


@dataclass(frozen=True)
class Probe:
    """A place where the classifier and the detector have to agree on the same image."""

    name: str
    layer: tf.keras.layers.Layer
    """The classifier's, whose output it is."""
    occurrence: int = 0
    """How many calls of the layer come before."""


@dataclass(frozen=True)
class Unused:
    """A layer of the classifier whose weights the detector has no place for."""

    layer: str
    type: str
    parameters: int
    reason: str


@dataclass(frozen=True)
class ReferencePreprocessing:
    """How the classifier's own side of the comparison turns images into its input."""

    description: str
    prepare: Callable[[np.ndarray], np.ndarray]
    """Takes RGB float32 0..255 [N, H, W, 3] and returns the classifier's input."""


@dataclass(frozen=True)
class Plan:
    """A conversion."""

    weights: tuple[Weight, ...]
    probes: tuple[Probe, ...]
    """In the order in which `restore` computes the detector's features."""
    preprocessing: ReferencePreprocessing
    unused: tuple[Unused, ...]
    stages: tuple[Stage, ...]
    """The classifier's layers as the detector takes them, in order."""
    preprocessing_note: str
    """For people: where the preprocessing comes from, and what becomes of pixels."""
    notes: tuple[str, ...]
    """The others."""
    resizers: tuple[tf.keras.layers.Layer, ...] = ()
    """The classifier's own layers that give images a size, which the detector does without."""


def leaves(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """All layers of a model, those of nested models in the place of these."""
    found = []
    for layer in model.layers:
        # A subclassed model shows no layers to go on from.
        if isinstance(layer, tf.keras.Model) and getattr(layer, "inputs", None):
            found += leaves(layer)
        else:
            found.append(layer)
    return found
