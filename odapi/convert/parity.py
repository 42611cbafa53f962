"""Compares the features of a classifier with those of the detector that was made from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf

from odapi.convert.vgg16 import Match

TOLERANCE = 1e-4
"""Largest difference that passes, as a share of the range of the classifier's features.

Two float32 forward passes of these convolutions differ by about 1e-6 of it.
"""

_FREE_SIDE = 224
"""Side in pixels of the images for a classifier that takes any size: VGG-16's own."""


@dataclass(frozen=True)
class Parity:
    """How close two sets of features are."""

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


def sample_images(model: tf.keras.Model) -> list[np.ndarray]:
    """Two RGB images, uint8 [H, W, 3], in the size the classifier takes; always the same ones.

    Like photographs, they have most of their contrast in coarse structure (amplitude falls with
    spatial frequency), edges, and colour channels that differ, so that swapped channels show.
    """
    height, width = (side or _FREE_SIDE for side in model.input_shape[1:3])
    return [_image(np.random.default_rng(seed), height, width) for seed in (1, 2)]


def classifier_features(
    model: tf.keras.Model, match: Match, images: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], str]:
    """The classifier's block5_conv3 for some images, caught while the whole model runs.

    A model that preprocesses is given the images as they are. One that does not gets what
    keras.applications.vgg16.preprocess_input makes of them.

    Args:
        images: RGB uint8 [H, W, 3], in the size the model takes.

    Returns:
        Float32 [H/16, W/16, 512] for each image, and what preprocessed them.
    """
    first = match.layers["block1_conv1"]
    raw = images[0][np.newaxis].astype(np.float32)
    with _caught(first) as seen:
        model(raw, training=False)
    own = seen["input"].shape != raw.shape or not np.array_equal(seen["input"], raw)
    features = []
    for image in images:
        batch = image[np.newaxis].astype(np.float32)
        if not own:
            batch = tf.keras.applications.vgg16.preprocess_input(batch)
        with _caught(match.features) as seen:
            model(batch, training=False)
        features.append(seen["output"][0])
    return features, "the classifier's own layers" if own else "vgg16.preprocess_input"


def compare(
    classifier: Sequence[np.ndarray],
    detector: Sequence[np.ndarray],
    image: np.ndarray,
    preprocessing: str,
) -> Parity:
    """Compares the features of the same images; `image` is one of these."""
    pairs = list(zip(classifier, detector, strict=True))
    same_shape = all(left.shape == right.shape for left, right in pairs)
    return Parity(
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
def _caught(layer: tf.keras.layers.Layer) -> Iterator[dict[str, np.ndarray]]:
    """Records what goes into and comes out of a layer, wherever in a model it is called.

    Cutting the model at the layer would not do: within a nested model it belongs to a graph of
    its own, which knows nothing of the layers before.
    """
    seen: dict[str, np.ndarray] = {}
    original = layer.call

    def call(inputs: tf.Tensor) -> tf.Tensor:
        output = original(inputs)
        seen["input"], seen["output"] = inputs.numpy(), output.numpy()
        return output

    layer.call = call
    try:
        yield seen
    finally:
        layer.call = original


def _image(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    amplitude = 1 / np.maximum(frequency, 1 / max(height, width))
    channels = []
    for _ in range(3):
        phase = np.exp(2j * np.pi * random.random((height, width)))
        texture = np.fft.ifft2(amplitude * phase).real
        channels.append(texture / texture.std())
    image = 128 + np.array([60, 45, 30]) * np.stack(channels, axis=-1)
    top, left = height // 4, width // 3
    image[top : 3 * top, left : 2 * left] += random.uniform(-90, 90, 3)
    return np.clip(image, 0, 255).astype(np.uint8)
