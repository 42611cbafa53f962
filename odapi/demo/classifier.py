"""The demo's image classifiers: networks that tell ten digits apart, trained in minutes.

They are ordinary Keras 2 models, so that `odapi convert` treats them like anybody's.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from odapi.demo import networks
from odapi.demo.cpu import bfloat16_arithmetic
from odapi.demo.scenes import DEFAULT_STYLE, Digits, SceneStyle, classifier_crops

MAX_GRADIENT_NORM = 5.0
"""Bound of the gradient's global norm, the usual guard of a deep network without normalisation."""

MAX_SHIFT = 2
"""Pixels by which a crop is moved at most when it is trained on once more."""


@dataclass(frozen=True)
class Recipe:
    """A network, and how long and how fast it is trained.

    Attributes:
        title: the network's name for people.
        build: makes the untrained model for a height and width of crops; see `networks`.
        stages: (height and width of the crops, epochs) in order; the last size is the finished
            model's input. `build` has to take None if there are several.
        crops: fresh training crops in each epoch.
        passes: how often each of them is trained on; see `_varied`.
        batch: crops in a step.
        learning_rate: Adam's peak, reached after a twentieth of the steps, then a cosine to 0.
        preprocessing: mode of `keras.applications.imagenet_utils.preprocess_input` for what the
            model takes, or None if it takes RGB 0..255.
        initialise: sets a new model's weights, given preprocessed images; None for Keras's own.
        test_crops: crops of unseen digits, the same after every epoch.
    """

    title: str
    build: Callable[[int | None], Any]
    stages: tuple[tuple[int, int], ...]
    crops: int
    passes: int
    batch: int
    learning_rate: float
    preprocessing: str | None = None
    initialise: Callable[[Any, np.ndarray, np.random.Generator], None] | None = None
    test_crops: int = 500

    @property
    def sizes(self) -> list[int]:
        """The crops' size in each epoch."""
        return [size for size, epochs in self.stages for _ in range(epochs)]

    @property
    def tiny(self) -> Recipe:
        """The same for a step or two, to see that all of it works."""
        size = self.sizes[-1]
        return replace(self, stages=((size, 1),), crops=32, passes=1, batch=16, test_crops=16)

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """The model's input, float32, from RGB 0..255 [N, H, W, 3]."""
        import tf_keras

        images = images.astype(np.float32)
        if self.preprocessing is None:
            return images
        return tf_keras.applications.imagenet_utils.preprocess_input(
            images, mode=self.preprocessing
        )


RECIPES = {
    "small": Recipe(
        title="small residual network",
        build=networks.small,
        # A digit of 46 pixels, the mean of the scenes, fills a crop of 58: about their scale.
        stages=((64, 12),),
        crops=1280,
        # Drawing a crop costs more than a step with it. Of 2,048 in each epoch, once each left
        # 93.8 per cent after 12 epochs, twice 97.1.
        passes=3,
        batch=32,
        learning_rate=2e-3,
    ),
    "mobilenetv2": Recipe(
        title="MobileNetV2",
        build=networks.mobilenetv2,
        stages=((64, 12),),
        crops=2048,
        passes=2,
        batch=32,
        learning_rate=2e-3,
        preprocessing="tf",
    ),
    # 95.8 per cent in 610 seconds of processor time on an AMD EPYC with bfloat16 instructions:
    # about half that on two free cores.
    "vgg16": Recipe(
        title="VGG-16",
        build=networks.vgg16,
        # The convolutions learn as well from small crops, twice as fast.
        stages=((32, 8), (48, 8)),
        crops=1024,
        passes=1,
        batch=32,
        learning_rate=4e-4,
        preprocessing="caffe",
        initialise=networks.initialise_vgg16,
    ),
}
"""The classifiers that the demo can train, by their names in `odapi demo --backbone`."""


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures: mean training loss, accuracies in 0..1, crops per second."""

    loss: float
    train_accuracy: float
    test_accuracy: float
    images_per_second: float


def train_classifier(
    train: Digits,
    test: Digits,
    recipe: Recipe,
    seed: int = 0,
    style: SceneStyle = DEFAULT_STYLE,
    say: Callable[[str], None] = print,
):
    """Trains a classifier on crops of scenes; `say` gets one line per epoch.

    Returns:
        the model, a `tf_keras.Model` (save it with `model.save("x.keras")`, or as JSON and
        weights), and the figures of each `Epoch`.

    Raises:
        ValueError: an epoch has less than one batch of crops.
    """
    import tf_keras

    sizes = recipe.sizes
    usable = recipe.crops // recipe.batch * recipe.batch
    steps = usable // recipe.batch * recipe.passes * len(sizes)
    if not steps:
        raise ValueError(f"crops ({recipe.crops}) must be at least batch ({recipe.batch})")
    tf_keras.utils.set_random_seed(seed)
    model = _compiled(recipe, steps)

    def fresh_crops(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        crops = classifier_crops(train, usable, sizes[epoch], seed + 2 + epoch, style)
        return _in_passes(recipe, *crops, np.random.default_rng((seed, epoch)))

    @functools.cache  # drawing takes as long as training on them would
    def unseen_crops(size: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = classifier_crops(test, recipe.test_crops, size, seed + 1, style)
        return recipe.preprocess(images), labels

    if recipe.initialise:
        recipe.initialise(model, fresh_crops(0)[0][:64], np.random.default_rng(seed))
    epochs: list[Epoch] = []
    started = time.perf_counter()
    work_done, work = 0, sum(size**2 for size in sizes)
    with ThreadPoolExecutor(1) as drawing, bfloat16_arithmetic():
        coming = drawing.submit(fresh_crops, 0)
        for index, size in enumerate(sizes):
            images, labels = coming.result()
            if index + 1 < len(sizes):
                coming = drawing.submit(fresh_crops, index + 1)
            history, speed = _fit(model, images, labels, recipe.batch)
            accuracy = model.evaluate(*unseen_crops(size), batch_size=50, verbose=0)[1]
            epochs.append(Epoch(history["loss"][0], history["accuracy"][0], accuracy, speed))
            work_done += size**2
            left = (time.perf_counter() - started) * (work - work_done) / work_done
            say(
                f"epoch {index + 1:2d}/{len(sizes)}  {size} px  loss {epochs[-1].loss:.3f}  "
                f"accuracy {100 * epochs[-1].train_accuracy:.1f}%  "
                f"unseen {100 * accuracy:.1f}%  {speed:.0f} images/s  {left:.0f} s left"
            )
    finished = recipe.build(sizes[-1])
    finished.set_weights(model.get_weights())
    return finished, epochs


def _in_passes(
    recipe: Recipe, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What an epoch trains on: the crops, preprocessed, in as many variants as the recipe says."""
    again = [_varied(images, rng) for _ in range(recipe.passes - 1)]
    images = recipe.preprocess(np.concatenate([images, *again]))
    return images, np.tile(labels, recipe.passes)


def _fit(model, images: np.ndarray, labels: np.ndarray, batch: int) -> tuple[dict, float]:
    """Trains for an epoch; returns Keras's history and images per second."""
    begun = time.perf_counter()
    history = model.fit(images, labels, batch_size=batch, shuffle=False, verbose=0).history
    return history, len(images) / (time.perf_counter() - begun)


def _compiled(recipe: Recipe, steps: int):
    """A new model, ready for so many steps; it takes every size of the recipe."""
    import tf_keras

    model = recipe.build(recipe.sizes[0] if len(recipe.stages) == 1 else None)
    warmup = max(1, steps // 20)
    rate = tf_keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 100,
        warmup_target=recipe.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(1, steps - warmup),
    )
    model.compile(
        optimizer=tf_keras.optimizers.legacy.Adam(rate, global_clipnorm=MAX_GRADIENT_NORM),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def _varied(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same crops as if drawn in other inks: worth as much as new ones, at a tenth of the time.

    Colour channels change places, half of the crops become their own negative, and all are
    moved by up to `MAX_SHIFT` pixels, what leaves on one side coming in on the other.

    Args:
        images: uint8 [N, H, W, 3].
        rng: source of the changes.

    Returns:
        as `images`.
    """
    channels = rng.permuted(np.tile(np.arange(3), (len(images), 1)), axis=1)
    varied = np.take_along_axis(images, channels[:, None, None, :], axis=3)
    negative = rng.random(len(images)) < 0.5
    varied[negative] = 255 - varied[negative]
    shifts = rng.integers(-MAX_SHIFT, MAX_SHIFT + 1, (len(images), 2))
    for index, shift in enumerate(shifts):
        varied[index] = np.roll(varied[index], shift, (0, 1))
    return varied
