"""Building a model from a file, in Keras 2 or in Keras 3, and saying what keeps it from that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

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
    except Exception as error:  # whatever a damaged or foreign config provokes in Keras
        unknown = "Unknown" in str(error) or "Could not locate" in str(error)
        raise UserError(
            f"{keras} cannot build the model: {first_line(error)}",
            at=str(path),
            hint=BUILT_IN_ONLY if unknown else "check that the file is whole",
        ) from None
    if not model.built or not model.inputs:
        raise UserError(
            "the model has no input shape, so its weights have no shapes either",
            at=str(path),
            hint="begin it with tf.keras.Input((height, width, 3)), and save it again",
        )
    return model


def first_line(error: Exception) -> str:
    """What an exception says, without the lines of advice that Keras adds."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
