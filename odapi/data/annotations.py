"""What every annotation format is read into: images with their objects, and what was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from odapi.console.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
"""Names of image files end in one of these, in capitals or not."""

EXAMPLES = 5
"""How many places are named for each kind of problem."""


class Problem(Enum):
    """Something that is not as it should be; the value is what the summary calls it."""

    IMAGE_MISSING = "images missing or ambiguous, left out with their boxes"
    IMAGE_UNREADABLE = "images that cannot be decoded, left out with their boxes"
    IMAGE_SIZE = "images of another size than recorded, left out with their boxes"
    IMAGE_TWICE = "images listed again, the repetition left out with its boxes"
    IMAGE_UNKNOWN = "annotations of an image that is not listed, left out"
    UNREADABLE = "annotations that cannot be read, left out"
    BOX_EMPTY = "boxes that are empty or inverted, left out"
    BOX_OUTSIDE = "boxes wholly outside their image, left out"

    BOX_CLIPPED = "boxes that reached over the edge, clipped"
    MASK_EMPTY = "masks that cover no pixel, kept"
    ID_TWICE = "annotations with the id of an earlier one, kept"
    NO_BOX = "images without a box, kept as negatives"
    NO_LABEL_FILE = "images without a label file, taken to show no object"
    OWN_NAME = "images found by the name of the annotation file, not by the one in it"
    NOT_LISTED = "image files in the folder that no annotation names, not imported"
    CONVERTED = "images converted to 8-bit RGB in PNG"
    TURNED = "images turned as EXIF says, because the recorded size is that of the turned image"
    ORIENTATION = "images with an EXIF orientation that the source does not settle, not turned"

    @property
    def loses_data(self) -> bool:
        """Whether a labelled image or box is missing from the records because of it."""
        return self in _LOSSES


_LOSSES = {
    Problem.IMAGE_MISSING,
    Problem.IMAGE_UNREADABLE,
    Problem.IMAGE_SIZE,
    Problem.IMAGE_TWICE,
    Problem.IMAGE_UNKNOWN,
    Problem.UNREADABLE,
    Problem.BOX_EMPTY,
    Problem.BOX_OUTSIDE,
}


class ProblemLog:
    """Counts problems and remembers the first places of each kind."""

    def __init__(self) -> None:
        self._counts: Counter[Problem] = Counter()
        self._places: dict[Problem, list[str]] = {}

    def add(self, problem: Problem, place: str) -> None:
        """Adds one, met at `place`: a file, a line, an annotation."""
        self._counts[problem] += 1
        places = self._places.setdefault(problem, [])
        if len(places) < EXAMPLES:
            places.append(place)

    def extend(self, found: Iterable[tuple[Problem, str]]) -> None:
        """Adds several."""
        for problem, place in found:
            self.add(problem, place)

    def entries(self, losses: bool) -> list[tuple[Problem, int, list[str]]]:
        """Problem, number and first places: of those that lose data, or of the others."""
        return [
            (problem, self._counts[problem], self._places[problem])
            for problem in Problem
            if self._counts[problem] and problem.loses_data is losses
        ]


@dataclass(frozen=True)
class Object:
    """One labelled object.

    Attributes:
        label: the name of its class.
        box: xmin, ymin, xmax, ymax in the unit of its image; the last two lie just outside.
        place: where it stands in the source, for messages.
        crowd: it stands for a group, as COCO's `iscrowd`.
        difficult: as in Pascal VOC.
        truncated: as in Pascal VOC.
        area: in pixels, where the source gives one.
        mask: polygons, each x0, y0, x1, y1, ... in the image's unit; or COCO's run lengths, a
            dictionary; or None.
    """

    label: str
    box: tuple[float, float, float, float]
    place: str
    crowd: bool = False
    difficult: bool = False
    truncated: bool = False
    area: float | None = None
    mask: list[list[float]] | dict[str, Any] | None = None


@dataclass(frozen=True)
class LabelledImage:
    """An image file and what is on it.

    Attributes:
        file: the file.
        name: as the source names it.
        source_id: tells the image apart from all others of the source.
        objects: in the order of the source.
        size: width and height as recorded; None where the source does not say.
        normalized: coordinates are shares of width and height, not pixels.
    """

    file: Path
    name: str
    source_id: str
    objects: list[Object] = field(default_factory=list)
    size: tuple[int, int] | None = None
    normalized: bool = False


@dataclass(frozen=True)
class Source:
    """All that was read.

    Attributes:
        images: in the order of the source, no file twice.
        classes: the names, in the order in which they are to be numbered.
    """

    images: list[LabelledImage]
    classes: list[str]


class Ambiguous(LookupError):
    """A name that more than one file has."""


class ImageFolder:
    """The image files of a folder and its sub-folders, found by the names that sources use."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError unless `folder` holds an image."""
        self._folder = folder
        self._paths = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            # macOS leaves a ._name.jpg that is no image beside each file on a foreign disk.
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        }
        if not self._paths:
            raise UserError(
                f"the folder holds no image: {folder}",
                at="--images",
                hint="images are " + ", ".join(SUFFIXES),
            )
        self._stems: dict[str, list[str]] = {}
        self._bare: dict[str, list[str]] = {}
        for path in self._paths:
            stem, name = path.rpartition(".")[0], path.rpartition("/")[2]
            self._stems.setdefault(stem, []).append(path)
            for bare in (name, name.rpartition(".")[0]):
                self._bare.setdefault(bare, []).append(path)

    def find(self, name: str) -> Path:
        """The file that a source calls `name`.

        That is the path within the folder; where there is none, the path without its first
        folders (sources record `/home/somebody/images/a.jpg`, or `images/a.jpg` where the folder
        is `images`); and of a bare name, the one file in a sub-folder that has it. A name without
        an image's suffix stands for the file with one.

        Raises:
            Ambiguous: there is more than one such file; the message names them.
            LookupError: there is none.
        """
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        found: list[str] = []
        for first in range(len(parts)):
            path = "/".join(parts[first:])
            if path in self._paths:
                return self._paths[path]
            found = found or self._stems.get(path, [])
        if len(parts) == 1:
            found = found or self._bare.get(parts[0], [])
        if len(found) > 1:
            raise Ambiguous(f"{name} could be {' or '.join(found[:3])}")
        if not found:
            raise LookupError(name or "no file name")
        return self._paths[found[0]]

    def name_of(self, path: Path) -> str:
        """The path within the folder of a file that `find` gave."""
        return path.relative_to(self._folder).as_posix()

    def others(self, used: Iterable[Path]) -> list[Path]:
        """The image files that are not among `used`."""
        known = set(used)
        return [path for path in self._paths.values() if path not in known]


class ImageList:
    """The images of a source while it is read: no file twice."""

    def __init__(self, problems: ProblemLog) -> None:
        self._problems = problems
        self._images: dict[Path, LabelledImage] = {}

    def add(self, image: LabelledImage, place: str) -> None:
        """Adds an image, listed at `place`, unless its file is there already.

        Raises:
            UserError: it is there under another name. Of train/1.jpg and val/1.jpg, both found as
                1.jpg, one has boxes that are not its own, and nobody can tell which.
        """
        known = self._images.setdefault(image.file, image)
        if known is image:
            return
        if known.name != image.name:
            raise UserError(
                f"{known.name} and {image.name} are both found as {image.file}",
                at=place,
                hint="give --images the folder to which the recorded paths are relative",
            )
        self._problems.add(Problem.IMAGE_TWICE, f"{place}: {image.name}")

    def finish(self, folder: ImageFolder) -> list[LabelledImage]:
        """The images, after the files of the folder that are not among them were counted."""
        for path in folder.others(self._images):
            self._problems.add(Problem.NOT_LISTED, str(path))
        return list(self._images.values())
