"""YOLO's label files: a line for each object, a file for each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from odapi.console.errors import UserError
from odapi.data.annotations import (
    Ambiguous,
    ImageFolder,
    ImageList,
    LabelledImage,
    Object,
    Problem,
    ProblemLog,
    Source,
)

NAME_FILES = ("data.yaml", "classes.txt")
"""Where class names are looked for when no file is given: the first is what YOLO trains from and
Roboflow writes, the second what labelImg writes."""


def read(
    source: Path, folder: ImageFolder, problems: ProblemLog, names_file: Path | None
) -> Source:
    """Reads the label files of a folder and its sub-folders.

    A line is `class cx cy width height`, or `class x0 y0 x1 y1 x2 y2 ...`, a polygon: the mask,
    whose extent is the box. Coordinates are shares of width and height. `a/b.txt` is for the image
    `a/b.*`; an image without a file shows no object.

    Args:
        source: the folder.
        folder: the images.
        problems: gets what is wrong with single files and lines.
        names_file: the class names: a YAML file with `names`, or a text file with one on each
            line; None: looked for in `source` and the two folders around it.

    Raises:
        UserError: there is no label file or no names file, or a class has no name.
    """
    names_file = names_file or _find_names(source)
    names = _read_names(names_file)
    files = sorted(
        path
        for path in source.rglob("*.txt")
        if path.name not in NAME_FILES
        and not path.name.startswith(".")
        and not path.samefile(names_file)
    )
    if not files:
        raise UserError(f"the folder holds no label file: {source}", hint="they are named *.txt")
    images = ImageList(problems)
    used = set()
    for file in files:
        stem = file.relative_to(source).with_suffix("").as_posix()
        try:
            path = folder.find(stem)
        except Ambiguous as error:
            # Left out, both images would count as without objects.
            raise UserError(str(error), at=str(file), hint="remove one of them") from None
        except LookupError as error:
            problems.add(Problem.IMAGE_MISSING, f"{file}: {error.args[0]}")
            continue
        image = _image(path, folder)
        image.objects.extend(_objects(file, names, names_file, problems))
        images.add(image, str(file))
        used.add(path)
    for path in folder.others(used):
        problems.add(Problem.NO_LABEL_FILE, str(path))
        images.add(_image(path, folder), str(path))
    found = sorted(images.finish(folder), key=lambda image: image.name)
    return Source(found, list(dict.fromkeys(names.values())))


def _objects(
    file: Path, names: dict[int, str], names_file: Path, problems: ProblemLog
) -> Iterator[Object]:
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        place = f"{file}: line {number}"
        if not line.strip():
            continue
        try:
            label, box, mask = _parse(line)
        except ValueError as error:
            problems.add(Problem.UNREADABLE, f"{place}: {error}")
            continue
        if label not in names:
            raise UserError(
                f"unknown class {label}",
                at=place,
                hint=f"{names_file} has " + ", ".join(f"{key} {names[key]}" for key in names),
            )
        yield Object(names[label], box, place, mask=mask)


def _image(path: Path, folder: ImageFolder) -> LabelledImage:
    name = folder.name_of(path)
    return LabelledImage(path, name, name, normalized=True)


def _parse(line: str) -> tuple[int, tuple[float, float, float, float], list[list[float]] | None]:
    """Class, box and mask of a line."""
    first, *rest = line.split()
    label = float(first)
    if not label.is_integer():
        raise ValueError(f"{first} is not the number of a class")
    numbers = [float(text) for text in rest]
    if len(numbers) == 4:
        x, y, width, height = numbers
        return int(label), (x - width / 2, y - height / 2, x + width / 2, y + height / 2), None
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"{len(rest) + 1} numbers are neither a box (5) nor a polygon (7, 9, ...)")
    xs, ys = numbers[::2], numbers[1::2]
    return int(label), (min(xs), min(ys), max(xs), max(ys)), [numbers]


def _find_names(source: Path) -> Path:
    source = source.absolute()
    folders = [source, *list(source.parents)[:2]]
    for folder in folders:
        for name in NAME_FILES:
            if (folder / name).is_file():
                return folder / name
    raise UserError(
        f"no class names: there is no {' or '.join(NAME_FILES)} in {source} or above it",
        hint="name the file with --names",
    )


def _read_names(path: Path) -> dict[int, str]:
    """Number, from 0, to name."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except ValueError:
        raise UserError("the class names are not in UTF-8", at=str(path)) from None
    if path.suffix not in (".yaml", ".yml"):
        lines = [line.strip() for line in text.splitlines()]
        while lines and not lines[-1]:
            lines.pop()
        names = dict(enumerate(lines))
    else:
        import yaml

        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"this is not a YAML file: {error}", at=str(path)) from None
        entries = content.get("names") if isinstance(content, dict) else None
        if isinstance(entries, list):
            entries = dict(enumerate(entries))
        if not isinstance(entries, dict) or not all(isinstance(key, int) for key in entries):
            raise UserError(
                "the YAML file has no class names", at=str(path), hint="names: ['cat', 'dog']"
            )
        names = {key: str(entries[key]) for key in sorted(entries)}
    if not names or not all(names.values()):
        raise UserError("a class has no name", at=str(path), hint="one name on each line")
    return names
