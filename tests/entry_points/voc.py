"""Annotations in the XML of PASCAL VOC, which the Oxford pets use too."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tests.small.scenes import Scene


def write_annotation(
    path: Path, scene: Scene, file_name: str, folder: str, names: list[str], difficult: list[int]
) -> None:
    """Writes the boxes of a scene, of an object each of `names` and `difficult`."""
    root = ElementTree.Element("annotation")
    _add(root, folder=folder, filename=file_name)
    height, width = scene.image.shape[:2]
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    for box, name, hard in zip(scene.boxes.tolist(), names, difficult, strict=True):
        one = ElementTree.SubElement(root, "object")
        _add(one, name=name, pose="Frontal", truncated=0, difficult=hard)
        corners = dict(zip(("ymin", "xmin", "ymax", "xmax"), box, strict=True))
        _add(ElementTree.SubElement(one, "bndbox"), **corners)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path)


def _add(parent: ElementTree.Element, **values: object) -> None:
    for key, value in values.items():
        ElementTree.SubElement(parent, key).text = str(value)
