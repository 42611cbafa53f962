"""Classifiers as people build them: from Keras's guides, from tutorials, from papers.

`networks` has what they are made of; here is how they come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.architectures import networks
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


CLASSICS = (
    Classic("LeNet", networks.lenet, preprocessing="unit"),
    Classic("MNIST network of Keras's guide", networks.mnist, 3, preprocessing="unit"),
    Classic("CIFAR network of TensorFlow's guide", networks.cifar, preprocessing="unit"),
    Classic("flowers", networks.flowers, 3),
    Classic("four poolings, VALID", networks.four_poolings, saved="h5", preprocessing="unit"),
    Classic(
        "mini-XCEPTION",
        partial(networks.xception, size=(64, 64, 1), channels=(8, 16, 32, 64, 128), classes=7),
        saved="h5",
        preprocessing="tf",
    ),
    Classic(
        "tiny XCEPTION",
        partial(networks.xception, size=(48, 48, 1), channels=(5, 8, 16, 32, 64), classes=7),
        saved="h5",
        preprocessing="tf",
    ),
    Classic(
        "big XCEPTION",
        partial(networks.xception, size=(64, 64, 1), channels=(32, 128, 256), classes=2),
        saved="h5",
        preprocessing="tf",
    ),
    Classic("Teachable Machine", networks.teachable_machine, saved="h5", preprocessing="tf"),
    Classic("cats and dogs from scratch", networks.cats_and_dogs, 3),
    Classic("transfer learning, frozen base", networks.transfer_learning),
    Classic("transfer learning, frozen base", networks.transfer_learning, 3),
    *(
        Classic("VGG-16 with a head of its own", partial(networks.vgg, name="VGG16"), saved=saved)
        for saved in ("json+h5", "h5", "keras", "json+weights.h5")
    ),
    Classic("VGG-19", partial(networks.vgg, name="VGG19"), preprocessing="caffe"),
    Classic("ResNet-20 for CIFAR", networks.resnet20, preprocessing="unit"),
    *(
        Classic(
            "ResNet50V2, preprocess_input inside",
            partial(networks.with_preprocess_input, module="resnet_v2", name="ResNet50V2"),
            keras,
        )
        for keras in (2, 3)
    ),
    Classic(
        "DenseNet121, preprocess_input inside",
        partial(networks.with_preprocess_input, module="densenet", name="DenseNet121"),
        3,
    ),
    Classic("squeeze and excitation", networks.squeeze_and_excitation, 3, preprocessing="unit"),
    Classic("CBAM", networks.cbam, 3, preprocessing="unit"),
    Classic("vision transformer", networks.vision_transformer, 3),
    Classic("ConvMixer", networks.conv_mixer, 3),
    Classic("dilated", networks.dilated, preprocessing="unit"),
    Classic("GroupNormalization", networks.group_normalization, 3, preprocessing="unit"),
    Classic("PReLU, 96x64", networks.prelu, preprocessing="unit"),
    Classic("grey joined to three channels", networks.gray_joined, preprocessing="tf"),
    Classic("two outputs", networks.two_outputs, 3),
    Classic("mixed_float16", networks.mixed_float16, 3),
    Classic(
        "images of any size",
        partial(networks.five_convolutions, size=(None, None, 3)),
        3,
        preprocessing="unit",
    ),
    Classic("stride 64", networks.stride_64, preprocessing="unit"),
    Classic("Resizing in front", networks.resized),
    Classic(
        "SavedModel",
        partial(networks.five_convolutions, size=(96, 96, 3)),
        saved="saved_model",
        preprocessing="unit",
    ),
    Classic(
        "a file from Windows",
        partial(networks.five_convolutions, size=(96, 96, 3)),
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
