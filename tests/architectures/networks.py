"""Networks of classifiers as people build them, written from what is known of each.

Each function takes the keras, Keras 2 (`tf.keras`) or Keras 3, and returns a model small enough to
train for three steps.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any


def sequence(keras: ModuleType, size: tuple, *layers: Any) -> Any:
    return keras.Sequential([keras.Input(size), *layers])


def head(keras: ModuleType, x: Any, classes: int = 4) -> Any:
    return keras.layers.Dense(classes, activation="softmax")(
        keras.layers.GlobalAveragePooling2D()(x)
    )


def lenet(keras: ModuleType) -> Any:
    layers = keras.layers
    return sequence(
        keras,
        (28, 28, 1),
        layers.Conv2D(6, 5, activation="tanh", padding="same"),
        layers.AveragePooling2D(),
        layers.Conv2D(16, 5, activation="tanh"),
        layers.AveragePooling2D(),
        layers.Flatten(),
        layers.Dense(120, activation="tanh"),
        layers.Dense(84, activation="tanh"),
        layers.Dense(10, activation="softmax"),
    )


def mnist(keras: ModuleType) -> Any:
    layers = keras.layers
    return sequence(
        keras,
        (28, 28, 1),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    )


def cifar(keras: ModuleType) -> Any:
    layers = keras.layers
    return sequence(
        keras,
        (32, 32, 3),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10),
    )


def flowers(keras: ModuleType) -> Any:
    layers = keras.layers
    blocks = []
    for channels in (16, 32, 64):
        blocks += [layers.Conv2D(channels, 3, padding="same", activation="relu")]
        blocks += [layers.MaxPooling2D()]
    return sequence(
        keras,
        (180, 180, 3),
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.1),
        layers.Rescaling(1 / 255),
        *blocks,
        layers.Dropout(0.2),
        layers.Flatten(),
        layers.Dense(32, activation="relu"),
        layers.Dense(5),
    )


def four_poolings(keras: ModuleType) -> Any:
    layers = keras.layers
    blocks = []
    for channels in (32, 64, 128, 128):
        blocks += [layers.Conv2D(channels, 3, activation="relu"), layers.MaxPooling2D(2)]
    return sequence(
        keras,
        (150, 150, 3),
        *blocks,
        layers.Flatten(),
        layers.Dense(32, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    )


def xception(keras: ModuleType, size: tuple, channels: tuple[int, ...], classes: int) -> Any:
    """Mini-XCEPTION and its sisters: Arriaga et al., arXiv:1710.07557, figure 3."""
    layers = keras.layers

    def normalized(x: Any) -> Any:
        return layers.BatchNormalization()(x)

    x = images = keras.Input(size)
    for _ in range(2):
        x = normalized(layers.Conv2D(channels[0], 3, use_bias=False)(x))
        x = layers.Activation("relu")(x)
    for depth in channels[1:]:
        aside = normalized(layers.Conv2D(depth, 1, strides=2, padding="same", use_bias=False)(x))
        x = normalized(layers.SeparableConv2D(depth, 3, padding="same", use_bias=False)(x))
        x = layers.Activation("relu")(x)
        x = normalized(layers.SeparableConv2D(depth, 3, padding="same", use_bias=False)(x))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = layers.add([x, aside])
    x = layers.Conv2D(classes, 3, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Activation("softmax", name="predictions")(x))


def teachable_machine(keras: ModuleType) -> Any:
    base = keras.applications.MobileNet(
        weights=None, include_top=False, alpha=0.25, input_shape=(224, 224, 3)
    )
    features = keras.Sequential([base, keras.layers.GlobalAveragePooling2D()])
    head = keras.Sequential(
        [
            keras.Input((256,)),
            keras.layers.Dense(100, activation="relu"),
            keras.layers.Dense(3, activation="softmax", use_bias=False),
        ]
    )
    return keras.Sequential([features, head])


def cats_and_dogs(keras: ModuleType) -> Any:
    """The network of "Image classification from scratch": a small Xception."""
    layers = keras.layers
    x = images = keras.Input((180, 180, 3))
    x = layers.Rescaling(1 / 255)(x)
    x = layers.BatchNormalization()(layers.Conv2D(32, 3, strides=2, padding="same")(x))
    before = x = layers.Activation("relu")(x)
    for depth in (64, 96, 128):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = layers.SeparableConv2D(depth, 3, padding="same")(x)
            x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        aside = layers.Conv2D(depth, 1, strides=2, padding="same")(before)
        before = x = layers.add([x, aside])
    x = layers.BatchNormalization()(layers.SeparableConv2D(192, 3, padding="same")(x))
    x = layers.GlobalAveragePooling2D()(layers.Activation("relu")(x))
    return keras.Model(images, layers.Dense(1)(layers.Dropout(0.25)(x)))


def transfer_learning(keras: ModuleType) -> Any:
    layers = keras.layers
    base = keras.applications.MobileNetV2(
        weights=None, include_top=False, alpha=0.35, input_shape=(160, 160, 3)
    )
    base.trainable = False
    x = images = keras.Input((160, 160, 3))
    x = layers.RandomFlip("horizontal")(x)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    return keras.Model(images, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))


def vgg(keras: ModuleType, name: str) -> Any:
    base = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(64, 64, 3)
    )
    x = keras.layers.Dense(32, activation="relu")(keras.layers.Flatten()(base.output))
    return keras.Model(base.input, keras.layers.Dense(3, activation="softmax")(x))


def resnet20(keras: ModuleType) -> Any:
    """ResNet-20 for CIFAR: He et al., arXiv:1512.03385, section 4.2."""
    layers = keras.layers

    def convolved(x: Any, depth: int, kernel: int = 3, stride: int = 1) -> Any:
        return layers.Conv2D(depth, kernel, strides=stride, padding="same")(x)

    x = images = keras.Input((32, 32, 3))
    x = layers.ReLU()(layers.BatchNormalization()(convolved(x, 16)))
    for depth in (16, 32, 64):
        for block in range(3):
            stride = 2 if block == 0 and depth > 16 else 1
            y = layers.ReLU()(layers.BatchNormalization()(convolved(x, depth, stride=stride)))
            y = layers.BatchNormalization()(convolved(y, depth))
            aside = x if stride == 1 else convolved(x, depth, 1, stride)
            x = layers.ReLU()(layers.add([y, aside]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(images, layers.Dense(10, activation="softmax")(x))


def with_preprocess_input(keras: ModuleType, module: str, name: str) -> Any:
    x = images = keras.Input((96, 96, 3))
    x = getattr(keras.applications, module).preprocess_input(x)
    base = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(96, 96, 3)
    )
    return keras.Model(images, head(keras, base(x, training=False)))


def squeeze_and_excitation(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    for depth in (16, 32, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu")(x)
        y = layers.GlobalAveragePooling2D()(x)
        y = layers.Dense(depth // 4, activation="relu")(y)
        y = layers.Reshape((1, 1, depth))(layers.Dense(depth, activation="sigmoid")(y))
        x = layers.multiply([x, y])
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    return keras.Model(images, head(keras, x))


def cbam(keras: ModuleType) -> Any:
    """Attention over channels and places: Woo et al., arXiv:1807.06521, by Keras 3's operations."""
    layers, ops = keras.layers, keras.ops
    x = images = keras.Input((96, 96, 3))
    for depth in (16, 32, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu")(x)
        shared = layers.Dense(depth // 4, activation="relu")
        widened = layers.Dense(depth)
        mean = widened(shared(ops.mean(x, axis=(1, 2), keepdims=True)))
        most = widened(shared(ops.max(x, axis=(1, 2), keepdims=True)))
        x = x * ops.sigmoid(mean + most)
        places = ops.concatenate(
            [ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)], axis=-1
        )
        x = x * layers.Conv2D(1, 7, padding="same", activation="sigmoid")(places)
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    return keras.Model(images, head(keras, x))


def vision_transformer(keras: ModuleType) -> Any:
    """Patches by a convolution, and attention: Dosovitskiy et al., arXiv:2010.11929."""
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    x = layers.Rescaling(1 / 255)(x)
    x = layers.Reshape((36, 32))(layers.Conv2D(32, 16, strides=16)(x))
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.add([x, layers.MultiHeadAttention(2, 16)(y, y)])
        y = layers.Dense(64, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        x = layers.add([x, layers.Dense(32)(y)])
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(images, layers.Dense(4, activation="softmax")(x))


def conv_mixer(keras: ModuleType) -> Any:
    """Trockman and Kolter, arXiv:2201.09792."""
    layers = keras.layers
    x = images = keras.Input((64, 64, 3))
    x = layers.Rescaling(1 / 255)(x)
    x = layers.BatchNormalization()(layers.Activation("gelu")(layers.Conv2D(32, 2, strides=2)(x)))
    for _ in range(3):
        y = layers.Activation("gelu")(layers.DepthwiseConv2D(5, padding="same")(x))
        x = layers.add([layers.BatchNormalization()(y), x])
        x = layers.BatchNormalization()(layers.Activation("gelu")(layers.Conv2D(32, 1)(x)))
    return keras.Model(images, head(keras, x))


def dilated(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    for depth in (16, 32, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu")(x)
    for rate in (2, 4):
        x = layers.Conv2D(64, 3, dilation_rate=rate, padding="same", activation="relu")(x)
    return keras.Model(images, head(keras, x))


def group_normalization(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    for depth in (16, 32, 64, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same")(x)
        x = layers.Activation("relu")(layers.GroupNormalization(8)(x))
    return keras.Model(images, head(keras, x))


def prelu(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 64, 3))
    for depth in (16, 32, 64, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same")(x)
        x = layers.PReLU(shared_axes=[1, 2])(x)
    return keras.Model(images, head(keras, x))


def gray_joined(keras: ModuleType) -> Any:
    layers = keras.layers
    images = keras.Input((96, 96, 1))
    base = keras.applications.MobileNetV2(
        weights=None, include_top=False, alpha=0.35, input_shape=(96, 96, 3)
    )
    x = layers.Concatenate()([images, images, images])
    return keras.Model(images, head(keras, base(x)))


def two_outputs(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    x = layers.Rescaling(1 / 255)(x)
    for depth in (16, 32, 64, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    kind = layers.Dense(5, activation="softmax", name="kind")(x)
    return keras.Model(images, [kind, layers.Dense(1, activation="sigmoid", name="sick")(x)])


def five_convolutions(keras: ModuleType, size: tuple, **options: Any) -> Any:
    layers = keras.layers
    x = images = keras.Input(size)
    for depth in (16, 32, 64, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu", **options)(x)
    return keras.Model(images, head(keras, x))


def mixed_float16(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    x = layers.Rescaling(1 / 255, dtype="mixed_float16")(x)
    for depth in (16, 32, 64, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", dtype="mixed_float16")(x)
        x = layers.BatchNormalization(dtype="mixed_float16")(x)
        x = layers.Activation("relu", dtype="mixed_float16")(x)
    x = layers.GlobalAveragePooling2D(dtype="mixed_float16")(x)
    return keras.Model(images, layers.Dense(4, activation="softmax", dtype="float32")(x))


def stride_64(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((256, 256, 3))
    for depth in (16, 16, 32, 32, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(images, head(keras, x))


def resized(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((300, 200, 3))
    x = layers.Rescaling(1 / 255)(layers.Resizing(96, 96)(x))
    for depth in (16, 32, 64, 64, 64):
        x = layers.MaxPooling2D()(layers.Conv2D(depth, 3, padding="same", activation="relu")(x))
    x = layers.Flatten()(x)
    return keras.Model(images, layers.Dense(3, activation="softmax")(x))
