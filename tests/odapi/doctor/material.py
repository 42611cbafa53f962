"""A clean record with boxes and masks, and what makes it unclean."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import count, islice

import numpy as np
from PIL import Image

from tests.small.records import Features, scene_features
from tests.small.scenes import Scene, make_scene

Damage = Callable[[Features], None]


def png(pixels: np.ndarray) -> bytes:
    """Pixels as a PNG file."""
    return encoded(Image.fromarray(pixels), "PNG")


def encoded(image: Image.Image, image_format: str) -> bytes:
    """An image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


def clean_scenes(number: int) -> list[Scene]:
    """Scenes of a red rectangle and a blue one."""
    scenes = (make_scene(seed) for seed in count())
    return list(islice((scene for scene in scenes if scene.labels == [1, 2]), number))


def masked_features(scene: Scene) -> Features:
    """A scene under the standard keys, with a PNG mask for each box."""
    masks = []
    for top, left, bottom, right in scene.boxes:
        mask = np.zeros(scene.image.shape[:2], np.uint8)
        mask[top:bottom, left:right] = 1
        masks.append(png(mask))
    return scene_features(scene) | {"image/object/mask": masks}


def put(key: str, values: Sequence) -> Damage:
    """Replaces the values of a key."""
    return lambda record: record.update({key: values})


def change(key: str, index: int, value: object) -> Damage:
    """Replaces one value of a key."""

    def damage(record: Features) -> None:
        values = list(record[key])
        values[index] = value
        record[key] = values

    return damage


def drop(*keys: str) -> Damage:
    """Takes keys out of the record."""

    def damage(record: Features) -> None:
        for key in keys:
            del record[key]

    return damage


def image(picture: Image.Image, image_format: str) -> Damage:
    """Replaces the image."""
    return put("image/encoded", [encoded(picture, image_format)])
