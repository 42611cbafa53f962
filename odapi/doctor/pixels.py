"""Checks what is decoded of a record, its image and masks, as `tf_example_decoder` decodes them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from odapi.console.errors import op_reason
from odapi.doctor.findings import Finding, Kind
from odapi.records import images

IMAGE = "image/encoded"
MASK = "image/object/mask"

PIXELS_FROM = 2.0
"""A coordinate above this is taken for pixels: no box is twice as large as its image."""

DECODABLE = ("JPEG", "PNG", "BMP", "MPO")
"""PIL's names of the formats that training reads (MPO is several JPEGs in one)."""


def why_undecodable(data: bytes, field: str, where: str = "") -> Finding | None:
    """Why the bytes of an image are not to be decoded, from its first bytes; None: they may be.

    Args:
        data: the file.
        field: its key in the record.
        where: goes in front of the message.
    """
    import tensorflow as tf
    from object_detection.utils import image_limits

    try:
        found = images.header(data)
        if found.format in DECODABLE:
            return None
        # Of a GIF, all frames would be decoded, for a reader that takes [height, width, 3].
        more = ", which is decoded as an animation" if found.format == "GIF" else ""
        return Finding(Kind.IMAGE_FORMAT, f"{where}it is {found.format}{more}", field=field)
    except images.TooLarge as error:
        return Finding(Kind.IMAGE_TOO_LARGE, f"{where}{error}", field=field)
    except images.UNREADABLE:
        pass
    # PIL gives up on files that TensorFlow still allocates memory for.
    try:
        image_limits.checked(data)
    except tf.errors.OpError as error:
        return Finding(
            Kind.IMAGE_UNDECODABLE, where + op_reason(error).splitlines()[0], field=field
        )
    return None


def numerical_masks(
    values: Sequence[float], sides: tuple[int, int], boxes: np.ndarray, size: tuple[int, int] | None
) -> Iterator[Finding]:
    """Checks masks that are written as numbers.

    Args:
        values: of all masks, one after the other.
        sides: image/height and image/width, by which the reader divides them.
        boxes: float [N, 4] in 0..1, in the order of the masks.
        size: height and width of the image, if it could be decoded.
    """
    count = len(values)
    height, width = sides
    if len(boxes) and not count:
        yield Finding(Kind.MASK_MISSING, f"{len(boxes)} boxes", field=MASK)
    elif min(height, width) < 1 or count != len(boxes) * height * width:
        message = f"{count} values for {len(boxes)} boxes of {height} x {width} pixels"
        yield Finding(Kind.MASK_COUNT, message, field=MASK)
    elif count and size and size != (height, width):
        message = f"it is {height} x {width}, and the image {size[0]} x {size[1]}"
        yield Finding(Kind.MASK_SIZE, message, field=MASK)
    elif count:
        placement = _MaskPlacement(boxes)
        for mask in np.array(values, np.float32).reshape(len(boxes), height, width) > 0:
            placement.add(mask)
        yield from placement.findings()


def png_masks(
    encoded: Sequence[bytes], boxes: np.ndarray, size: tuple[int, int] | None
) -> Iterator[Finding]:
    """Checks masks that are written as image files, one at a time: memory holds few of them.

    Args:
        encoded: the files.
        boxes: float [N, 4] in 0..1, in the order of the masks.
        size: height and width of the image, if it could be decoded.
    """
    if len(boxes) and not encoded:
        yield Finding(Kind.MASK_MISSING, f"{len(boxes)} boxes", field=MASK)
        return
    if len(encoded) != len(boxes):
        message = f"{len(encoded)} masks for {len(boxes)} boxes"
        yield Finding(Kind.MASK_COUNT, message, field=MASK)
        return
    placement = _MaskPlacement(boxes)
    for index, data in enumerate(encoded):
        where = f"mask {index + 1} of {len(encoded)}"
        mask = _png_mask(data, where)
        if isinstance(mask, Finding):
            yield mask
            return
        size = size or mask.shape
        if mask.shape != size:
            message = (
                f"{where} is {mask.shape[0]} x {mask.shape[1]}, and the image {size[0]} x {size[1]}"
            )
            yield Finding(Kind.MASK_SIZE, message, field=MASK)
            return
        pixels = mask.size * len(encoded)
        if pixels > images.MOST_MASK_PIXELS:
            message = (
                f"{len(encoded):,} masks of the image's size have {pixels:,} pixels, and the most "
                f"is {images.MOST_MASK_PIXELS:,}"
            )
            yield Finding(Kind.IMAGE_TOO_LARGE, message, field=MASK)
            return
        placement.add(mask)
    yield from placement.findings()


def _png_mask(data: bytes, where: str) -> np.ndarray | Finding:
    """A mask, bool [height, width]; or why there is none."""
    import tensorflow as tf

    reason = why_undecodable(data, MASK, f"{where}: ")
    if reason is not None and reason.kind is Kind.IMAGE_TOO_LARGE:
        return reason
    try:
        if reason is None:
            return tf.image.decode_image(data, channels=1).numpy()[..., 0] > 0
    except tf.errors.InvalidArgumentError:
        pass
    message = f"{where}: its {len(data)} bytes are no image"
    return Finding(Kind.MASK_UNDECODABLE, message, field=MASK)


class _MaskPlacement:
    """Masks of nothing, and masks that lie with more than half of their pixels outside the box."""

    def __init__(self, boxes: np.ndarray) -> None:
        self._boxes = boxes
        self._index = 0
        self._empty: list[int] = []
        self._outside: list[tuple[int, int, int]] = []

    def add(self, mask: np.ndarray) -> None:
        """The next mask, bool [H, W]; it is not kept."""
        box = self._boxes[self._index]
        self._index += 1
        total = int(mask.sum())
        if not total:
            self._empty.append(self._index)
        elif np.isfinite(box).all() and (np.abs(box) <= PIXELS_FROM).all():
            height, width = mask.shape
            top, left, bottom, right = np.clip(box, 0, 1) * [height, width, height, width]
            inside = mask[
                math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)
            ].sum()
            if 2 * inside < total:
                self._outside.append((self._index, int(inside), total))

    def findings(self) -> Iterator[Finding]:
        """What was found, the first mask of each kind by number."""
        empty, outside, count = self._empty, self._outside, len(self._boxes)
        if empty:
            others = f", and {len(empty) - 1} more" if len(empty) > 1 else ""
            yield Finding(Kind.MASK_EMPTY, f"mask {empty[0]} of {count}{others}", field=MASK)
        if outside:
            index, inside, total = outside[0]
            others = f"; and {len(outside) - 1} more" if len(outside) > 1 else ""
            message = f"mask {index} of {count}: {inside} of its {total} pixels are in{others}"
            yield Finding(Kind.MASK_OUTSIDE_BOX, message, field=MASK)
