"""Label maps: read, and compared with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from odapi.console.errors import UserError
from odapi.pipeline.extractor import num_classes

LABEL_MAP_NAME = "label_map.pbtxt"
"""The label map's name in an exported model's folder."""


def read_label_map(path: str, field: str) -> Any:
    """Reads a label map, whatever is in it.

    Args:
        path: a `StringIntLabelMap`, as text or serialized.
        field: where the path comes from, for messages.

    Returns:
        The `StringIntLabelMap`.

    Raises:
        UserError: it is missing, or is no label map.
    """
    from google.protobuf import message, text_format
    from object_detection.protos import string_int_label_map_pb2

    if not path:
        raise UserError("no label map is given", at=field, hint=f"set {field.split(': ')[-1]}")
    if not Path(path).is_file():
        raise UserError(
            f"the label map does not exist: {path}",
            at=field,
            hint=f"paths are relative to the working directory, {Path.cwd()}",
        )
    label_map = string_int_label_map_pb2.StringIntLabelMap()
    data = Path(path).read_bytes()
    try:
        text_format.Merge(data.decode("utf-8", errors="replace"), label_map)
    except text_format.ParseError as error:
        label_map.Clear()
        try:
            label_map.ParseFromString(data)
        except message.DecodeError:
            raise UserError(
                f"this is not a label map: {error}",
                at=path,
                hint="one entry is: item { id: 1 name: 'cat' }",
            ) from None
    return label_map


def load_label_map(path: str, field: str) -> dict[int, str]:
    """Reads the classes of a label map.

    Args:
        path: a `StringIntLabelMap`, as text or serialized.
        field: where the path comes from, for messages.

    Returns:
        Class id to name; `display_name` where there is one, as upstream shows it.

    Raises:
        UserError: it is missing, is no label map, is empty, or has an id below 1 or twice.
    """
    label_map = read_label_map(path, field)
    names: dict[int, str] = {}
    for item in label_map.item:
        if item.id == 0 and "background" in (item.name, item.display_name):
            continue
        if item.id < 1 or item.id in names:
            problem = "is used twice" if item.id in names else "is below 1"
            raise UserError(
                f"label map id {item.id} {problem}",
                at=f"{path}: item {item.name!r}",
                hint="number the classes 1, 2, 3, ...; 0 is the background",
            )
        names[item.id] = item.display_name or item.name
    if not names:
        raise UserError("the label map names no class", at=path)
    return names


def label_map_path(config: Any) -> str:
    """The label map a config names, the first eval reader's before the train reader's, or ''."""
    readers = [*config.eval_input_reader, config.train_input_reader]
    return next((reader.label_map_path for reader in readers if reader.label_map_path), "")


def check_label_map(config: Any, reader: Any, field: str) -> dict[int, str]:
    """Reads the label map of an input reader and compares it with the model.

    Returns:
        Class id to name.

    Raises:
        UserError: as `load_label_map`; or an id does not fit the model's num_classes.
    """
    names = load_label_map(reader.label_map_path, f"config: {field}.label_map_path")
    classes = num_classes(config)
    if max(names) > classes:
        raise UserError(
            f"the label map has id {max(names)} ({names[max(names)]}), "
            f"but the model has {classes} classes",
            at=f"config: model.{config.model.WhichOneof('model')}.num_classes; "
            f"{reader.label_map_path}",
            hint=f"set num_classes: {max(names)}",
        )
    return names
