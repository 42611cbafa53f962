"""The images and videos that a user names: found, and read."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from odapi.console.errors import UserError
from odapi.predict import videos

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def find_images(arguments: Iterable[str]) -> list[Path]:
    """Files as they are given, folders replaced by the images and videos in them, by name.

    A pattern that the shell has left as it is, since it stood in quotes or the shell expands
    none, is expanded here; `**` stands for any folders.

    Raises:
        UserError: a path does not exist, a pattern matches nothing, or a folder has no image.
    """
    found: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.exists() or not glob.has_magic(argument):
            found += _expand(path)
            continue
        # Path.glob takes no absolute pattern.
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207
        files = [Path(match) for match in matches if Path(match).is_file()]
        if not files:
            raise UserError(f"no file matches the pattern {argument}")
        found += files
    return found


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        suffixes = (*SUFFIXES, *videos.SUFFIXES)
        inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in suffixes)
        if not inside:
            raise UserError(
                f"the folder holds no image: {path}",
                hint="images and videos are " + ", ".join(suffixes),
            )
        return inside
    if path.is_file():
        return [path]
    raise UserError(f"there is no such image or folder: {path}")


def read_image(path: Path) -> np.ndarray:
    """Reads an image the way a person sees it: turned as its EXIF data says, in RGB.

    Returns:
        uint8 [H, W, 3]. Grey becomes three equal channels; transparency is dropped and 16-bit
        samples lose their lower byte, as in TensorFlow's decoder, which training uses.

    Raises:
        UserError: the file is not an image, is damaged, or has more pixels than are decoded; or it
            is no regular file.
    """
    from PIL import Image, ImageOps

    from odapi.records.images import UNREADABLE, opened, read_file

    try:
        with opened(read_file(path)) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.array(image.convert("RGB"))
    except UNREADABLE as error:
        raise UserError(f"not a readable image ({error})", at=str(path)) from None
