"""Drawing of labelled boxes and masks, shared by predict, evaluate and the demo's report."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from odapi.console.terminal import shown_name

LEAST_SIDE = 480
"""A picture whose shorter side is below this many pixels is enlarged by a whole factor."""

MOST_ENLARGED = 1 << 24
"""Pixels of an enlarged picture: 48 MB."""

MASK_STRENGTH = 0.6
"""Share of the class's colour where a mask lies, so that what is below still shows through."""


def draw_detections(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str],
    scores: Sequence[float] | None = None,
    least_side: int = LEAST_SIDE,
    masks: np.ndarray | None = None,
    notes: Sequence[str] | None = None,
) -> np.ndarray:
    """Draws boxes with their labels, and masks, on a copy of a picture.

    Small pictures are enlarged by a whole factor first, so that the text can be read. A label
    has the same colour in every picture and never leaves the picture; boxes are drawn in
    ascending order of score, so that the surest one lies on top.

    Args:
        image: uint8 [H, W, 3], RGB.
        boxes: [N, 4], ymin, xmin, ymax, xmax in pixels of `image`.
        labels: N texts.
        scores: N numbers in 0..1, written beside the labels as per cent; or None.
        least_side: least length of the result's shorter side, in pixels.
        masks: [N, H, W], above 0 on the object, tinted in the label's colour; or None.
        notes: N texts, written after the labels, which alone decide the colour; or None.

    Returns:
        uint8 [k*H, k*W, 3], RGB, for the smallest whole k that reaches `least_side`, or the
        largest with which the result has at most MOST_ENLARGED pixels; at least 1.

    Raises:
        ValueError: `boxes`, `labels`, `scores`, `masks` and `notes` differ in number, or `image`
            is not uint8 [H, W, 3].
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    _check(image, boxes=boxes, labels=labels, scores=scores, masks=masks, notes=notes)
    order = range(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    if masks is not None:
        image = _tinted(image, masks, labels, order)
    # Of a strip of one pixel by a million, the shorter side has to stay short.
    most = math.isqrt(MOST_ENLARGED // (image.shape[0] * image.shape[1]))
    factor = max(1, min(-(-least_side // min(image.shape[:2])), most))
    height, width = image.shape[0] * factor, image.shape[1] * factor
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    thickness = max(2, min(height, width) // 120)
    font = ImageFont.load_default(size=min(max(14, min(height, width) // 18), 28))
    tags = []
    for index in order:
        ymin, xmin, ymax, xmax = boxes[index] * factor
        colour = class_colour(labels[index])
        left, top = np.clip([xmin, ymin], 0, [width - 1, height - 1])
        right, bottom = np.clip([xmax, ymax], [left, top], [width - 1, height - 1])
        _draw_box(draw, left, top, right, bottom, colour, thickness)
        score = "" if scores is None else f" {100 * scores[index]:.0f}%"
        note = f" {notes[index]}" if notes is not None and notes[index] else ""
        tags.append((shown_name(labels[index]) + score + note, (left, top, bottom), colour))
    for text, corner, colour in tags:
        _draw_tag(draw, text, corner, (width, height), colour, font)
    return np.asarray(picture)


def _check(image: np.ndarray, **lists: Sequence[Any] | np.ndarray | None) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 [H, W, 3], not {image.dtype} {image.shape}")
    counts = {name: len(values) for name, values in lists.items() if values is not None}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ValueError(f"{listed}: numbers must agree")


def class_colour(label: str) -> tuple[int, int, int]:
    """The RGB colour of a label: always the same for the same text."""
    # Steps of the golden ratio keep neighbours apart: 0 to 9, a to z, class_1 and class_2.
    hue = int.from_bytes(label.encode(errors="surrogatepass")) % 65521 * 0.6180339887498949 % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.42, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def _tinted(
    image: np.ndarray, masks: np.ndarray, labels: Sequence[str], order: Iterable[int]
) -> np.ndarray:
    """A copy of the image with each mask in its label's colour, the last of `order` on top."""
    tinted = image.copy()
    for index in order:
        inside = masks[index] > 0
        colour = np.array(class_colour(labels[index]))
        tinted[inside] = (1 - MASK_STRENGTH) * image[inside] + MASK_STRENGTH * colour
    return tinted


def _draw_box(
    draw: ImageDraw.ImageDraw,
    left: float,
    top: float,
    right: float,
    bottom: float,
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    # The dark line around it shows the box on a background of its own colour.
    dark = (left - 1, top - 1, right + 1, bottom + 1)
    draw.rectangle(dark, outline="black", width=thickness + 2)
    draw.rectangle((left, top, right, bottom), outline=colour, width=thickness)


def _draw_tag(draw, text, corner, size, colour, font) -> None:
    """Writes `text` on a filled tag above the box; below it where the picture ends."""
    left, top, bottom = corner
    width, height = size
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
    pad = 3
    tag_width, tag_height = x1 - x0 + 2 * pad, y1 - y0 + 2 * pad
    left = min(max(left, 0), max(width - tag_width, 0))
    if top >= tag_height:
        top -= tag_height
    elif bottom + tag_height <= height:
        top = bottom
    draw.rectangle((left, top, left + tag_width, top + tag_height), fill=colour)
    red, green, blue = colour
    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else "white"
    draw.text((left + pad - x0, top + pad - y0), text, fill=ink, font=font)
