"""Builds a model from a file, in Keras 2 or in Keras 3, or says what keeps it from that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from object_detection.models.keras_models import keras_graph, keras_sizes

from odapi.console.errors import UserError
from odapi.convert.reading.refusals import BUILT_IN_ONLY, refusal_error
from odapi.convert.reading.text import one_line

Model = TypeVar("Model")
"""A model of either Keras."""


def build_model(path: Path, build: Callable[[], Model], keras: str = "Keras") -> Model:
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
        raise refusal_error(refusal, path) from None
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
    """Raises UserError if a model's weights have no shapes, or its tensors are too large.

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
    try:
        keras_sizes.check(model)
    except keras_graph.Refusal as refusal:
        raise refusal_error(refusal, path) from None
    except Exception as error:  # a layer that does not take what the one before it gives
        raise UserError(
            f"the model cannot be run on an image: {one_line(error)}",
            at=str(path),
            hint="check that the file is whole, and that the model runs in Keras",
        ) from None


@contextlib.contextmanager
def as_user_errors(what: str) -> Iterator[None]:
    """Turns whatever a damaged or hostile file provokes into one line.

    What the door looks at, it answers for itself. Behind it Keras, h5py and TensorFlow read and run
    what they were given, and each has a hundred ways to say that it does not fit.

    Args:
        what: the file, for the message.

    Raises:
        UserError: in place of any other exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the model cannot be used: {one_line(error)} ({type(error).__name__})",
            at=what,
            hint="check that the files are whole, and that the model runs in Keras",
        ) from error
