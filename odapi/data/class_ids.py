"""Ids for the classes of a source, and the label map that tells of them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from odapi.console.errors import UserError
from odapi.data.annotations import Source
from odapi.pipeline.label_map import load_label_map


def number_classes(source: Source, label_map: Path | None) -> dict[str, int]:
    """Class name to id: from 1 in the order of the source, or as a label map says.

    Raises:
        UserError: the label map cannot be used, or lacks a class that an object has.
    """
    if label_map is None:
        return {name: number for number, name in enumerate(source.classes, start=1)}
    from object_detection.utils import label_map_util

    load_label_map(str(label_map), "--label_map")
    # An object's class may be given by either name, as in upstream's decoder.
    known = {
        name: number
        for display in (True, False)
        for name, number in label_map_util.get_label_map_dict(
            str(label_map), use_display_name=display
        ).items()
    }
    counts = Counter(instance.label for image in source.images for instance in image.objects)
    unknown = sorted(set(counts) - set(known))
    if unknown:
        lines = []
        for name in unknown:
            nearest = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
            meant = f"; nearest: {', '.join(nearest)}" if nearest else ""
            lines.append(f"{name!r} ({counts[name]} boxes){meant}")
        raise UserError(
            f"the label map lacks {len(unknown)} classes of the source",
            at=[str(label_map), *lines],
            hint="add them, rename them in the source, or leave out --label_map to make a new one",
        )
    return {name: known[name] for name in counts}


def label_map_text(class_ids: Mapping[str, int]) -> str:
    """A `StringIntLabelMap` in protobuf's text format."""
    from google.protobuf import text_format
    from object_detection.protos import string_int_label_map_pb2

    label_map = string_int_label_map_pb2.StringIntLabelMap()
    for name, number in class_ids.items():
        label_map.item.add(id=number, name=name)
    return text_format.MessageToString(label_map, as_utf8=True)
