"""What the user is told of a model that holds what it may not."""

from __future__ import annotations

from pathlib import Path

from object_detection.models.keras_models import keras_graph

from odapi.console.errors import UserError
from odapi.convert.reading.text import one_line

BUILT_IN_ONLY = "save a Sequential or functional model of Keras' own layers"

_WITH_CODE = (
    "if it comes first, leave it out: --drop_layer NAME --preprocessing ...; or convert the model "
    "from the Python that makes it: odapi.convert(model=...)"
)


def refusal_error(refusal: keras_graph.Refusal, path: Path | str) -> UserError:
    """The error for a model that names what is not on the list, or asks for too much.

    Args:
        refusal: why it is refused.
        path: what messages call the model.
    """
    at = f"{path}, layer {refusal.layer!r}" if refusal.layer else str(path)
    hint = f"{BUILT_IN_ONLY}; {_WITH_CODE}" if refusal.subject else BUILT_IN_ONLY
    return UserError(one_line(ValueError(refusal.reason)), at=at, hint=hint)
