"""COCO's instances JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def read(path: Path, folder: ImageFolder, problems: ProblemLog) -> Source:
    """Reads `images`, `annotations` and `categories`.

    Boxes are x, y, width, height in pixels from the upper left corner. Classes are numbered in the
    order of category ids; categories of one name (Roboflow writes a super-category of the same
    name) are one class.

    Args:
        path: the JSON file.
        folder: the images.
        problems: gets what is wrong with single images and annotations.

    Raises:
        UserError: this is not such a file, an id stands for two images, or an annotation has no
            category.
    """
    content = _load(path)
    names: dict[Any, str] = {}
    for category in sorted(content["categories"], key=lambda entry: _order(entry.get("id"))):
        names[category.get("id")] = str(category.get("name"))
    images = ImageList(problems)
    by_id = _read_images(path, content, folder, images, problems)
    _read_annotations(path, content, names, by_id, problems)
    return Source(images.finish(folder), list(dict.fromkeys(names.values())))


def _read_images(
    path: Path,
    content: dict[str, Any],
    folder: ImageFolder,
    images: ImageList,
    problems: ProblemLog,
) -> dict[Any, LabelledImage | None]:
    """Adds the images to the list, and returns them by id; None for one that was left out."""
    by_id: dict[Any, LabelledImage | None] = {}
    for number, entry in enumerate(content["images"], start=1):
        identity, name = entry.get("id"), entry.get("file_name")
        place = f"image {identity if identity is not None else f'number {number}'}"
        if identity in by_id:
            # Which of the two an annotation means, nobody can tell.
            raise UserError(
                f"two images have the id {identity}; one is {name}",
                at=str(path),
                hint="give every image, and its annotations, an id of its own",
            )
        by_id[identity] = None
        try:
            image = by_id[identity] = _image(entry, folder)
            images.add(image, place)
        except LookupError as error:
            problems.add(Problem.IMAGE_MISSING, f"{place}: {error.args[0]}")
        except (OverflowError, TypeError, ValueError) as error:
            problems.add(Problem.UNREADABLE, f"{place}: {error}")
    return by_id


def _read_annotations(
    path: Path,
    content: dict[str, Any],
    names: dict[Any, str],
    by_id: dict[Any, LabelledImage | None],
    problems: ProblemLog,
) -> None:
    """Adds the objects to their images."""
    seen: set[Any] = set()
    for number, entry in enumerate(content["annotations"], start=1):
        identity = entry.get("id")
        place = f"annotation {identity if identity is not None else f'number {number}'}"
        if identity is not None and identity in seen:
            problems.add(Problem.ID_TWICE, place)
        seen.add(identity)
        if entry.get("image_id") not in by_id:
            problems.add(Problem.IMAGE_UNKNOWN, f"{place}: image {entry.get('image_id')}")
            continue
        if entry.get("category_id") not in names:
            raise UserError(
                f"unknown class: {place} has category_id {entry.get('category_id')}",
                at=str(path),
                hint="categories has " + ", ".join(f"{key} {names[key]}" for key in names),
            )
        image = by_id[entry.get("image_id")]
        if image is None:
            continue  # counted with its image
        try:
            image.objects.append(_object(entry, names[entry["category_id"]], place))
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            problems.add(Problem.UNREADABLE, f"{place}: {error}")


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"this is not a JSON file: {error}", at=str(path)) from None
    parts = ("images", "annotations", "categories")
    for part in parts:
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(
                f"this is not COCO's instances JSON: it has no list of {part}",
                at=str(path),
                hint=f"it is one object with the lists {', '.join(parts)}",
            )
        for key in ("id", "image_id", "category_id"):
            if any(isinstance(entry.get(key), list | dict) for entry in entries):
                raise UserError(f"{part} has a list or object as {key}", at=str(path))
    return content


def _order(identity: Any) -> tuple[bool, float, str]:
    """Numbers by value, before anything else."""
    number = isinstance(identity, int | float)
    return not number, identity if number else 0, str(identity)


def _image(entry: dict[str, Any], folder: ImageFolder) -> LabelledImage:
    name = str(entry.get("file_name") or "")
    width, height = entry.get("width"), entry.get("height")
    size = (int(width), int(height)) if width and height else None
    return LabelledImage(folder.find(name), name, str(entry["id"]), size=size)


def _object(entry: dict[str, Any], label: str, place: str) -> Object:
    left, top, width, height = (float(value) for value in entry["bbox"])
    mask = entry.get("segmentation") or None
    if mask is not None and not isinstance(mask, list | dict):
        raise ValueError("segmentation is neither polygons nor run lengths")
    return Object(
        label,
        (left, top, left + width, top + height),
        place,
        crowd=bool(entry.get("iscrowd", 0)),
        area=float(entry["area"]) if entry.get("area") else None,
        mask=mask,
    )
