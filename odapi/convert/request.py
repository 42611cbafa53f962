"""What is asked of a conversion, and whether it goes together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from odapi.console.errors import UserError


class Architecture(StrEnum):
    """A kind of detector."""

    FASTER_RCNN = "faster_rcnn"
    MASK_RCNN = "mask_rcnn"
    SSD = "ssd"
    SSD_FPN = "ssd_fpn"

    @property
    def is_ssd(self) -> bool:
        return self in (Architecture.SSD, Architecture.SSD_FPN)


class Tail(StrEnum):
    """What the second stage of Faster R-CNN is made of."""

    FC = "fc"
    """VGG-16's fc1 and fc2, on crops of what block5_conv3 makes."""
    CONV = "conv"
    """The layers of the classifier after the cut, up to its pooling or flattening."""


@dataclass(frozen=True)
class Request:
    """What to convert, and into what; the fields are the flags of `odapi convert`.

    Attributes:
        source: a file, a folder or a name; None where there is a `model`.
        model: a model of this process, of either Keras, in place of `source`.
        verbose: print the table of all variables as well.
    """

    source: str | None
    output_dir: Path
    model: Any = None
    drop_layer: str | None = None
    weights: str | None = None
    architecture: Architecture = Architecture.FASTER_RCNN
    preprocessing: str | None = None
    preprocessing_in_front: bool = False
    cut_layer: str | None = None
    tail: Tail | None = None
    format: str = "tf2"
    label_map: str | None = None
    train_records: str | None = None
    eval_records: str | None = None
    num_classes: int | None = None
    image_size: tuple[int, int] | None = None
    force: bool = False
    verbose: bool = False


def check(request: Request) -> None:
    """Raises UserError for flags of which one excludes another."""
    if (request.source is None) is (request.model is None):
        raise UserError("give a source or a model, one of the two", at="source, model")
    if request.model is not None and request.weights is not None:
        raise UserError("a model of this process has its own weights", at="weights")
    if request.drop_layer is not None and request.preprocessing is None:
        raise UserError(
            "the layer that is left out prepared the images, and nothing else says how",
            at=f"--drop_layer {request.drop_layer}",
            hint="add --preprocessing: what the layer and all before it made of pixels 0..255",
        )
    if request.preprocessing_in_front and request.preprocessing is None:
        raise UserError("it does not say what comes in front", at="--preprocessing_in_front")
    size = request.image_size
    if size and size[0] > size[1] and not request.architecture.is_ssd:
        raise UserError("--image_size takes the shorter side first", at=" ".join(map(str, size)))
    if request.architecture.is_ssd and request.cut_layer:
        raise UserError("--cut_layer is for faster_rcnn and mask_rcnn", at=request.cut_layer)
