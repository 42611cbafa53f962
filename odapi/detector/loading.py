"""From what a user names to a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odapi.console.errors import UserError
from odapi.detector import exported
from odapi.pipeline.checkpoint import find_checkpoint
from odapi.pipeline.config import Pipeline

if TYPE_CHECKING:
    from odapi.detector.detector import Detector


def load_detector(
    pipeline: Pipeline | None = None,
    checkpoint: str | None = None,
    saved_model: str | None = None,
) -> Detector:
    """Loads an exported model; or builds that of a config, and restores a checkpoint.

    Args:
        pipeline: with `checkpoint`: the config it was trained with.
        checkpoint: a folder with checkpoints, of which the latest is taken, or one's prefix.
        saved_model: instead of both: the folder of a SavedModel, or that above it.

    Returns:
        The detector; its `source` is the checkpoint's prefix, or the SavedModel's folder.

    Raises:
        UserError: none of them is given, one cannot be used, or they do not fit each other.
    """
    from odapi.detector.detector import Detector

    if saved_model is not None:
        return Detector.from_saved_model(saved_model, exported.input_type(saved_model))
    if pipeline is None or checkpoint is None:
        raise UserError(
            "no model is given", hint="give --saved_model DIR, or --config FILE --checkpoint DIR"
        )
    _ = pipeline.extractor  # Refuses what cannot be built.
    return Detector.from_checkpoint(pipeline.config, find_checkpoint(checkpoint, "--checkpoint"))
