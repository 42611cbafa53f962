"""Classifiers as people build them: from Keras's guides, from tutorials, from papers.

Each is written from what is known of it, small enough to train for three steps, and saved as people
save it. The keras that a builder gets is Keras 2 (`tf.keras`) or Keras 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.small import windows


@dataclass(frozen=True)
class Classic:
    """A classifier, and how it comes.

    Attributes:
        name: what people call it.
        build: takes the keras, and returns the model.
        keras: 2 or 3.
        saved: "keras", "h5", "saved_model", "json+h5", "json+weights.h5" or "windows".
        preprocessing: what `--preprocessing` has to say; None where nothing is asked.
    """

    name: str
    build: Callable[[ModuleType], Any]
    keras: int = 2
    saved: str = "keras"
    preprocessing: str | None = None

    def __str__(self) -> str:
        return f"{self.name}, Keras {self.keras}, {self.saved}"


def _sequence(keras: ModuleType, size: tuple, *layers: Any) -> Any:
    return keras.Sequential([keras.Input(size), *layers])


def _head(keras: ModuleType, x: Any, classes: int = 4) -> Any:
    return keras.layers.Dense(classes, activation="softmax")(
        keras.layers.GlobalAveragePooling2D()(x)
    )


def _lenet(keras: ModuleType) -> Any:
    layers = keras.layers
    return _sequence(
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


def _mnist(keras: ModuleType) -> Any:
    layers = keras.layers
    return _sequence(
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


def _cifar(keras: ModuleType) -> Any:
    layers = keras.layers
    return _sequence(
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


def _flowers(keras: ModuleType) -> Any:
    layers = keras.layers
    blocks = []
    for channels in (16, 32, 64):
        blocks += [layers.Conv2D(channels, 3, padding="same", activation="relu")]
        blocks += [layers.MaxPooling2D()]
    return _sequence(
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


def _four_poolings(keras: ModuleType) -> Any:
    layers = keras.layers
    blocks = []
    for channels in (32, 64, 128, 128):
        blocks += [layers.Conv2D(channels, 3, activation="relu"), layers.MaxPooling2D(2)]
    return _sequence(
        keras,
        (150, 150, 3),
        *blocks,
        layers.Flatten(),
        layers.Dense(32, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    )


def _xception(keras: ModuleType, size: tuple, channels: tuple[int, ...], classes: int) -> Any:
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


def _teachable_machine(keras: ModuleType) -> Any:
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


def _cats_and_dogs(keras: ModuleType) -> Any:
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


def _transfer_learning(keras: ModuleType) -> Any:
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


def _vgg(keras: ModuleType, name: str) -> Any:
    base = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(64, 64, 3)
    )
    x = keras.layers.Dense(32, activation="relu")(keras.layers.Flatten()(base.output))
    return keras.Model(base.input, keras.layers.Dense(3, activation="softmax")(x))


def _resnet20(keras: ModuleType) -> Any:
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


def _with_preprocess_input(keras: ModuleType, module: str, name: str) -> Any:
    x = images = keras.Input((96, 96, 3))
    x = getattr(keras.applications, module).preprocess_input(x)
    base = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(96, 96, 3)
    )
    return keras.Model(images, _head(keras, base(x, training=False)))


def _squeeze_and_excitation(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    for depth in (16, 32, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu")(x)
        y = layers.GlobalAveragePooling2D()(x)
        y = layers.Dense(depth // 4, activation="relu")(y)
        y = layers.Reshape((1, 1, depth))(layers.Dense(depth, activation="sigmoid")(y))
        x = layers.multiply([x, y])
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    return keras.Model(images, _head(keras, x))


def _cbam(keras: ModuleType) -> Any:
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
    return keras.Model(images, _head(keras, x))


def _vision_transformer(keras: ModuleType) -> Any:
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


def _conv_mixer(keras: ModuleType) -> Any:
    """Trockman and Kolter, arXiv:2201.09792."""
    layers = keras.layers
    x = images = keras.Input((64, 64, 3))
    x = layers.Rescaling(1 / 255)(x)
    x = layers.BatchNormalization()(layers.Activation("gelu")(layers.Conv2D(32, 2, strides=2)(x)))
    for _ in range(3):
        y = layers.Activation("gelu")(layers.DepthwiseConv2D(5, padding="same")(x))
        x = layers.add([layers.BatchNormalization()(y), x])
        x = layers.BatchNormalization()(layers.Activation("gelu")(layers.Conv2D(32, 1)(x)))
    return keras.Model(images, _head(keras, x))


def _dilated(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    for depth in (16, 32, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu")(x)
    for rate in (2, 4):
        x = layers.Conv2D(64, 3, dilation_rate=rate, padding="same", activation="relu")(x)
    return keras.Model(images, _head(keras, x))


def _group_normalization(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    for depth in (16, 32, 64, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same")(x)
        x = layers.Activation("relu")(layers.GroupNormalization(8)(x))
    return keras.Model(images, _head(keras, x))


def _prelu(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 64, 3))
    for depth in (16, 32, 64, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same")(x)
        x = layers.PReLU(shared_axes=[1, 2])(x)
    return keras.Model(images, _head(keras, x))


def _gray_joined(keras: ModuleType) -> Any:
    layers = keras.layers
    images = keras.Input((96, 96, 1))
    base = keras.applications.MobileNetV2(
        weights=None, include_top=False, alpha=0.35, input_shape=(96, 96, 3)
    )
    x = layers.Concatenate()([images, images, images])
    return keras.Model(images, _head(keras, base(x)))


def _two_outputs(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    x = layers.Rescaling(1 / 255)(x)
    for depth in (16, 32, 64, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    kind = layers.Dense(5, activation="softmax", name="kind")(x)
    return keras.Model(images, [kind, layers.Dense(1, activation="sigmoid", name="sick")(x)])


def _five_convolutions(keras: ModuleType, size: tuple, **options: Any) -> Any:
    layers = keras.layers
    x = images = keras.Input(size)
    for depth in (16, 32, 64, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu", **options)(x)
    return keras.Model(images, _head(keras, x))


def _mixed_float16(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((96, 96, 3))
    x = layers.Rescaling(1 / 255, dtype="mixed_float16")(x)
    for depth in (16, 32, 64, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", dtype="mixed_float16")(x)
        x = layers.BatchNormalization(dtype="mixed_float16")(x)
        x = layers.Activation("relu", dtype="mixed_float16")(x)
    x = layers.GlobalAveragePooling2D(dtype="mixed_float16")(x)
    return keras.Model(images, layers.Dense(4, activation="softmax", dtype="float32")(x))


def _stride_64(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((256, 256, 3))
    for depth in (16, 16, 32, 32, 64, 64):
        x = layers.Conv2D(depth, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(images, _head(keras, x))


def _resized(keras: ModuleType) -> Any:
    layers = keras.layers
    x = images = keras.Input((300, 200, 3))
    x = layers.Rescaling(1 / 255)(layers.Resizing(96, 96)(x))
    for depth in (16, 32, 64, 64, 64):
        x = layers.MaxPooling2D()(layers.Conv2D(depth, 3, padding="same", activation="relu")(x))
    x = layers.Flatten()(x)
    return keras.Model(images, layers.Dense(3, activation="softmax")(x))


CLASSICS = (
    Classic("LeNet", _lenet, preprocessing="unit"),
    Classic("MNIST network of Keras's guide", _mnist, 3, preprocessing="unit"),
    Classic("CIFAR network of TensorFlow's guide", _cifar, preprocessing="unit"),
    Classic("flowers", _flowers, 3),
    Classic("four poolings, VALID", _four_poolings, saved="h5", preprocessing="unit"),
    Classic(
        "mini-XCEPTION",
        partial(_xception, size=(64, 64, 1), channels=(8, 16, 32, 64, 128), classes=7),
        saved="h5",
        preprocessing="tf",
    ),
    Classic(
        "tiny XCEPTION",
        partial(_xception, size=(48, 48, 1), channels=(5, 8, 16, 32, 64), classes=7),
        saved="h5",
        preprocessing="tf",
    ),
    Classic(
        "big XCEPTION",
        partial(_xception, size=(64, 64, 1), channels=(32, 128, 256), classes=2),
        saved="h5",
        preprocessing="tf",
    ),
    Classic("Teachable Machine", _teachable_machine, saved="h5", preprocessing="tf"),
    Classic("cats and dogs from scratch", _cats_and_dogs, 3),
    Classic("transfer learning, frozen base", _transfer_learning),
    Classic("transfer learning, frozen base", _transfer_learning, 3),
    *(
        Classic("VGG-16 with a head of its own", partial(_vgg, name="VGG16"), saved=saved)
        for saved in ("json+h5", "h5", "keras", "json+weights.h5")
    ),
    Classic("VGG-19", partial(_vgg, name="VGG19"), preprocessing="caffe"),
    Classic("ResNet-20 for CIFAR", _resnet20, preprocessing="unit"),
    *(
        Classic(
            "ResNet50V2, preprocess_input inside",
            partial(_with_preprocess_input, module="resnet_v2", name="ResNet50V2"),
            keras,
        )
        for keras in (2, 3)
    ),
    Classic(
        "DenseNet121, preprocess_input inside",
        partial(_with_preprocess_input, module="densenet", name="DenseNet121"),
        3,
    ),
    Classic("squeeze and excitation", _squeeze_and_excitation, 3, preprocessing="unit"),
    Classic("CBAM", _cbam, 3, preprocessing="unit"),
    Classic("vision transformer", _vision_transformer, 3),
    Classic("ConvMixer", _conv_mixer, 3),
    Classic("dilated", _dilated, preprocessing="unit"),
    Classic("GroupNormalization", _group_normalization, 3, preprocessing="unit"),
    Classic("PReLU, 96x64", _prelu, preprocessing="unit"),
    Classic("grey joined to three channels", _gray_joined, preprocessing="tf"),
    Classic("two outputs", _two_outputs, 3),
    Classic("mixed_float16", _mixed_float16, 3),
    Classic(
        "images of any size",
        partial(_five_convolutions, size=(None, None, 3)),
        3,
        preprocessing="unit",
    ),
    Classic("stride 64", _stride_64, preprocessing="unit"),
    Classic("Resizing in front", _resized),
    Classic(
        "SavedModel",
        partial(_five_convolutions, size=(96, 96, 3)),
        saved="saved_model",
        preprocessing="unit",
    ),
    Classic(
        "a file from Windows",
        partial(_five_convolutions, size=(96, 96, 3)),
        saved="windows",
        preprocessing="unit",
    ),
)


def save(classic: Classic, model: Any, folder: Path) -> tuple[Path, Path | None]:
    """Saves a model as people do.

    Returns:
        What `odapi convert` takes for SOURCE, and for --weights.
    """
    if classic.saved == "saved_model":
        model.save(folder / "model", save_format="tf")
        return folder / "model", None
    if not classic.saved.startswith("json"):
        suffix = "keras" if classic.saved == "windows" else classic.saved
        model.save(folder / f"model.{suffix}")
        if classic.saved == "windows":
            windows.rename_groups(folder / "model.keras")
        return folder / f"model.{suffix}", None
    weights = folder / f"model.{classic.saved.partition('+')[2]}"
    model.save_weights(weights)
    (folder / "model.json").write_text(model.to_json())
    return folder / "model.json", weights
