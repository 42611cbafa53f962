"""The demo's image classifier: a VGG-16 that tells ten digits apart, trained in minutes.

It is an ordinary Keras 2 model with the layer names of `keras.applications.VGG16`, so that
`odapi convert` treats it like anybody's. Only the bridge between the convolutions and `fc1`
differs: it does to the features of the picture what a Faster R-CNN does to those of an RoI
(enlarge to 14x14, pool to 7x7), so that `fc1` and `fc2` fit the detector's second stage in
meaning and not in shape alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from odapi.demo.cpu import bfloat16_arithmetic
from odapi.demo.scenes import DEFAULT_STYLE, Digits, SceneStyle, classifier_crops

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Width and number of the convolutions of each block (Simonyan and Zisserman, table 1, D)."""

DROPOUT = 0.1
"""Share of `fc1` and `fc2` left out in training. Crops are never seen twice, so that training
and unseen accuracy go together, and VGG's own 0.5 only slows the start."""

MAX_GRADIENT_NORM = 5.0
"""Bound of the gradient's global norm, the usual guard of a deep network without normalisation."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train.

    The default reaches 95.8 per cent on 500 crops of unseen digits (seed 7) in 610 seconds of
    processor time on an AMD EPYC with bfloat16 instructions: about half that on two free cores.

    Attributes:
        stages: (height and width of the crops, epochs) in order. The convolutions learn as
            well from small crops, twice as fast; the last size is the finished model's input.
        crops: fresh training crops in each epoch.
        test_crops: crops of unseen digits, the same after every epoch.
        batch: crops in a step.
        learning_rate: Adam's peak, reached after a twentieth of the steps, then a cosine to 0.
        width: units of `fc1` and `fc2`; the detector takes them over at 4096 only.
    """

    stages: tuple[tuple[int, int], ...] = ((32, 8), (48, 8))
    crops: int = 1024
    test_crops: int = 500
    batch: int = 32
    learning_rate: float = 4e-4
    width: int = 4096

    @property
    def sizes(self) -> list[int]:
        """The crops' size in each epoch."""
        return [size for size, epochs in self.stages for _ in range(epochs)]


DEFAULT_RECIPE = Recipe()


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures: mean training loss, accuracies in 0..1, crops per second."""

    loss: float
    train_accuracy: float
    test_accuracy: float
    images_per_second: float


def build_classifier(input_size: int | None, width: int = 4096, classes: int = 10):
    """An untrained classifier (a `tf_keras.Model`).

    Input: float32 [N, input_size, input_size, 3] as `preprocess` makes it. Output: float32
    [N, classes], probabilities. With `input_size` None it takes pictures of any size.
    """
    import tf_keras

    layers = tf_keras.layers
    inputs = features = layers.Input((input_size, input_size, 3), name="image")
    for block, (filters, depth) in enumerate(BLOCKS, start=1):
        for index in range(1, depth + 1):
            features = layers.Conv2D(
                filters, 3, padding="same", activation="relu", name=f"block{block}_conv{index}"
            )(features)
        if block < len(BLOCKS):
            features = layers.MaxPooling2D(2, name=f"block{block}_pool")(features)
    features = layers.Resizing(14, 14, interpolation="bilinear", name="roi_resize")(features)
    features = layers.MaxPooling2D(2, name="roi_pool")(features)
    features = layers.Flatten(name="flatten")(features)
    for name in ("fc1", "fc2"):
        features = layers.Dense(width, activation="relu", name=name)(features)
        features = layers.Dropout(DROPOUT, name=f"{name}_dropout")(features)
    outputs = layers.Dense(classes, activation="softmax", name="predictions")(features)
    return tf_keras.Model(inputs, outputs, name="vgg16_digits")


def preprocess(images: np.ndarray) -> np.ndarray:
    """Keras's VGG-16 input from RGB 0..255: float32 BGR minus [103.939, 116.779, 123.68]."""
    import tf_keras

    return tf_keras.applications.vgg16.preprocess_input(images.astype(np.float32))


def train_classifier(
    train: Digits,
    test: Digits,
    recipe: Recipe = DEFAULT_RECIPE,
    seed: int = 0,
    style: SceneStyle = DEFAULT_STYLE,
    say: Callable[[str], None] = print,
):
    """Trains a classifier on crops of scenes; `say` gets one line per epoch.

    Returns:
        the model (save it with `model.save("x.keras")`, or as JSON and weights) and the
        figures of each `Epoch`.

    Raises:
        ValueError: an epoch has less than one batch of crops.
    """
    import tf_keras

    sizes = recipe.sizes
    usable = recipe.crops // recipe.batch * recipe.batch
    steps = usable // recipe.batch * len(sizes)
    if not steps:
        raise ValueError(f"crops ({recipe.crops}) must be at least batch ({recipe.batch})")
    tf_keras.utils.set_random_seed(seed)
    model = build_classifier(None, recipe.width)
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

    def fresh_crops(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = classifier_crops(train, usable, sizes[epoch], seed + 2 + epoch, style)
        return preprocess(images), labels

    def unseen_crops(size: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = classifier_crops(test, recipe.test_crops, size, seed + 1, style)
        return preprocess(images), labels

    _initialise(model, fresh_crops(0)[0][:64], np.random.default_rng(seed))
    epochs: list[Epoch] = []
    started = time.perf_counter()
    work_done, work = 0, sum(size**2 for size in sizes)
    with ThreadPoolExecutor(1) as drawing, bfloat16_arithmetic():
        coming = drawing.submit(fresh_crops, 0)
        for index, size in enumerate(sizes):
            images, labels = coming.result()
            if index + 1 < len(sizes):
                coming = drawing.submit(fresh_crops, index + 1)
            begun = time.perf_counter()
            history = model.fit(
                images, labels, batch_size=recipe.batch, shuffle=False, verbose=0
            ).history
            speed = usable / (time.perf_counter() - begun)
            accuracy = model.evaluate(*unseen_crops(size), batch_size=50, verbose=0)[1]
            epochs.append(Epoch(history["loss"][0], history["accuracy"][0], accuracy, speed))
            work_done += size**2
            left = (time.perf_counter() - started) * (work - work_done) / work_done
            say(
                f"epoch {index + 1:2d}/{len(sizes)}  {size} px  loss {epochs[-1].loss:.3f}  "
                f"accuracy {100 * epochs[-1].train_accuracy:.1f}%  "
                f"unseen {100 * accuracy:.1f}%  {speed:.0f} images/s  {left:.0f} s left"
            )
    finished = build_classifier(sizes[-1], recipe.width)
    finished.set_weights(model.get_weights())
    return finished, epochs


def _initialise(model, images: np.ndarray, rng: np.random.Generator) -> None:
    """Starts the network nearly shallow and centred, so that it learns at once.

    With thirteen convolutions in a row and no normalisation, He's initialisation did not leave
    chance level within 8,000 crops: the features of any two pictures were nearly the same
    (cosine above 0.9). Two remedies, which brought 65 per cent after 3,000:

    - a layer that keeps its number of channels begins as the identity plus a fifth of He's
      noise (Zagoruyko and Komodakis, DiracNets, 2017), which a ReLU passes on unchanged: five
      convolutions learn first, the others join in;
    - any other layer is scaled and shifted to mean 0 and deviation 1 in every channel, over
      `images` (Kraehenbuehl et al., Data-dependent Initializations, 2016).

    Args:
        model: from `build_classifier`.
        images: float32 [N, H, W, 3], preprocessed.
        rng: source of the noise.
    """
    features = images
    for layer in model.layers:
        if layer.weights:
            shape = layer.kernel.shape
            kernel = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[:-1]))
            bias = np.zeros(shape[-1], np.float32)
            if shape[-2] == shape[-1]:
                kernel *= 0.2
                centre = kernel[1, 1] if kernel.ndim == 4 else kernel
                centre += np.eye(len(centre), dtype=np.float32)
            else:
                layer.set_weights([kernel, bias])
                activation, layer.activation = layer.activation, None
                response = layer(features).numpy().reshape(-1, shape[-1])
                layer.activation = activation
                scale = 1 / (response.std(axis=0) + 1e-3)
                if layer.name == "predictions":
                    scale /= 5  # begin undecided
                kernel, bias = kernel * scale, -response.mean(axis=0) * scale
            layer.set_weights([kernel, bias])
        features = layer(features)
