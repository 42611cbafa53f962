"""What stands for a model where evaluation is tested, and what its numbers are compared with."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
from PIL import Image

from odapi.evaluate import run as evaluate
from odapi.evaluate.coco import BOXES_NAME, MASKS_NAME, TRUTH_NAME
from odapi.pipeline.config import load
from odapi.pipeline.inputs import EvalRecords
from tests.small.records import scene_features


class Oracle:
    """Stands for a model: gives prepared detections, one set after the other."""

    source = "oracle/ckpt-0"

    def __init__(self, detections):
        self._detections = iter(detections)

    def detect(self, image):
        return next(self._detections)


def guess(scenes, shift=0.0, seed=0):
    """Detections made of the ground truth: shifted, some missing, some of the wrong class."""
    from odapi.detector.detector import Detections

    random = np.random.default_rng(seed)
    for scene in scenes:
        boxes = [box + shift + random.normal(0, 2, 4) for box in scene.boxes]
        labels = list(scene.labels)
        if random.random() < 0.3:
            boxes, labels = boxes[1:], labels[1:]
        boxes.append(np.float32([5, 5, 30, 30]))
        labels.append(int(random.integers(1, 3)))
        scores = np.sort(random.random(len(boxes)).astype(np.float32))[::-1]
        yield Detections(np.float32(boxes), scores, np.int64(labels))


def measure(project, detections, records="eval.record", load_masks=False, **options):
    from object_detection.protos.input_reader_pb2 import PNG_MASKS

    settings = load(str(project.config))
    files = [str(project.folder / records)]
    reader = settings.eval_input_reader[0]
    if load_masks:
        reader.load_instance_masks = True
        reader.mask_type = PNG_MASKS
    eval_records = EvalRecords(reader, files, {1: "red", 2: "blue"})
    return evaluate.evaluate_detector(Oracle(detections), eval_records, **options)


def by_hand(folder, kind, change=None):
    """The twelve numbers, as a user gets them from the exported files."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = json.loads((folder / {"bbox": BOXES_NAME, "segm": MASKS_NAME}[kind]).read_text())
    truth = COCO(str(folder / TRUTH_NAME))
    reference = COCOeval(truth, truth.loadRes(list(map(change, found)) if change else found), kind)
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    return [None if value == -1 else value for value in reference.stats.tolist()]


def disc(box, size):
    """An ellipse in a box, uint8 [H, W]: a mask that is not its box."""
    top, left, bottom, right = (float(side) for side in box)
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    height, width = max(bottom - top, 1), max(right - left, 1)
    vertical = (2 * rows - top - bottom) / height
    return (vertical**2 + ((2 * columns - left - right) / width) ** 2 <= 1).astype(np.uint8)


def with_masks(scene):
    """A record of the scene with a disc in each of its boxes."""
    encoded = []
    for box in scene.boxes:
        buffer = io.BytesIO()
        Image.fromarray(255 * disc(box, scene.image.shape)).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    return scene_features(scene) | {"image/object/mask": encoded}


def guess_masks(scenes, shape=disc):
    for scene, one in zip(scenes, guess(scenes), strict=True):
        masks = np.stack([shape(box, scene.image.shape[:2]) for box in one.boxes])
        yield dataclasses.replace(one, masks=masks)
