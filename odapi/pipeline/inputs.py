"""The record files that a pipeline config names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odapi.console.errors import UserError
from odapi.pipeline.label_map import check_label_map


def record_files(reader: Any, field: str) -> list[str]:
    """The TFRecord files of an input reader, its glob patterns expanded.

    Args:
        reader: an `input_reader_pb2.InputReader`.
        field: where it stands in the config, for messages.

    Returns:
        Paths, sorted within each pattern.

    Raises:
        UserError: there is no TFRecord reader, or a pattern matches no file.
    """
    field += ".tf_record_input_reader.input_path"
    patterns = list(reader.tf_record_input_reader.input_path)
    if not patterns:
        raise UserError("no record files are given", at=f"config: {field}", hint=f"set {field}")
    return [file for pattern in patterns for file in matching_files(pattern, f"config: {field}")]


def matching_files(pattern: str, field: str) -> list[str]:
    """The files that a glob pattern matches, sorted.

    Args:
        pattern: a path, in which *, ? and [...] stand for more than themselves.
        field: where it comes from, for messages.

    Raises:
        UserError: there is none.
    """
    import tensorflow as tf

    try:
        found = sorted(tf.io.gfile.glob(pattern))
    except UnicodeDecodeError:
        raise UserError(
            "the name of a file is no Unicode text, which TensorFlow needs",
            at=f"{field}: {pattern}",
            hint="rename the files that are not in UTF-8",
        ) from None
    if not found:
        raise UserError(
            f"no record file matches {pattern}",
            at=field,
            hint=f"paths are relative to the working directory, {Path.cwd()}",
        )
    return found


@dataclass(frozen=True)
class EvalRecords:
    """What a detector is evaluated on.

    Attributes:
        reader: the config's first eval_input_reader.
        files: its record files.
        names: class id to name, of its label map.
    """

    reader: Any
    files: list[str]
    names: dict[int, str]


def eval_records(config: Any, path: str) -> EvalRecords:
    """Those of the config that was read from `path`.

    Raises:
        UserError: there is no eval_input_reader, or its files or label map cannot be used.
    """
    if not config.eval_input_reader:
        raise UserError("there is no eval_input_reader", at=path)
    reader, field = config.eval_input_reader[0], "eval_input_reader[0]"
    names = check_label_map(config, reader, field)
    return EvalRecords(reader, record_files(reader, field), names)
