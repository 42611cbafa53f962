"""Reads a pipeline config and checks what can be wrong with it before a model is built.

The rules are those of `object_detection.utils.config_util` and `builders.model_builder`; what is
new is that every complaint names the field and comes before the first step.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from odapi.console.errors import UserError
from odapi.pipeline import extractor, inputs, label_map


@dataclass(frozen=True)
class Pipeline:
    """A pipeline config: read once, each thing that it names checked once, when it is asked for.

    Attributes:
        path: of its file, for messages.
        config: the `pipeline_pb2.TrainEvalPipelineConfig`, with all overrides in it.
    """

    path: str
    config: Any

    @classmethod
    def load(cls, path: str, override: str = "") -> Pipeline:
        """Reads a pipeline config.

        Args:
            path: a text proto, `pipeline_pb2.TrainEvalPipelineConfig`.
            override: another one, merged over it.

        Raises:
            UserError: the file is missing, is not a pipeline config, or has no model.
        """
        return cls(path, load(path, override))

    @cached_property
    def extractor(self) -> str:
        """The feature extractor's type; UserError where it cannot be built."""
        return extractor.check_feature_extractor(self.config)

    @cached_property
    def train_files(self) -> list[str]:
        """The record files to train on; UserError where there are none."""
        return inputs.record_files(self.config.train_input_reader, "train_input_reader")

    @cached_property
    def eval_records(self) -> inputs.EvalRecords:
        """What to evaluate on; UserError where it cannot be used."""
        return inputs.eval_records(self.config, self.path)

    @cached_property
    def label_map(self) -> str:
        """Path of the label map that it names, or ''."""
        return label_map.label_map_path(self.config)

    def copy_config(self) -> Any:
        """A copy of `config`, to change."""
        copied = type(self.config)()
        copied.CopyFrom(self.config)
        return copied


def require_file(path: str, flag: str) -> None:
    """Raises UserError unless `path`, given as `flag`, is a file."""
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise UserError(f"the pipeline config {what}: {path}", at=flag, hint=_similar_file(path))


def _similar_file(path: str) -> str | None:
    folder = Path(path).parent
    if Path(path).is_dir():
        folder = Path(path)
    elif not folder.is_dir():
        return f"{folder} does not exist either; it is relative to {Path.cwd()}"
    names = [entry.name for entry in folder.glob("*.config")]
    close = difflib.get_close_matches(Path(path).name, names, n=1, cutoff=0.0)
    return f"did you mean {folder / close[0]}?" if close else None


def load(path: str, override: str = "") -> Any:
    """Reads a pipeline config.

    Args:
        path: a text proto, `pipeline_pb2.TrainEvalPipelineConfig`.
        override: another one, merged over it.

    Returns:
        The `TrainEvalPipelineConfig`.

    Raises:
        UserError: the file is missing, is not a pipeline config, or has no model.
    """
    from google.protobuf import text_format
    from object_detection.protos import pipeline_pb2

    require_file(path, "--config")
    config = pipeline_pb2.TrainEvalPipelineConfig()
    for text, source in (
        (Path(path).read_text(encoding="utf-8", errors="replace"), path),
        (override, "--config_override"),
    ):
        try:
            text_format.Merge(text, config)
        except text_format.ParseError as error:
            raise UserError(
                f"this is not a pipeline config: {error}",
                at=source,
                hint=_similar_name(str(error))
                or "the fields are listed in object_detection/protos/pipeline.proto",
            ) from None
    if config.model.WhichOneof("model") is None:
        raise UserError(
            "the config describes no model", at=f"{path}: model", hint="add faster_rcnn or ssd"
        )
    return config


def _similar_name(error: str) -> str | None:
    """The valid names nearest to the unknown field or value that a ParseError speaks of."""
    from google.protobuf import descriptor_pool

    pool = descriptor_pool.Default()
    field = re.search(r'type "([\w.]+)" has no field named "(\w+)"', error)
    value = re.search(r'type "([\w.]+)" has no value named (\w+)', error)
    if field:
        valid = [field.name for field in pool.FindMessageTypeByName(field[1]).fields]
    elif value:
        valid = [value.name for value in pool.FindEnumTypeByName(value[1]).values]
    else:
        return None
    nearest = difflib.get_close_matches((field or value)[2], valid, n=3, cutoff=0.5)
    return "nearest valid names: " + ", ".join(nearest or valid)
