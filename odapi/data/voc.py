"""A folder of Pascal VOC's XML files."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

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


def read(source: Path, folder: ImageFolder, problems: ProblemLog) -> Source:
    """Reads every XML file of a folder and its sub-folders.

    Coordinates are taken as they stand and divided by width and height, which is what upstream's
    create_pascal_tf_record.py does: in VOC's own files, where the first pixel is 1 and the last
    one is inside, a box so begins a pixel late and ends where it should.

    Args:
        source: the folder.
        folder: the images.
        problems: gets what is wrong with single files and objects.

    Raises:
        UserError: the folder holds no XML file.
    """
    files = sorted(path for path in source.rglob("*.xml") if not path.name.startswith("."))
    if not files:
        raise UserError(f"the folder holds no XML file: {source}", hint="is --format voc meant?")
    images = ImageList(problems)
    for file in files:
        try:
            root = ElementTree.parse(file).getroot()
            size = _size(root)
        except (ElementTree.ParseError, LookupError, OSError, ValueError) as error:
            problems.add(Problem.UNREADABLE, f"{file}: {error}")
            continue
        image = _find_image(root, file.relative_to(source), size, folder, problems)
        if image is None:
            problems.add(Problem.IMAGE_MISSING, f"{file}: {root.findtext('filename')}")
            continue
        for number, entry in enumerate(root.findall("object"), start=1):
            place = f"{file}: object {number}"
            try:
                image.objects.append(_object(entry, place))
            except ValueError as error:
                problems.add(Problem.UNREADABLE, f"{place}: {error}")
        images.add(image, str(file))
    found = images.finish(folder)
    return Source(found, sorted({instance.label for image in found for instance in image.objects}))


def _find_image(
    root: ElementTree.Element,
    path: Path,
    size: tuple[int, int] | None,
    folder: ImageFolder,
    problems: ProblemLog,
) -> LabelledImage | None:
    """The image that the file names; else the one with the file's own name.

    Files are renamed together with their images, and `filename` is left behind.
    """
    recorded = (root.findtext("filename") or "").strip()
    try:
        file = folder.find((path.parent / recorded).as_posix() if recorded else "")
    except LookupError:
        try:
            file = folder.find(path.with_suffix("").as_posix())
        except LookupError:
            return None
        problems.add(Problem.OWN_NAME, f"{path}: {recorded or 'no filename'}")
    name = folder.name_of(file)
    return LabelledImage(file, name, name, size=size)


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height; some tools leave them out, or write 0."""
    width, height = (int(_number(root, f"size/{side}", "0")) for side in ("width", "height"))
    return (width, height) if width > 0 and height > 0 else None


def _object(entry: ElementTree.Element, place: str) -> Object:
    label = (entry.findtext("name") or "").strip()
    if not label:
        raise ValueError("it has no name")
    xmin, ymin, xmax, ymax = (
        _number(entry, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")
    )
    return Object(
        label,
        (xmin, ymin, xmax, ymax),
        place,
        difficult=_flag(entry, "difficult"),
        truncated=_flag(entry, "truncated"),
    )


def _number(parent: ElementTree.Element, path: str, default: str = "") -> float:
    text = (parent.findtext(path) or default).strip()
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{path} is {text!r}, not a number") from None


def _flag(parent: ElementTree.Element, name: str) -> bool:
    """Tools write `Unspecified` too, which is not a yes."""
    return (parent.findtext(name) or "").strip().lower() in ("1", "true")
