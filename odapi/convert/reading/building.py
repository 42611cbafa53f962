"""Builds a model from a file, in Keras 2 or in Keras 3, or says what keeps it from that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from object_detection.models.keras_models import keras_graph

from odapi.convert.reading import tensors
from odapi.convert.reading.text import one_line
from odapi.errors import UserError

BUILT_IN_ONLY = "save a Sequential or functional model of Keras' own layers"

Model = TypeVar("Model")
"""A model of either Keras."""


def built(path: Path, build: Callable[[], Model], keras: str = "Keras") -> Model:
    """Calls `build`, and returns the model if its weights have shapes.

    Args:
        path: the file, for messages.
        build: makes the model.
        keras: what the library is called.

    Raises:
        UserError: `build` failed, or the model has no input shape.
    """
    try:
        model = build()
    except keras_graph.Refusal as refusal:
        raise UserError(refusal.reason, at=f"{path}, {refusal.layer}", hint=BUILT_IN_ONLY) from None
    except Exception as error:  # whatever a damaged or foreign config provokes in Keras
        unknown = "Unknown" in str(error) or "Could not locate" in str(error)
        raise UserError(
            f"{keras} cannot build the model: {one_line(error)}",
            at=str(path),
            hint=BUILT_IN_ONLY if unknown else "check that the file is whole",
        ) from None
    require_shapes(model, path)
    return model


def require_shapes(model: Any, path: Path | str) -> None:
    """Raises UserError if a model's weights have no shapes, or its tensors no bounds.

    Args:
        model: of either Keras.
        path: what messages call it.
    """
    if not model.built or not getattr(model, "inputs", None):
        raise UserError(
            "the model has no input shape, so its weights have no shapes either",
            at=str(path),
            hint="begin it with tf.keras.Input((height, width, 3)), and save it again",
        )
    tensors.check(model, path)
