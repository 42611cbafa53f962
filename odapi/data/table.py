"""A CSV file with a box in each row."""

from __future__ import annotations

import csv
from pathlib import Path

from odapi.console.errors import UserError
from odapi.data.annotations import (
    ImageFolder,
    ImageList,
    LabelledImage,
    Object,
    Problem,
    ProblemLog,
    Source,
)

SIDES = ("xmin", "ymin", "xmax", "ymax")
COLUMNS = ("filename", "class", *SIDES)
"""Needed; `width` and `height` are compared with the image where they are given."""


def read(path: Path, folder: ImageFolder, problems: ProblemLog, normalized: bool) -> Source:
    """Reads a CSV file with a header.

    A row with a file name and no class is an image without objects.

    Args:
        path: the file.
        folder: the images.
        problems: gets what is wrong with single rows.
        normalized: coordinates are shares of width and height instead of pixels.

    Raises:
        UserError: this is not such a file, or pixels are said and all coordinates are within 0..1.
    """
    images: dict[str, LabelledImage | None] = {}
    files = ImageList(problems)
    for number, row in _rows(path):
        place, name = f"{path}: line {number}", row["filename"]
        if name not in images:
            images[name] = image = _find_image(row, place, folder, problems, normalized)
            if image is not None:
                files.add(image, place)
        image = images[name]
        if image is None or not any(row[column] for column in COLUMNS[1:]):
            continue
        try:
            if not row["class"]:
                raise ValueError("it has no class")
            if _size(row) != image.size:
                raise ValueError(f"{name} has another size than in its first row")
            xmin, ymin, xmax, ymax = (float(row[side]) for side in SIDES)
        except (ValueError, OverflowError) as error:
            problems.add(Problem.UNREADABLE, f"{place}: {error}")
            continue
        image.objects.append(Object(row["class"], (xmin, ymin, xmax, ymax), place))
    found = files.finish(folder)
    objects = [instance for image in found for instance in image.objects]
    if objects and not normalized and max(max(instance.box) for instance in objects) <= 1:
        raise UserError(
            "all coordinates are within 0..1: they are shares of width and height, not pixels",
            at=str(path),
            hint="add --normalized",
        )
    return Source(found, sorted({instance.label for instance in objects}))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and values, without spaces around them, of each row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            missing = [column for column in COLUMNS if column not in header]
            if missing:
                raise UserError(
                    f"the CSV file has no column {', '.join(missing)}",
                    at=f"{path}: line 1",
                    hint=f"it has {', '.join(header)}; needed are {', '.join(COLUMNS)}",
                )
            return [
                (reader.line_num, {key: (row[key] or "").strip() for key in header})
                for row in reader
            ]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"this is not a CSV file in UTF-8: {error}", at=str(path)) from None


def _find_image(
    row: dict[str, str], place: str, folder: ImageFolder, problems: ProblemLog, normalized: bool
) -> LabelledImage | None:
    name = row["filename"]
    try:
        file = folder.find(name)
        return LabelledImage(file, name, name, size=_size(row), normalized=normalized)
    except LookupError as error:
        problems.add(Problem.IMAGE_MISSING, f"{place}: {error.args[0]}")
    except (ValueError, OverflowError) as error:
        problems.add(Problem.UNREADABLE, f"{place}: {error}")
    return None


def _size(row: dict[str, str]) -> tuple[int, int] | None:
    width, height = (int(float(row.get(side) or 0)) for side in ("width", "height"))
    return (width, height) if width > 0 and height > 0 else None
