"""The same scenes in every annotation format, as tools write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as run_lengths

from tests.entry_points.voc import write_annotation
from tests.small.scenes import NAMES, Scene, make_scene

HEIGHT, WIDTH = 80, 112


def make_scenes(number: int = 4) -> list[Scene]:
    """Scenes of two or one objects; the last one is empty."""
    scenes = [make_scene(seed, HEIGHT, WIDTH, objects=(1, 2)) for seed in range(number - 1)]
    empty = make_scene(99, HEIGHT, WIDTH)
    return [*scenes, Scene(np.full_like(empty.image, 110), np.zeros((0, 4), int), [])]


def file_name(index: int) -> str:
    """JPEG and PNG by turns."""
    return f"scene{index:03}.{'jpg' if index % 2 else 'png'}"


def write_images(folder: Path, scenes: Sequence[Scene]) -> Path:
    """Writes each scene's image and returns the folder."""
    for index, scene in enumerate(scenes):
        scene.save(folder / file_name(index))
    return folder


def write_voc(folder: Path, scenes: Sequence[Scene]) -> Path:
    """A folder of XML files; the second object of each is difficult."""
    for index, scene in enumerate(scenes):
        names = [NAMES[label] for label in scene.labels]
        difficult = [0, 1][: len(names)]
        path = folder / f"scene{index:03}.xml"
        write_annotation(path, scene, file_name(index), "images", names, difficult)
    return folder


def write_yolo(folder: Path, scenes: Sequence[Scene], polygons: bool = False) -> Path:
    """A folder of label files and data.yaml; the classes in the order of NAMES."""
    folder.mkdir()
    numbers = {label: number for number, label in enumerate(NAMES)}
    for index, scene in enumerate(scenes):
        lines = []
        for box, label in zip(scene.normalized_boxes.tolist(), scene.labels, strict=True):
            top, left, bottom, right = box
            values = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            if polygons:
                values = (left, top, right, top, right, bottom, left, bottom)
            lines.append(" ".join([str(numbers[label]), *(f"{value:.8f}" for value in values)]))
        (folder / f"scene{index:03}.txt").write_text("\n".join(lines))
    names = ", ".join(repr(name) for name in NAMES.values())
    (folder / "data.yaml").write_text(f"nc: {len(NAMES)}\nnames: [{names}]\n")
    return folder


def write_csv(path: Path, scenes: Sequence[Scene], normalized: bool = False) -> Path:
    """A row for each box, one without a class for an empty scene."""
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for index, scene in enumerate(scenes):
        start = f"{file_name(index)},{WIDTH},{HEIGHT}"
        boxes = scene.normalized_boxes if normalized else scene.boxes
        for (top, left, bottom, right), label in zip(boxes.tolist(), scene.labels, strict=True):
            rows.append(f"{start},{NAMES[label]},{left},{top},{right},{bottom}")
        if not scene.labels:
            rows.append(f"{start},,,,,")
    path.write_text("\n".join(rows) + "\n")
    return path


def coco(scenes: Sequence[Scene], masks: bool = False) -> dict:
    """COCO's instances. With masks, those of each image in turn are polygons, run lengths as
    numbers, and compressed ones; an object with run lengths as numbers is a crowd."""
    annotations = []
    for index, scene in enumerate(scenes):
        for box, label in zip(scene.boxes.tolist(), scene.labels, strict=True):
            top, left, bottom, right = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 * index,
                    "category_id": 10 * label,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": float((right - left) * (bottom - top)),
                    "iscrowd": int(masks and index % 3 == 1),
                    "segmentation": _segmentation(box, index % 3) if masks else [],
                }
            )
    images = [
        {"id": 10 * index, "file_name": file_name(index), "height": HEIGHT, "width": WIDTH}
        for index in range(len(scenes))
    ]
    categories = [{"id": 10 * label, "name": NAMES[label]} for label in reversed(NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _segmentation(box: list[int], kind: int) -> list | dict:
    top, left, bottom, right = box
    if kind == 0:
        return [[left, top, right, top, right, bottom, left, bottom]]
    pixels = box_mask(box)
    if kind == 1:
        flat = pixels.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        counts = np.diff([0, *edges, len(flat)]).tolist()
        return {"size": [HEIGHT, WIDTH], "counts": counts if not flat[0] else [0, *counts]}
    encoded = run_lengths.encode(np.asfortranarray(pixels))
    return {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}


def box_mask(box: Sequence[int]) -> np.ndarray:
    """uint8 [HEIGHT, WIDTH], 1 within the box."""
    top, left, bottom, right = box
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def write_coco(path: Path, content: dict) -> Path:
    """Writes the JSON file."""
    path.write_text(json.dumps(content))
    return path
