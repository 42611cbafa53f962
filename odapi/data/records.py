"""Reads records back, without decoding their images."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from odapi import framing
from odapi.errors import UserError
from odapi.images import UNREADABLE


@dataclass(frozen=True)
class Record:
    """One record as it is written; what training makes of it is `TfExampleDecoder`'s business.

    Attributes:
        place: file and number of the record, from 1.
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
    files: Iterable[str], names: Mapping[int, str] | None, wanted: set[int] | None = None
) -> Iterator[Record]:
    """Reads record files in order.

    Args:
        files: their paths.
        names: class id to name, for boxes without a class name; such a class is `class 7` where
            it has none.
        wanted: numbers of the records to read, from 0 over all files; None: all.

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
                if wanted is None or total - 1 in wanted:
                    place = f"{file}: record {number}"
                    try:
                        record = _parse(data.numpy(), place, names or {})
                    except (AttributeError, TypeError, ValueError, OverflowError):
                        raise UserError(
                            "a field holds another kind of values than it should",
                            at=place,
                            hint=f"odapi doctor {file} names it",
                        ) from None
                    yield record
        except tf.errors.DataLossError as error:
            raise UserError(
                f"the record file is damaged: {error.message}", at=file, hint="write it again"
            ) from None


def _parse(data: bytes, place: str, names: Mapping[int, str]) -> Record:
    import tensorflow as tf
    from google.protobuf import message

    try:
        features = tf.train.Example.FromString(data).features.feature
    except message.DecodeError:
        raise UserError("this is not a tf.train.Example", at=place) from None

    def values(key: str) -> list:
        kind = features[key].WhichOneof("kind") if key in features else None
        return list(getattr(features[key], kind).value) if kind else []

    encoded = (values("image/encoded") or [b""])[0]
    size = values("image/height") + values("image/width")
    if len(size) != 2:
        size = _size(encoded, place)
    sides = [values(f"image/object/bbox/{side}") for side in ("ymin", "xmin", "ymax", "xmax")]
    count = len(sides[0])
    texts, numbers = values("image/object/class/text"), values("image/object/class/label")
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
    height, width = size
    boxes = np.array(sides, np.float64).reshape(4, -1).T * [height, width, height, width]
    areas = np.array(values("image/object/area"), np.float64)
    if len(areas) != count:
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    def flags(key: str) -> np.ndarray:
        found = np.array(values(key), bool)
        return found if len(found) == count else np.zeros(count, bool)

    masks = values("image/object/mask")
    return Record(
        place,
        (values("image/filename") or [b""])[0].decode(errors="replace"),
        encoded,
        height,
        width,
        boxes,
        labels,
        areas,
        flags("image/object/is_crowd"),
        flags("image/object/difficult"),
        masks if len(masks) == count and all(isinstance(one, bytes) for one in masks) else [],
    )


def _size(encoded: bytes, place: str) -> list[int]:
    """Height and width according to the image itself."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return [image.height, image.width]
    except UNREADABLE:
        raise UserError("the record holds no image", at=f"{place}, image/encoded") from None
