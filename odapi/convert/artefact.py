"""The folder that `odapi convert` writes: whole or not at all, and never over anything else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
from object_detection.models.keras_models.classifier_backbone import FILE_NAME

from odapi.console.errors import UserError
from odapi.convert import checkpoint

REPORT = "transfer_report.json"
CONFIG = "pipeline.config"


def checked_output_dir(output_dir: Path, force: bool) -> Path:
    """The absolute path of the folder, after making sure that nothing would be lost there.

    Args:
        output_dir: as the user gave it.
        force: whether an earlier result there may go.

    Raises:
        UserError: the folder holds something.
    """
    output = output_dir.absolute()
    if not output.exists():
        return output
    if not output.is_dir():
        raise UserError("--output_dir is a file", at=str(output), hint="choose another one")
    present = sorted(entry.name for entry in output.iterdir())
    if present and not force:
        raise UserError(
            "--output_dir is not empty",
            at=str(output),
            hint="choose another one, or --force to replace what convert wrote there",
        )
    foreign = [name for name in present if not _written_by_convert(name)]
    if foreign:
        raise UserError(
            f"--output_dir holds what convert did not write, and --force would delete: "
            f"{', '.join(foreign[:5])}",
            at=str(output),
            hint="move it away, or choose another --output_dir",
        )
    return output


def _written_by_convert(name: str) -> bool:
    ours = ("checkpoint", CONFIG, REPORT, FILE_NAME)
    return name in ours or name.startswith(checkpoint.NAME + ".")


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """A folder beside the output one, so that renaming puts it in place; removed in the end.

    What a killed run left of it is removed first.
    """
    folder = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    except OSError as error:
        raise UserError(
            f"the output folder cannot be made: {error.strerror}",
            at=str(output),
            hint="choose another --output_dir",
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_in_place(folder: Path, output: Path) -> None:
    """Renames the finished folder; an earlier result goes only when the new one is there."""
    previous = output.with_name(f".{output.name}.previous")
    shutil.rmtree(previous, ignore_errors=True)
    if output.exists():
        os.replace(output, previous)
    os.replace(folder, output)
    shutil.rmtree(previous, ignore_errors=True)
