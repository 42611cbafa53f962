"""The folder that an import makes: whether it may, and over what."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from odapi.console import output_folder
from odapi.console.errors import UserError
from odapi.pipeline.label_map import LABEL_MAP_NAME

REPORT_NAME = "import_report.json"


def check_output(output: Path, force: bool, inputs: Iterable[Path]) -> None:
    """Checks that records may be written to `output`.

    Args:
        output: the folder to be.
        force: it may hold an earlier import.
        inputs: what is read; it must not go with the earlier import.

    Raises:
        UserError: there is something that must not be replaced.
    """
    output_folder.check(output, force=force, kind="import", foreign=_foreign)
    for path in inputs if output.exists() else ():
        if path.resolve().is_relative_to(output.resolve()):
            raise UserError(
                f"replacing the output would remove {path}", at=f"{output_folder.FLAG} {output}"
            )


def _foreign(output: Path) -> list[str]:
    """The names in a folder that no import wrote; UserError where it is not that of one."""
    if not (output / REPORT_NAME).is_file():
        raise UserError(
            "the output is there already, and is not the folder of an import",
            at=f"{output_folder.FLAG} {output}",
            hint="choose a folder that does not exist",
        )
    written = _written_names(output)
    return [path.name for path in output_folder.content(output) if path.name not in written]


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
