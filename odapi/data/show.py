"""`odapi data show`: pictures of records with what is labelled in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from odapi.console import output_folder
from odapi.console.errors import UserError
from odapi.console.files import safe_name
from odapi.detector.drawing import draw_detections
from odapi.records.contents import Record
from odapi.records.images import MOST_PIXELS, UNREADABLE, check_size, header, opened

MOST_MASK_PIXELS = 4 * MOST_PIXELS
"""Pixels of all masks that are drawn on an image: 400 MB."""

MOST_BOXES = 1000
"""So many boxes of a record are drawn: more hide the image, and take minutes."""

Note = Callable[[str], None]
"""Is called with what a picture lacks."""


def draw(record: Record, note: Note) -> np.ndarray:
    """Draws the boxes, masks and classes of a record on its image, as TensorFlow decodes that.

    Args:
        record: what to draw.
        note: boxes that are not finite numbers, or end before they begin, are left out and told to
            it; so are those beyond MOST_BOXES.

    Returns:
        uint8 [k*H, k*W, 3], RGB; see `draw_detections`.

    Raises:
        UserError: the image, or a mask, cannot be decoded, is too large, or has another size than
            recorded.
    """
    image = _decode(record)
    drawn = _drawable(record, note)
    masks = [_decode_mask(record, index) for index in drawn] if record.masks else None
    notes = [
        "crowd" if record.crowd[index] else "difficult" if record.difficult[index] else ""
        for index in drawn
    ]
    return draw_detections(
        image,
        record.boxes[drawn],
        [record.labels[index] for index in drawn],
        masks=None if masks is None else np.reshape(masks, (-1, *image.shape[:2])),
        notes=notes,
    )


def _drawable(record: Record, note: Note) -> list[int]:
    """The boxes to draw, by their place in the record."""
    boxes = record.boxes
    finite = np.isfinite(boxes).all(axis=1)
    known = np.where(finite[:, np.newaxis], boxes, 0)
    extended = (known[:, 2:] > known[:, :2]).all(axis=1)
    for wrong, what in (
        (~finite, "are not of numbers"),
        (finite & ~extended, "end where or before they begin"),
    ):
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0]) + 1
            note(f"{wrong.sum():,} of {len(boxes):,} boxes, which {what}: box {first} is the first")
    drawn = np.flatnonzero(extended).tolist()
    most = MOST_BOXES
    if record.masks:
        most = min(most, MOST_MASK_PIXELS // (record.height * record.width))
    if len(drawn) > most:
        note(f"{len(drawn) - most:,} boxes after the first {most:,}, which are drawn")
    return drawn[:most]


def _decode(record: Record) -> np.ndarray:
    """The image, uint8 [H, W, 3]."""
    import tensorflow as tf

    try:
        found = header(record.encoded)
        _check_size(record, (found.height, found.width))
        if found.format == "GIF":
            # TensorFlow would decode all its frames for the sake of the first.
            with opened(record.encoded) as first:
                return np.array(first.convert("RGB"))
        decoded = tf.io.decode_image(record.encoded, channels=3, expand_animations=False)
        return decoded.numpy()
    except (tf.errors.InvalidArgumentError, *UNREADABLE) as error:
        raise UserError(f"the image cannot be decoded: {error}", at=record.place) from None


def _decode_mask(record: Record, index: int) -> np.ndarray:
    """A mask, bool [H, W]."""
    try:
        with opened(record.masks[index]) as mask:
            _check_size(record, (mask.height, mask.width))
            return np.array(mask if mask.mode in ("1", "L", "I", "F") else mask.convert("L")) > 0
    except UNREADABLE as error:
        raise UserError(f"mask {index + 1} cannot be decoded: {error}", at=record.place) from None


def _check_size(record: Record, shape: tuple[int, int]) -> None:
    """Raises UserError for an image or mask of another size than recorded."""
    check_size(shape[1], shape[0])
    if shape != (record.height, record.width):
        raise UserError(
            f"an image or mask is {shape[1]}x{shape[0]}, recorded are "
            f"{record.width}x{record.height}",
            at=record.place,
        )


def save(
    records: Iterable[Record], output: Path, left_out: Callable[[UserError], None]
) -> list[Path]:
    """Writes a PNG for each record, named by its number and its image's name.

    Args:
        records: what to draw.
        output: the folder.
        left_out: is called for each record that cannot be drawn, or not all of it.
    """
    with output_folder.keeping(output):
        return list(_saved(records, output, left_out))


def _saved(
    records: Iterable[Record], output: Path, left_out: Callable[[UserError], None]
) -> Iterator[Path]:
    for record in records:
        # The number tells files apart whose names are the same, or become it.
        name = f"{record.number + 1:06}"
        if record.name:
            name += "_" + safe_name(Path(record.name.replace("\\", "/")).stem)
        path = output / f"{name}.png"

        def note(what: str, place: str = record.place) -> None:
            left_out(UserError(what, at=place))

        try:
            Image.fromarray(draw(record, note)).save(path)
        except UserError as error:
            left_out(error)
            continue
        yield path
