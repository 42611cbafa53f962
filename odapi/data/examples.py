"""A labelled image as the features of a record. Knows nothing of TensorFlow, so that a worker
process starts in a moment."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

from odapi.data import images
from odapi.data.annotations import LabelledImage, Object, Problem
from odapi.records.images import UNREADABLE

SLACK = 0.01
"""Pixels by which a box may reach over the edge without being counted as clipped: what the six
decimals of YOLO's files lose in an image 10,000 pixels wide."""


@dataclass(frozen=True)
class EncodedExample:
    """What became of an image.

    Attributes:
        features: key to values, all bytes, all int or all float, under the keys that
            `TfExampleDecoder` reads; None if the image is left out.
        labels: the class of each box.
        masks: number of masks.
        problems: what was not as it should be, and where.
    """

    features: dict[str, list] | None = None
    labels: list[str] = field(default_factory=list)
    masks: int = 0
    problems: list[tuple[Problem, str]] = field(default_factory=list)


def encode_example(
    image: LabelledImage, class_ids: dict[str, int], with_masks: bool
) -> EncodedExample:
    """Reads an image and makes the features of its record.

    Args:
        image: what to encode.
        class_ids: class name to id in the label map.
        with_masks: write masks, which every object then has.
    """
    try:
        encoded = images.encode(image.file, image.size)
    except images.SizeDiffers as error:
        return EncodedExample(problems=[(Problem.IMAGE_SIZE, f"{image.file}: {error}")])
    except UNREADABLE as error:
        return EncodedExample(problems=[(Problem.IMAGE_UNREADABLE, f"{image.file}: {error}")])
    problems = [(problem, str(image.file)) for problem in encoded.problems]
    size = encoded.width, encoded.height
    kept = _within_image(image, size, with_masks, problems)
    if not kept:
        problems.append((Problem.NO_BOX, str(image.file)))
    boxes = [each.box for each in kept]
    objects = [each.instance for each in kept]
    features = {
        "image/encoded": [encoded.data],
        "image/format": [encoded.format.encode()],
        "image/height": [encoded.height],
        "image/width": [encoded.width],
        "image/filename": [_bytes(image.name)],
        "image/source_id": [_bytes(image.source_id)],
        "image/key/sha256": [hashlib.sha256(encoded.data).hexdigest().encode()],
        "image/object/bbox/xmin": [xmin / encoded.width for xmin, _, _, _ in boxes],
        "image/object/bbox/ymin": [ymin / encoded.height for _, ymin, _, _ in boxes],
        "image/object/bbox/xmax": [xmax / encoded.width for _, _, xmax, _ in boxes],
        "image/object/bbox/ymax": [ymax / encoded.height for _, _, _, ymax in boxes],
        "image/object/class/text": [_bytes(instance.label) for instance in objects],
        "image/object/class/label": [class_ids[instance.label] for instance in objects],
        "image/object/is_crowd": [int(instance.crowd) for instance in objects],
        "image/object/difficult": [int(instance.difficult) for instance in objects],
        "image/object/truncated": [int(instance.truncated) for instance in objects],
        "image/object/area": [each.area for each in kept],
    }
    if with_masks:
        features["image/object/mask"] = [each.mask for each in kept]
    labels = [instance.label for instance in objects]
    return EncodedExample(features, labels, len(kept) if with_masks else 0, problems)


class _Kept(NamedTuple):
    """An object that goes into the record."""

    instance: Object
    box: tuple[float, float, float, float]
    """xmin, ymin, xmax, ymax in pixels."""
    area: float
    """In pixels."""
    mask: bytes
    """A PNG; empty where there is none."""


def _within_image(
    image: LabelledImage,
    size: tuple[int, int],
    with_masks: bool,
    problems: list[tuple[Problem, str]],
) -> list[_Kept]:
    """The objects of which something is left within the image."""
    scale = size if image.normalized else (1, 1)
    kept = []
    for instance in image.objects:
        box = _clip(instance, scale, size, problems)
        if box is None:
            continue
        area, png = instance.area, b""
        if with_masks:
            try:
                mask = rasterize(instance.mask, scale, size)
            except (TypeError, ValueError, KeyError, IndexError) as error:
                problems.append((Problem.UNREADABLE, f"{instance.place}: mask: {error}"))
                continue
            if not mask.any():
                problems.append((Problem.MASK_EMPTY, instance.place))
            area, png = area or float(mask.sum()), _png(mask)
        kept.append(_Kept(instance, box, area or (box[2] - box[0]) * (box[3] - box[1]), png))
    return kept


def _bytes(text: str) -> bytes:
    """UTF-8; the bytes that were there, where a file's name is none."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate of JSON's, "\\ud800"
        return text.encode(errors="backslashreplace")


def _clip(
    instance: Object,
    scale: tuple[int, int],
    size: tuple[int, int],
    problems: list[tuple[Problem, str]],
) -> tuple[float, float, float, float] | None:
    """The box in pixels, within the image; None if nothing is left of it."""
    width, height = size
    xmin, ymin, xmax, ymax = (
        side * factor for side, factor in zip(instance.box, scale * 2, strict=True)
    )
    shown = f"{instance.place}: {instance.label} {xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}"
    if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))):
        problems.append((Problem.UNREADABLE, shown))
    elif xmin >= xmax or ymin >= ymax:
        problems.append((Problem.BOX_EMPTY, shown))
    elif xmin >= width or ymin >= height or xmax <= 0 or ymax <= 0:
        problems.append((Problem.BOX_OUTSIDE, shown))
    else:
        box = max(xmin, 0.0), max(ymin, 0.0), min(xmax, width), min(ymax, height)
        if np.float32(box[0] / width) == np.float32(box[2] / width) or (
            np.float32(box[1] / height) == np.float32(box[3] / height)
        ):
            problems.append((Problem.BOX_EMPTY, shown))
            return None
        if min(xmin, ymin) < -SLACK or xmax > width + SLACK or ymax > height + SLACK:
            problems.append((Problem.BOX_CLIPPED, shown))
        return box
    return None


def rasterize(
    mask: list[list[float]] | dict, scale: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """The pixels of a mask, as pycocotools draws it.

    Args:
        mask: polygons or COCO's run lengths; see `Object.mask`.
        scale: what the polygons' x and y are multiplied with to be pixels.
        size: width and height of the image.

    Returns:
        uint8 [height, width], 0 or 1.

    Raises:
        ValueError: it is neither, or the run lengths are not those of such an image.
    """
    from pycocotools import mask as run_lengths

    width, height = size
    if isinstance(mask, dict):
        if list(mask["size"]) != [height, width]:
            raise ValueError(f"run lengths of size {mask['size']}, the image has {height, width}")
        if isinstance(mask["counts"], list):
            if sum(mask["counts"]) != height * width or min(mask["counts"]) < 0:
                raise ValueError("the run lengths do not add up to the image")
            mask = run_lengths.frPyObjects(mask, height, width)
        return run_lengths.decode(mask)
    polygons = [np.array(polygon, np.float64).ravel() for polygon in mask]
    # pycocotools takes four numbers for a box, and reads beyond the end of an odd number of them.
    if any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise ValueError("a polygon needs three points, and two numbers for each")
    if not all(np.isfinite(polygon).all() for polygon in polygons):
        raise ValueError("a polygon has a point that is not a number")
    drawn = run_lengths.frPyObjects(
        [(polygon.reshape(-1, 2) * scale).ravel().tolist() for polygon in polygons], height, width
    )
    return run_lengths.decode(run_lengths.merge(drawn))


def _png(mask: np.ndarray) -> bytes:
    """As upstream's create_coco_tf_record.py writes masks: 8 bits, 0 and 1."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()
