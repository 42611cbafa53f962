"""COCO numbers, against pycocotools driven by hand and against a plain numpy AP."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from odapi import cli, config, evaluate
from odapi.errors import UserError

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

from tests.small.records import scene_features, write_records


class Oracle:
    """Stands for a model: gives prepared detections, one set after the other."""

    source = "oracle/ckpt-0"

    def __init__(self, detections):
        self._detections = iter(detections)

    def detect(self, image):
        return next(self._detections)


def guess(scenes, shift=0.0, seed=0):
    """Detections made of the ground truth: shifted, some missing, some of the wrong class."""
    from odapi.detector import Detections

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


def measure(project, detections, records="eval.record"):
    settings = config.load(str(project.config))
    files = [str(project.folder / records)]
    reader = settings.eval_input_reader[0]
    return evaluate.evaluate_detector(Oracle(detections), reader, files, {1: "red", 2: "blue"})


def plain_ap50(scenes, detections, label):
    """Average precision at IoU 0.5 for one class, from its definition."""

    def iou(a, b):
        sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        shared = np.prod(np.maximum(sides, 0))
        return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)

    truth = [[b for b, n in zip(s.boxes, s.labels, strict=True) if n == label] for s in scenes]
    found = [
        (score, image, box)
        for image, one in enumerate(detections)
        for score, box, n in zip(one.scores, one.boxes, one.classes, strict=True)
        if n == label
    ]
    free = [list(range(len(boxes))) for boxes in truth]
    hits = []
    for _, image, box in sorted(found, key=lambda entry: -entry[0]):
        overlap = {i: iou(box, truth[image][i]) for i in free[image]}
        best = max(overlap, key=overlap.get, default=None)
        hit = best is not None and overlap[best] >= 0.5
        if hit:
            free[image].remove(best)
        hits.append(hit)
    total = sum(len(boxes) for boxes in truth)
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    recall = right / total
    return np.mean([precision[recall >= level].max(initial=0) for level in np.linspace(0, 1, 101)])


def test_numbers_agree_with_pycocotools_driven_by_hand(project, tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    detections = list(guess(project.scenes))
    result = measure(project, detections)

    truth, found = [], []
    for image, (scene, one) in enumerate(zip(project.scenes, detections, strict=True)):
        for (y, x, bottom, right), label in zip(scene.boxes, scene.labels, strict=True):
            box = [float(v) for v in (x, y, right - x, bottom - y)]
            truth.append(
                {"id": len(truth) + 1, "image_id": image, "category_id": label, "bbox": box}
                | {"area": box[2] * box[3], "iscrowd": 0}
            )
        for (y, x, bottom, right), score, label in zip(
            one.boxes, one.scores, one.classes, strict=True
        ):
            box = [float(v) for v in (x, y, right - x, bottom - y)]
            found.append(
                {"image_id": image, "category_id": int(label), "bbox": box, "score": float(score)}
            )
    path = tmp_path / "truth.json"
    images = [{"id": image} for image in range(len(project.scenes))]
    categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    path.write_text(json.dumps({"images": images, "annotations": truth, "categories": categories}))
    coco = COCO(str(path))
    reference = COCOeval(coco, coco.loadRes(found), "bbox")
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    ours = [-1 if value is None else value for value in result.metrics.values()]
    np.testing.assert_allclose(ours, reference.stats, atol=1e-4)
    assert 0.1 < result.metrics["DetectionBoxes_Precision/mAP"] < 0.9


def test_ap50_agrees_with_its_definition_and_falls_when_boxes_are_shifted(project):
    detections = list(guess(project.scenes))
    result = measure(project, detections)
    for entry in result.per_class:
        expected = plain_ap50(project.scenes, detections, entry.id)
        assert entry.ap50 == pytest.approx(expected, abs=1e-4)
        assert np.mean(entry.precision) == pytest.approx(entry.ap50)
    assert result.metrics["DetectionBoxes_Precision/mAP@.50IOU"] > 0.3

    shifted = measure(project, guess(project.scenes, shift=40.0))
    assert shifted.metrics["DetectionBoxes_Precision/mAP@.50IOU"] < 0.05


def test_perfect_detections_score_one_and_are_counted(project):
    from odapi.detector import Detections

    perfect = (
        Detections(s.boxes, np.ones(len(s.labels), np.float32), np.int64(s.labels))
        for s in project.scenes
    )
    result = measure(project, perfect)
    assert result.metrics["DetectionBoxes_Precision/mAP"] == pytest.approx(1.0)
    assert result.images == len(project.scenes)
    assert result.boxes == sum(len(scene.labels) for scene in project.scenes)
    assert sum(entry.boxes for entry in result.per_class) == result.boxes


def test_repeated_ids_empty_images_and_crowds(project):
    from odapi.detector import Detections

    plain, other = project.scenes[0], project.scenes[1]
    empty = dataclasses.replace(plain, boxes=np.zeros((0, 4), np.float32), labels=[])
    crowded = dataclasses.replace(other, crowd=[1] * len(other.labels))
    scenes = [dataclasses.replace(s, source_id="same") for s in (plain, empty, crowded)]
    write_records(project.folder / "odd.record", map(scene_features, scenes))
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int))
    perfect = Detections(
        plain.boxes, np.ones(len(plain.labels), np.float32), np.int64(plain.labels)
    )

    result = measure(project, [perfect, nothing, nothing], "odd.record")
    assert (result.images, result.images_without_boxes) == (3, 1)
    assert result.boxes == len(plain.labels), "a crowd is no box to find"
    assert result.metrics["DetectionBoxes_Precision/mAP"] == pytest.approx(1.0)
    absent = [entry for entry in result.per_class if not entry.boxes]
    assert all(entry.ap is None and entry.precision is None for entry in absent)

    silent = measure(project, [nothing] * 3, "odd.record")
    assert silent.metrics["DetectionBoxes_Precision/mAP"] == 0.0


def test_records_without_any_box_are_an_error(project):
    from odapi.detector import Detections

    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int))
    scene = dataclasses.replace(project.scenes[0], boxes=np.zeros((0, 4), np.float32), labels=[])
    write_records(project.folder / "empty.record", [scene_features(scene)])
    with pytest.raises(UserError, match="none of the 1 eval records has a box"):
        measure(project, [nothing], "empty.record")


def test_a_class_the_label_map_lacks_is_named(project):
    scene = dataclasses.replace(project.scenes[0], labels=[3] * len(project.scenes[0].labels))
    write_records(project.folder / "green.record", [scene_features(scene)])
    with pytest.raises(UserError) as caught:
        measure(project, [], "green.record")
    assert "the label map lacks" in caught.value.message
    assert "green.record: record 1" in caught.value.at


def test_an_image_that_does_not_decode_is_named(project, tmp_path):
    import tensorflow as tf

    path = project.folder / "broken.record"
    records = list(tf.data.TFRecordDataset(str(project.folder / "eval.record")).as_numpy_iterator())
    example = tf.train.Example.FromString(records[0])
    example.features.feature["image/encoded"].bytes_list.value[0] = b"not a picture"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(UserError) as caught:
        measure(project, [], "broken.record")
    assert "cannot be decoded" in caught.value.message
    assert "broken.record: record 1" in caught.value.at


def test_the_command_evaluates_a_checkpoint_and_writes_json(project, trained, tmp_path, capsys):
    arguments = [
        "evaluate",
        f"--pipeline_config_path={project.config}",
        f"--checkpoint_dir={trained}",
        f"--model_dir={tmp_path}",
    ]
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert "step 24" in text
    assert "AP@.5" in text
    written = json.loads((tmp_path / evaluate.REPORT_NAME).read_text())
    assert written["step"] == 24
    assert written["images"] == len(project.scenes)
    assert len(written["metrics"]) == 12
    assert [entry["name"] for entry in written["per_class"]] == ["red", "blue"]
