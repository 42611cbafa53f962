"""Checks a label map, and looks classes up in it as the record reader does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from odapi.console.errors import UserError
from odapi.doctor.findings import Finding, Kind
from odapi.pipeline.extractor import num_classes
from odapi.pipeline.label_map import check_label_map, load_label_map, read_label_map


@dataclass(frozen=True)
class Classes:
    """The classes of a label map.

    Attributes:
        names: class id to name.
        ids: text of a record to class id. As in `tf_example_decoder`, name and display name both
            count, the higher id wins where they differ, and the empty text stands for the last
            item that lacks one of them.
    """

    names: dict[int, str]
    ids: dict[str, int]


def examine(path: str, field: str) -> tuple[Classes | None, list[Finding]]:
    """Reads a label map.

    Args:
        path: a `StringIntLabelMap`, as text or serialized.
        field: where the path comes from, for messages.

    Returns:
        Its classes, or None where it is of no use; and what is wrong with it.
    """
    try:
        label_map = read_label_map(path, field)
    except UserError as error:
        return None, [Finding.of(Kind.LABEL_MAP_UNREADABLE, error)]
    try:
        names = load_label_map(path, field)
    except UserError as error:
        return None, [Finding.of(Kind.LABEL_MAP_ID, error)]
    return Classes(names, _ids(label_map)), list(_names_and_gaps(path, label_map, names))


def _ids(label_map: Any) -> dict[str, int]:
    # A later item takes the place of an earlier one of the same name, as upstream's do.
    by_name = {item.name: item.id for item in label_map.item}
    by_display_name = {item.display_name: item.id for item in label_map.item}
    return {
        text: max(by_name.get(text, -1), by_display_name.get(text, -1))
        for text in by_name | by_display_name
    }


def _names_and_gaps(path: str, label_map: Any, names: dict[int, str]) -> Iterator[Finding]:
    counts = Counter(item.name for item in label_map.item)
    for name, count in counts.items():
        if name and count > 1:
            message = f"label map name {name!r} is used {count} times: the last id counts"
            yield Finding(Kind.LABEL_MAP_NAME, message, file=path, field=f"item {name!r}")
    unnamed = [item.id for item in label_map.item if not (item.name or item.display_name)]
    if unnamed:
        message = f"label map id {unnamed[0]} has no name"
        yield Finding(Kind.LABEL_MAP_NAME, message, file=path, field=f"item of id {unnamed[0]}")
    missing = sorted(set(range(1, max(names) + 1)) - set(names))
    if missing:
        ids = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        message = f"label map ids up to {max(names)} leave out {ids}"
        yield Finding(Kind.LABEL_MAP_GAP, message, file=path, field="id")


def compare(classes: Classes, config: Any, reader: Any, field: str) -> Iterator[Finding]:
    """Compares a label map with the model's num_classes."""
    try:
        check_label_map(config, reader, field)
    except UserError as error:
        yield Finding.of(Kind.LABEL_MAP_CLASSES, error)
    expected = num_classes(config)
    if max(classes.names) < expected:
        yield Finding(
            Kind.LABEL_MAP_SHORT,
            f"the label map names {len(classes.names)} of the model's {expected} classes; "
            "the others will never be trained",
            file=reader.label_map_path,
            field=f"config: model.{config.model.WhichOneof('model')}.num_classes",
        )
