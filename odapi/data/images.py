"""An image file as the bytes that go into a record: the file itself wherever that will do."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from odapi.data.annotations import Problem
from odapi.records.images import opened, read_file

_COPIED = {
    "JPEG": ("RGB", "L"),
    "MPO": ("RGB", "L"),  # what PIL calls a JPEG with further pictures behind it
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1"),
}
"""Format to the modes of PIL that go into a record as they are.

All else is converted. TensorFlow knows no TIFF and makes films of GIF and WebP; `image/format` has
no name for BMP; CMYK and 16 bits it decodes, but other readers of records show them otherwise.
"""

_CONVERTED = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Modes of PIL with 8 bits a sample or fewer."""

_ORIENTATION = 0x0112
"""The EXIF tag; 1 is upright, 5 to 8 exchange width and height."""


@dataclass(frozen=True)
class EncodedImage:
    """An image in a form that TensorFlow decodes to 8-bit RGB.

    Attributes:
        data: the file.
        format: `jpeg` or `png`.
        width: in pixels.
        height: in pixels.
        problems: what was done to it.
    """

    data: bytes
    format: str
    width: int
    height: int
    problems: tuple[Problem, ...] = ()


class SizeDiffers(Exception):
    """The image has another size than the source says."""


def encode(path: Path, recorded: tuple[int, int] | None) -> EncodedImage:
    """Reads an image file.

    TensorFlow shows pixels as they are stored, whatever the EXIF orientation; annotation tools
    differ. So the image is turned only where its recorded size is that of the turned image.

    Args:
        path: the file.
        recorded: width and height according to the source, or None.

    Raises:
        odapi.records.images.UNREADABLE: it cannot be decoded, is too large or no regular file.
        SizeDiffers: it has another size than recorded.
    """
    data = read_file(path)
    with opened(data) as image:
        image.load()
        problems = []
        # PIL turns TIFF itself: there the orientation is no addition, but part of the format.
        orientation = image.getexif().get(_ORIENTATION, 1)
        turned = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
        turn = recorded == turned != image.size
        if recorded not in (None, image.size, turned):
            raise SizeDiffers(
                f"recorded as {recorded[0]}x{recorded[1]}, is {image.width}x{image.height}"
            )
        if turn:
            problems.append(Problem.TURNED)
        elif orientation in range(2, 9) and (recorded is None or turned == image.size):
            problems.append(Problem.ORIENTATION)
        copied = image.mode in _COPIED.get(image.format, ()) and not (
            image.mode == "P" and "transparency" in image.info
        )
        if copied and not turn:
            kind = "png" if image.format == "PNG" else "jpeg"
            return EncodedImage(data, kind, image.width, image.height, tuple(problems))
        pixels = _to_rgb(ImageOps.exif_transpose(image) if turn else image)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    height, width = pixels.shape[:2]
    return EncodedImage(buffer.getvalue(), "png", width, height, (*problems, Problem.CONVERTED))


def _to_rgb(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3], as TensorFlow would decode it: 16 bits lose the lower byte, alpha goes."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in _CONVERTED:
        raise ValueError(f"its samples are of mode {image.mode}, not of 8 or 16 bits")
    return np.asarray(image.convert("RGB"))
