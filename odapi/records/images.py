"""The one door to image files: what they are and how large, before a pixel is decoded."""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

MOST_PIXELS = 100_000_000
"""Width times height of an image that is decoded, 300 MB as RGB: the `MAX_PIXELS` of the patched
tree's `utils/image_limits.py`, which would load TensorFlow into workers that do without."""

MOST_BYTES = 1 << 29
"""Size of an image file: MOST_PIXELS of 16 bits fit even without compression."""

MOST_MASK_PIXELS = 10 * MOST_PIXELS
"""Pixels of all masks of an image together: as float32, which training makes of them, 4 GB."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""PIL's names of the formats that are read. It knows others whatever a file's name says, among them
PostScript, which it has Ghostscript run."""

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What PIL raises, by format and kind of damage, for a file that is no image it can decode."""

# MOST_PIXELS is asked for in its place, by name.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class TooLarge(ValueError):
    """An image with more pixels than are decoded."""


@dataclass(frozen=True)
class Header:
    """What an image's first bytes say.

    Attributes:
        format: PIL's name; MPO for several JPEGs in one.
        height: in pixels.
        width: in pixels.
    """

    format: str
    height: int
    width: int


def read_file(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file (reading a FIFO would wait, and /dev/zero has no end), or
            has more than MOST_BYTES.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if status.st_size > MOST_BYTES:
            raise ValueError(f"it has {status.st_size:,} bytes, and the most is {MOST_BYTES:,}")
        return file.read(MOST_BYTES)


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """An image file as PIL opens it, not decoded yet; of several frames the first.

    Args:
        data: the file.

    Raises:
        TooLarge: it has more than MOST_PIXELS.
        UNREADABLE: it is no image of FORMATS; also within the block.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise TooLarge(f"it has more than {MOST_PIXELS:,} pixels, which is the most") from None
    with image:
        check_size(image.width, image.height)
        yield image


def check_size(width: int, height: int) -> None:
    """Raises TooLarge for more than MOST_PIXELS."""
    if width * height > MOST_PIXELS:
        raise TooLarge(
            f"it has {width:,} x {height:,} pixels, and the most is {MOST_PIXELS:,} in all"
        )


def header(data: bytes) -> Header:
    """What an image's first bytes say.

    Raises:
        TooLarge: it has more than MOST_PIXELS.
        UNREADABLE: it is no image of FORMATS.
    """
    with opened(data) as image:
        return Header(image.format or "", image.height, image.width)
