"""`odapi data show`: pictures of records with what is labelled in them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from odapi.data.records import Record
from odapi.drawing import draw_detections
from odapi.errors import UserError


def draw(record: Record) -> np.ndarray:
    """Draws the boxes, masks and classes of a record on its image, as TensorFlow decodes that.

    Returns:
        uint8 [k*H, k*W, 3], RGB; see `draw_detections`.

    Raises:
        UserError: the image, or a mask, cannot be decoded or has another size than recorded.
    """
    import tensorflow as tf

    try:
        decoded = tf.io.decode_image(record.encoded, channels=3, expand_animations=False)
        masks = [np.array(Image.open(io.BytesIO(mask))) > 0 for mask in record.masks]
    except (tf.errors.InvalidArgumentError, OSError) as error:
        raise UserError(f"an image cannot be decoded: {error}", at=record.place) from None
    image = decoded.numpy()
    for shape in (image.shape[:2], *(mask.shape for mask in masks)):
        if shape != (record.height, record.width):
            raise UserError(
                f"an image or mask is {shape[1]}x{shape[0]}, recorded are "
                f"{record.width}x{record.height}",
                at=record.place,
            )
    notes = [
        "crowd" if crowd else "difficult" if difficult else ""
        for crowd, difficult in zip(record.crowd, record.difficult, strict=True)
    ]
    return draw_detections(
        image, record.boxes, record.labels, masks=np.array(masks) if masks else None, notes=notes
    )


def save(records: Iterable[Record], numbers: Iterable[int], output: Path) -> list[Path]:
    """Writes a PNG for each record, named by its number and its image's name.

    Args:
        records: what to draw.
        numbers: the number of each, from 1 over all files.
        output: the folder.
    """
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for number, record in zip(numbers, records, strict=True):
        stem = Path(record.name).stem
        path = output / (f"{number:06}_{stem}.png" if stem else f"{number:06}.png")
        Image.fromarray(draw(record)).save(path)
        written.append(path)
    return written
