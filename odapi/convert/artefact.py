"""The folder that `odapi convert` writes: whole or not at all, and never over anything else."""

from __future__ import annotations

from pathlib import Path

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
from object_detection.models.keras_models.classifier_backbone import FILE_NAME

from odapi.console import output_folder
from odapi.convert import checkpoint

REPORT = "transfer_report.json"
PAGE = "transfer_report.html"
CONFIG = "pipeline.config"


def checked_output_dir(output_dir: Path, force: bool) -> Path:
    """The absolute path of the folder, after making sure that nothing would be lost there.

    Args:
        output_dir: as the user gave it.
        force: whether an earlier result there may go.

    Raises:
        UserError: the folder holds something.
    """
    output_folder.check(output_dir, force=force, kind="convert", foreign=_foreign)
    return output_dir.absolute()


def _foreign(output: Path) -> list[str]:
    """The names in a folder that no convert wrote."""
    ours = ("checkpoint", CONFIG, REPORT, PAGE, FILE_NAME)
    names = [path.name for path in output_folder.content(output)]
    return [
        name for name in names if name not in ours and not name.startswith(checkpoint.NAME + ".")
    ]
