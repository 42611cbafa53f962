"""The networks that the demo's classifiers are made of; untrained Keras 2 models all of them.

Each takes float32 [N, size, size, 3] and returns probabilities, float32 [N, classes].
"""

from __future__ import annotations

import numpy as np

SMALL_WIDTHS = (16, 32, 64, 128, 192)
"""Channels of the small network at strides 2, 4, 8, 16 and 32: 0.9 million parameters.

Multiples of 16, which oneDNN's kernels are made for: with 24 channels at stride 2 it trained on
1,030 crops a second in place of 1,740.
"""

STATISTICS_MOMENTUM = 0.9
"""How much batch normalisation keeps of its running statistics at each step.

A detector uses these statistics and never corrects them. Keras's 0.99, and 0.999 in MobileNetV2,
are for ImageNet's hundred thousands of steps: after the demo's fifteen hundred the latter are
still to a fifth what they began as.
"""

VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Width and number of the convolutions of each block (Simonyan and Zisserman, table 1, D)."""

DROPOUT = 0.1
"""Share of `fc1` and `fc2` left out in training. Crops are never seen twice, so that training
and unseen accuracy go together, and VGG's own 0.5 only slows the start."""


def small(size: int, classes: int = 10):
    """A residual network for RGB 0..255: its first layer scales them.

    A stem of stride 2 and four blocks (He et al., arXiv:1512.03385, figure 2), each of which
    halves the picture, so that one ends at every stride from 4 to 32. What comes after stride 16
    is a detector's second stage.
    """
    import tf_keras

    layers = tf_keras.layers

    def convolution(features, channels: int, kernel: int, stride: int, name: str):
        features = layers.Conv2D(
            channels, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"
        )(features)
        return layers.BatchNormalization(momentum=STATISTICS_MOMENTUM, name=f"{name}_norm")(
            features
        )

    inputs = layers.Input((size, size, 3), name="image")
    features = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(inputs)
    features = convolution(features, SMALL_WIDTHS[0], 3, 2, "stem")
    features = layers.ReLU(name="stem_relu")(features)
    for block, channels in enumerate(SMALL_WIDTHS[1:], start=1):
        name = f"block{block}"
        shortcut = convolution(features, channels, 1, 2, f"{name}_shortcut")
        features = convolution(features, channels, 3, 2, f"{name}_first")
        features = layers.ReLU(name=f"{name}_relu")(features)
        features = convolution(features, channels, 3, 1, f"{name}_second")
        features = layers.Add(name=f"{name}_add")([features, shortcut])
        features = layers.ReLU(name=f"{name}_out")(features)
    features = layers.GlobalAveragePooling2D(name="pooling")(features)
    outputs = layers.Dense(classes, activation="softmax", name="predictions")(features)
    return tf_keras.Model(inputs, outputs, name="small")


def mobilenetv2(size: int, classes: int = 10):
    """`keras.applications.MobileNetV2`, for RGB -1..1."""
    import tf_keras

    model = tf_keras.applications.MobileNetV2(
        weights=None, classes=classes, input_shape=(size, size, 3)
    )
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = STATISTICS_MOMENTUM
    return model


def vgg16(size: int | None, classes: int = 10, width: int = 4096):
    """VGG-16 with the layer names of `keras.applications`, for BGR less ImageNet's means.

    Only the bridge between the convolutions and `fc1` differs: it does to the features of the
    picture what a Faster R-CNN does to those of an RoI (enlarge to 14x14, pool to 7x7), so that
    `fc1` and `fc2` fit the detector's second stage in meaning and not in shape alone.

    Args:
        size: height and width of the pictures; with None, any.
        classes: number of classes.
        width: units of `fc1` and `fc2`; a detector takes them over at 4096 only.
    """
    import tf_keras

    layers = tf_keras.layers
    inputs = features = layers.Input((size, size, 3), name="image")
    for block, (filters, depth) in enumerate(VGG16_BLOCKS, start=1):
        for index in range(1, depth + 1):
            features = layers.Conv2D(
                filters, 3, padding="same", activation="relu", name=f"block{block}_conv{index}"
            )(features)
        if block < len(VGG16_BLOCKS):
            features = layers.MaxPooling2D(2, name=f"block{block}_pool")(features)
    features = layers.Resizing(14, 14, interpolation="bilinear", name="roi_resize")(features)
    features = layers.MaxPooling2D(2, name="roi_pool")(features)
    features = layers.Flatten(name="flatten")(features)
    for name in ("fc1", "fc2"):
        features = layers.Dense(width, activation="relu", name=name)(features)
        features = layers.Dropout(DROPOUT, name=f"{name}_dropout")(features)
    outputs = layers.Dense(classes, activation="softmax", name="predictions")(features)
    return tf_keras.Model(inputs, outputs, name="vgg16_digits")


def initialise_vgg16(model, images: np.ndarray, rng: np.random.Generator) -> None:
    """Starts a `vgg16` nearly shallow and centred, so that it learns at once.

    With thirteen convolutions in a row and no normalisation, He's initialisation did not leave
    chance level within 8,000 crops: the features of any two pictures were nearly the same
    (cosine above 0.9). Two remedies, which brought 65 per cent after 3,000:

    - a layer that keeps its number of channels begins as the identity plus a fifth of He's
      noise (Zagoruyko and Komodakis, DiracNets, 2017), which a ReLU passes on unchanged: five
      convolutions learn first, the others join in;
    - any other layer is scaled and shifted to mean 0 and deviation 1 in every channel, over
      `images` (Kraehenbuehl et al., Data-dependent Initializations, 2016).

    Args:
        model: from `vgg16`.
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
