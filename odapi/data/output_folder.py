"""The folder that an import makes: whether it may, and over what."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from odapi.console.errors import UserError
from odapi.pipeline.label_map import LABEL_MAP_NAME

REPORT_NAME = "import_report.json"


def check_output(output: Path, overwrite: bool, inputs: Iterable[Path]) -> None:
    """Checks that records may be written to `output`.

    Args:
        output: the folder to be.
        overwrite: it may hold an earlier import.
        inputs: what is read; it must not go with the earlier import.

    Raises:
        UserError: there is something that must not be replaced.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    at = f"--output {output}"
    if not (output / REPORT_NAME).is_file():
        raise UserError(
            "the output is there already, and is not the folder of an import",
            at=at,
            hint="choose a folder that does not exist",
        )
    if not overwrite:
        raise UserError(
            "the output holds an earlier import",
            at=at,
            hint="choose another folder, or replace it with --overwrite",
        )
    written = _written_names(output)
    others = sorted(path.name for path in output.iterdir() if path.name not in written)
    if others:
        raise UserError(
            f"replacing the output would remove {', '.join(others[:3])}, which no import wrote",
            at=at,
            hint="choose another folder, or move them",
        )
    for path in inputs:
        if path.resolve().is_relative_to(output.resolve()):
            raise UserError(f"replacing the output would remove {path}", at=at)


def _written_names(output: Path) -> set[str]:
    """The names of the files that an import wrote into a folder."""
    try:
        sets = json.loads((output / REPORT_NAME).read_text(encoding="utf-8"))["sets"]
        records = {Path(name).name for written in sets.values() for name in written["files"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            "this is not the report of an import", at=f"{output / REPORT_NAME}"
        ) from None
    return records | {REPORT_NAME, LABEL_MAP_NAME}
