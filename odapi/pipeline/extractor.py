"""Which model a pipeline config describes, and whether this tree can build its backbone."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from odapi.console.errors import UserError


def architecture(config: Any) -> Any:
    """The message inside `model`: FasterRcnn, Ssd, CenterNet."""
    return getattr(config.model, config.model.WhichOneof("model"))


def num_classes(config: Any) -> int:
    """Number of classes without the background."""
    return architecture(config).num_classes


def check_feature_extractor(config: Any) -> str:
    """Checks that the model's backbone is one this tree can build.

    Returns:
        Its `type`.

    Raises:
        UserError: it is unknown; the message names the nearest valid ones.
    """
    from object_detection.builders import model_builder
    from object_detection.models.keras_models import classifier_backbone

    kind = config.model.WhichOneof("model")
    known = {
        "faster_rcnn": model_builder.FASTER_RCNN_KERAS_FEATURE_EXTRACTOR_CLASS_MAP,
        "ssd": model_builder.SSD_KERAS_FEATURE_EXTRACTOR_CLASS_MAP,
        "center_net": model_builder.CENTER_NET_EXTRACTOR_FUNCTION_MAP,
    }.get(kind)
    if known is None:
        return kind
    extractor = architecture(config).feature_extractor.type
    field = f"config: model.{kind}.feature_extractor.type"
    prefix = classifier_backbone.TYPE_PREFIX
    if extractor.startswith(prefix) and kind in ("faster_rcnn", "ssd"):
        _check_classifier(config, extractor.removeprefix(prefix), field)
        return extractor
    if extractor not in known:
        nearest = difflib.get_close_matches(extractor, known, n=3, cutoff=0.3) or sorted(known)
        raise UserError(
            f"unknown feature extractor type {extractor!r} for {kind}",
            at=field,
            hint="nearest valid values: " + ", ".join(nearest),
        )
    return extractor


class BackboneRefused(UserError):
    """A description of a backbone names what is not on the list of what may be read."""


def _check_classifier(config: Any, source: str, field: str) -> None:
    from object_detection.models.keras_models.classifier_backbone import (
        FILE_NAME,
        BackboneDescription,
    )
    from object_detection.models.keras_models.keras_config import Refusal

    def read(place: str, where: str) -> Any:
        try:
            return BackboneDescription.read(place)
        except Refusal as refusal:
            raise BackboneRefused(
                refusal.reason,
                at=f"{where}, layer {refusal.layer!r}" if refusal.layer else where,
                hint="a backbone comes from odapi convert; do not use a folder from elsewhere "
                "that you cannot convert again yourself",
            ) from None
        except ValueError as error:
            raise UserError(
                str(error),
                at=where,
                hint="name the folder that odapi convert wrote, or a network of keras.applications",
            ) from None

    images = read(source, field).preprocessing
    checkpoint = Path(config.train_config.fine_tune_checkpoint).parent
    if not (checkpoint / FILE_NAME).is_file() or checkpoint == Path(source):
        return
    # The weights of one classifier and the preprocessing of another train, to a poor detector.
    other = read(str(checkpoint), "config: train_config.fine_tune_checkpoint").preprocessing
    if other != images:
        raise UserError(
            f"the checkpoint's classifier preprocesses images by {other.mode} ({other.channels}), "
            f"and the feature extractor's by {images.mode} ({images.channels})",
            at=f"{field}; train_config.fine_tune_checkpoint",
            hint=f"set type: 'keras:{checkpoint}'",
        )
