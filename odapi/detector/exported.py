"""What `odapi export` notes beside a SavedModel, for those who load it."""

from __future__ import annotations

import json
from pathlib import Path

from odapi.pipeline.config import Pipeline
from odapi.pipeline.label_map import LABEL_MAP_NAME

REPORT_NAME = "export_report.json"
CONFIG_NAME = "pipeline.config"


def input_type(saved_model: str) -> str | None:
    """The input type that was exported; None without a note.

    Args:
        saved_model: the folder that `odapi export` wrote, or the `saved_model` in it.

    Raises:
        UserError: there is no SavedModel.
    """
    report = _beside(saved_model, REPORT_NAME)
    return json.loads(report.read_text(encoding="utf-8"))["input_type"] if report else None


def label_map(saved_model: str) -> str:
    """Path of the label map exported with the model, else of the one its config names, or ''.

    Args:
        saved_model: as `input_type`.

    Raises:
        UserError: as `input_type`, or its config is none.
    """
    copied = _beside(saved_model, LABEL_MAP_NAME)
    if copied is not None:
        return str(copied)
    config = _beside(saved_model, CONFIG_NAME)
    return Pipeline.load(str(config)).label_map if config is not None else ""


def _beside(saved_model: str, name: str) -> Path | None:
    # It loads TensorFlow.
    from odapi.detector.detector import find_saved_model

    path = find_saved_model(saved_model).parent / name
    return path if path.is_file() else None
