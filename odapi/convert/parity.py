"""Compares the features of a classifier with those of the detector that was made from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from matplotlib import cbook
from PIL import Image

from odapi.convert.plan import Probe, ReferencePreprocessing

TOLERANCE = 1e-4
"""Largest difference that passes, as a share of the range of the classifier's features.

Two float32 forward passes of the same layers differ by about 1e-6 of it.
"""

_FREE_SIDE = 224
"""Side in pixels of the images for a classifier that takes any size: ImageNet's usual one."""

_PHOTOGRAPH = "grace_hopper.jpg"
"""A portrait in front of a flag, 512x600 pixels, which matplotlib ships."""
_CUTOUTS = ((100, 0, 512, 412), (0, 188, 412, 600))
"""Left, top, right and bottom of two squares of it, of the face and of the uniform."""


@dataclass(frozen=True)
class Parity:
    """How close two sets of features are."""

    name: str
    """Where in the classifier they come from."""
    images: int
    height: int
    width: int
    preprocessing: str
    """What the classifier's side did to the images."""
    max_abs_difference: float
    feature_range: float
    """Maximum less minimum of the classifier's features."""
    tolerance: float = TOLERANCE

    @property
    def relative(self) -> float:
        """Largest difference as a share of the range; infinite where there is no range."""
        return self.max_abs_difference / self.feature_range if self.feature_range else np.inf

    @property
    def passed(self) -> bool:
        return self.relative <= self.tolerance  # false for NaN too


@dataclass(frozen=True)
class Features:
    """What was compared.

    Attributes:
        images: RGB uint8 [H, W, 3].
        classifier: for each probe, float32 [H_i, W_i, C_i] for each image.
        detector: the same of the detector.
    """

    images: list[np.ndarray]
    classifier: list[list[np.ndarray]]
    detector: list[list[np.ndarray]]


def sample_images(model: tf.keras.Model) -> list[np.ndarray]:
    """Two photographs, RGB uint8 [H, W, 3], in the size the classifier takes; always the same."""
    height, width = (side or _FREE_SIDE for side in model.input_shape[1:3])
    return photographs(height, width)


def photographs(height: int, width: int) -> list[np.ndarray]:
    """Two photographs, RGB uint8 [height, width, 3]; always the same."""
    with cbook.get_sample_data(_PHOTOGRAPH) as file:
        photograph = Image.open(file).convert("RGB")
    return [
        np.asarray(photograph.crop(box).resize((width, height), Image.Resampling.BILINEAR))
        for box in _CUTOUTS
    ]


def resized(image: np.ndarray, resizers: Sequence[tf.keras.layers.Layer]) -> np.ndarray:
    """An image in the size that the classifier's own layers give it; RGB [H, W, 3]."""
    for layer in resizers:
        image = layer(tf.cast(image[np.newaxis], tf.float32)).numpy()[0]
    return image


def classifier_features(
    model: tf.keras.Model,
    probes: Sequence[Probe],
    preprocessing: ReferencePreprocessing,
    images: Sequence[np.ndarray],
) -> list[list[np.ndarray]]:
    """The classifier's features for some images, recorded while the whole model runs.

    Args:
        model: the classifier.
        probes: where to catch them.
        preprocessing: of the images.
        images: RGB uint8 [H, W, 3], in the size the model takes.

    Returns:
        For each probe, float32 [H_i, W_i, C_i] for each image.
    """
    features: list[list[np.ndarray]] = [[] for _ in probes]
    for image in images:
        batch = preprocessing.prepare(image[np.newaxis].astype(np.float32))
        with ExitStack() as stack:
            recorded = [stack.enter_context(_recorded_outputs(probe.layer)) for probe in probes]
            model(tf.cast(batch, model.inputs[0].dtype), training=False)
        for found, outputs, probe in zip(features, recorded, probes, strict=True):
            found.append(outputs[probe.occurrence][0].astype(np.float32))
    return features


def compare(
    name: str,
    classifier: Sequence[np.ndarray],
    detector: Sequence[np.ndarray],
    image: np.ndarray,
    preprocessing: str,
) -> Parity:
    """Compares the features of the same images; `image` is one of these."""
    pairs = list(zip(classifier, detector, strict=True))
    same_shape = all(left.shape == right.shape for left, right in pairs)
    return Parity(
        name=name,
        images=len(pairs),
        height=image.shape[0],
        width=image.shape[1],
        preprocessing=preprocessing,
        max_abs_difference=float(max(np.abs(left - right).max() for left, right in pairs))
        if same_shape
        else np.inf,
        feature_range=float(max(map(np.max, classifier)) - min(map(np.min, classifier))),
    )


@contextmanager
def _recorded_outputs(layer: tf.keras.layers.Layer) -> Iterator[list[np.ndarray]]:
    """Records what comes out of each call of a layer, wherever in a model it is.

    Cutting the model at the layer would not do: within a nested model it belongs to a graph of
    its own, which knows nothing of the layers before.
    """
    outputs: list[np.ndarray] = []
    original = layer.call

    def call(*args, **kwargs):
        output = original(*args, **kwargs)
        outputs.append(output.numpy())
        return output

    layer.call = call
    try:
        yield outputs
    finally:
        layer.call = original
