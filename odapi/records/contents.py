"""Reads records back, without decoding their images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from odapi.console.errors import UserError
from odapi.records import framing
from odapi.records.images import UNREADABLE, header

MOST_SIDE = 1 << 31
"""Of an image, in pixels: no format says more."""


@dataclass(frozen=True)
class Record:
    """One record as it is written; what training makes of it is `TfExampleDecoder`'s business.

    Attributes:
        number: of the record over all files, from 0.
        place: file and number of the record in it, from 1.
        name: the image's file name, or ''.
        encoded: the image file.
        height: of the image, in pixels.
        width: of the image, in pixels.
        boxes: float64 [N, 4], ymin, xmin, ymax, xmax in pixels.
        labels: N class names.
        areas: float64 [N], in pixels: those recorded, or of the boxes.
        crowd: bool [N].
        difficult: bool [N].
        masks: N image files, or none.
    """

    number: int
    place: str
    name: str
    encoded: bytes
    height: int
    width: int
    boxes: np.ndarray
    labels: list[str]
    areas: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    masks: list[bytes]


def find_files(patterns: Iterable[str]) -> list[str]:
    """Record files from paths, and from patterns of file names (`data/train.record*`).

    Raises:
        UserError: a pattern matches no file.
    """
    files: list[str] = []
    for pattern in patterns:
        path = Path(pattern)
        matching = [path] if path.is_file() or not path.name else path.parent.glob(path.name)
        matching = sorted(matching)
        found = [str(file) for file in matching if file.is_file()]
        if not found:
            near = sorted(path.parent.glob("*record*"))
            raise UserError(
                f"no record file matches {pattern}",
                hint=f"there is {near[0]}" if near else f"paths are relative to {Path.cwd()}",
            )
        files += found
    return files


def read(
    files: Iterable[str],
    names: Mapping[int, str] | None,
    wanted: set[int] | None = None,
    refused: Callable[[UserError], None] | None = None,
) -> Iterator[Record]:
    """Reads record files in order.

    Args:
        files: their paths.
        names: class id to name, for boxes without a class name; such a class is `class 7` where
            it has none.
        wanted: numbers of the records to read, from 0 over all files; None: all.
        refused: is called with what is wrong with a record, which is then left out. None: that is
            raised.

    Raises:
        UserError: a file is damaged, or a record is none of labelled images.
    """
    import tensorflow as tf

    total = 0
    for file in files:
        framing.check([file])
        try:
            for number, data in enumerate(tf.data.TFRecordDataset(file), start=1):
                total += 1
                if wanted is not None and total - 1 not in wanted:
                    continue
                try:
                    record = _parse(
                        data.numpy(), total - 1, f"{file}: record {number}", names or {}
                    )
                except UserError as error:
                    if refused is None:
                        raise
                    refused(error)
                    continue
                yield record
        except tf.errors.DataLossError as error:
            raise UserError(
                f"the record file is damaged: {error.message}", at=file, hint="write it again"
            ) from None


class _Features:
    """The lists of a record by key; a missing key has an empty one.

    Raises:
        UserError: on the way to a list of another type than is asked for.
    """

    def __init__(self, data: bytes, place: str) -> None:
        import tensorflow as tf
        from google.protobuf import message

        self._place = place
        try:
            self._features = tf.train.Example.FromString(data).features.feature
        except message.DecodeError:
            raise UserError("this is not a tf.train.Example", at=place) from None

    def _list(self, key: str, expected: str) -> Any:
        kind = self._features[key].WhichOneof("kind") if key in self._features else None
        if kind in (None, expected):
            return getattr(self._features[key], kind).value if kind else ()
        raise UserError(
            f"the field is a {kind} and should be a {expected}",
            at=f"{self._place}, {key}",
            hint="odapi doctor looks into every record",
        )

    def texts(self, key: str) -> list[bytes]:
        """A list of bytes."""
        return list(self._list(key, "bytes_list"))

    def text(self, key: str) -> bytes:
        """Its first, b"" where it is empty."""
        return next(iter(self._list(key, "bytes_list")), b"")

    def integers(self, key: str) -> list[int]:
        """A list of whole numbers."""
        return list(self._list(key, "int64_list"))

    def numbers(self, key: str) -> np.ndarray:
        """A list of numbers, float64 [N]."""
        values = self._list(key, "float_list")
        return np.fromiter(values, np.float64, len(values))


def _parse(data: bytes, total: int, place: str, names: Mapping[int, str]) -> Record:
    features = _Features(data, place)
    encoded = features.text("image/encoded")
    height, width = _size(features, encoded, place)
    sides = [
        features.numbers(f"image/object/bbox/{side}") for side in ("ymin", "xmin", "ymax", "xmax")
    ]
    count = len(sides[0])
    texts = features.texts("image/object/class/text")
    numbers = features.integers("image/object/class/label")
    if {len(side) for side in sides} != {count} or count not in (len(texts), len(numbers)):
        raise UserError(
            f"{' + '.join(str(len(side)) for side in sides)} sides of boxes, {len(texts)} class "
            f"names and {len(numbers)} class ids do not fit together",
            at=f"{place}, image/object",
        )
    if len(texts) == count:
        labels = [text.decode(errors="replace") for text in texts]
    else:
        labels = [names.get(number, f"class {number}") for number in numbers]
    boxes = np.array(sides, np.float64).reshape(4, -1).T * [height, width, height, width]
    areas = features.numbers("image/object/area")
    if len(areas) != count:
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    def flags(key: str) -> np.ndarray:
        found = np.array(features.integers(key), bool)
        return found if len(found) == count else np.zeros(count, bool)

    masks = _masks(features)
    return Record(
        total,
        place,
        features.text("image/filename").decode(errors="replace"),
        encoded,
        height,
        width,
        boxes,
        labels,
        areas,
        flags("image/object/is_crowd"),
        flags("image/object/difficult"),
        masks if len(masks) == count else [],
    )


def _masks(features: _Features) -> list[bytes]:
    """Image files; masks that are written as numbers are not looked at."""
    try:
        return features.texts("image/object/mask")
    except UserError:
        return []


def _size(features: _Features, encoded: bytes, place: str) -> tuple[int, int]:
    """Height and width as recorded, or else according to the image itself."""
    sides = features.integers("image/height") + features.integers("image/width")
    if len(sides) == 2:
        if not all(1 <= side <= MOST_SIDE for side in sides):
            raise UserError(
                f"an image cannot have {sides[0]} rows and {sides[1]} columns",
                at=f"{place}, image/height, image/width",
            )
        return sides[0], sides[1]
    try:
        found = header(encoded)
    except UNREADABLE as error:
        raise UserError(
            f"the record holds no image: {error}", at=f"{place}, image/encoded"
        ) from None
    return found.height, found.width
