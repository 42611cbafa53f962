"""What an export is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from odapi.export.formats import FILES

FORMATS = ("saved_model", *FILES)
INPUT_TYPES = ("image_tensor", "float_image_tensor", "encoded_image_string_tensor", "tf_example")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The flags of `odapi export`, by their names.

    Attributes:
        config: path of the pipeline config that the model was trained with.
        checkpoint: a folder with checkpoints, of which the latest is taken, or one checkpoint's
            prefix.
        output_dir: gets `saved_model`, the files of `formats`, `checkpoint`, `pipeline.config`,
            `label_map.pbtxt` where the config has one, and `export_report.json`.
        input_type: what the SavedModel takes, one of INPUT_TYPES.
        formats: some of FORMATS; the SavedModel is written in any case.
        config_override: a text proto, merged over the config.
        force: replace an earlier export.
    """

    config: str
    checkpoint: str
    output_dir: Path
    input_type: str = "image_tensor"
    formats: Sequence[str] = ()
    config_override: str = ""
    force: bool = False
