"""COCO numbers, against pycocotools driven by hand and against a plain numpy AP; and the page."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from odapi import cli
from odapi.console.errors import UserError
from odapi.evaluate import run as evaluate
from odapi.evaluate.coco import BOXES_NAME, MASKS_NAME, TRUTH_NAME
from odapi.evaluate.mistakes import Mistakes, pair
from odapi.records.ground_truth import GroundTruth

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

from tests.odapi.evaluate.oracle import by_hand, guess, guess_masks, measure
from tests.small.records import scene_features, write_records


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
    from odapi.detector.detector import Detections

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
    from odapi.detector.detector import Detections

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
    from odapi.detector.detector import Detections

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
        f"--output_dir={tmp_path / 'report'}",
        "--min_score=0.25",
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
    assert written["confusion"]["min_score"] == 0.25
    report = tmp_path / "report"
    assert (report / evaluate.REPORT_NAME).read_text() == (
        tmp_path / evaluate.REPORT_NAME
    ).read_text()
    assert f"page: {report / evaluate.PAGE_NAME}" in text
    assert "step 24" in (report / evaluate.PAGE_NAME).read_text()
    assert by_hand(report, "bbox") == list(written["metrics"].values())


def test_repeated_ids_are_counted_and_change_no_number(project, capsys):
    scenes = [dataclasses.replace(scene, source_id="same") for scene in project.scenes]
    write_records(project.folder / "same.record", map(scene_features, scenes))
    single = measure(project, guess(project.scenes))
    repeated = measure(project, guess(project.scenes), "same.record")
    assert (single.repeated_ids, single.notes) == (0, [])
    assert repeated.repeated_ids == len(scenes) - 1
    assert "note: 5 of 6 records repeat the image/source_id" in capsys.readouterr().out
    assert repeated.metrics == single.metrics
    assert repeated.per_class == single.per_class
    assert repeated.confusion == single.confusion


def test_classes_the_label_map_lacks_are_counted(project):
    def strange():
        for one in guess(project.scenes):
            yield dataclasses.replace(one, classes=np.append(one.classes[:-1], 7))

    result = measure(project, strange())
    assert "6 detections are of classes that the label map lacks" in result.notes[0]
    assert sum(map(sum, result.confusion.counts)) > 0


def test_confusion_counts_what_pycocotools_matches(project, tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    scenes = list(project.scenes)
    scenes[0] = dataclasses.replace(scenes[0], crowd=[1] * len(scenes[0].labels))
    write_records(project.folder / "crowd.record", map(scene_features, scenes))
    result = measure(project, guess(scenes), "crowd.record", output_dir=tmp_path, min_score=0.3)
    truth = COCO(str(tmp_path / TRUTH_NAME))
    found = [
        entry for entry in json.loads((tmp_path / BOXES_NAME).read_text()) if entry["score"] >= 0.3
    ]
    reference = COCOeval(truth, truth.loadRes(found), "bbox")
    reference.params.iouThrs = np.array([0.5])
    reference.evaluate()
    for index, label in enumerate((1, 2)):
        images = [
            one
            for one in reference.evalImgs
            if one and one["category_id"] == label and one["aRng"][0] == 0 and one["aRng"][1] > 1e9
        ]
        right = sum(int(((one["dtMatches"][0] > 0) & ~one["dtIgnore"][0]).sum()) for one in images)
        wrong = sum(int(((one["dtMatches"][0] == 0) & ~one["dtIgnore"][0]).sum()) for one in images)
        objects = sum(int((np.array(one["gtIgnore"]) == 0).sum()) for one in images)
        assert result.confusion.found(index) == right > 0
        assert result.confusion.wrong(index) == wrong > 0
        assert result.confusion.missed(index) == objects - right
    lenient = measure(project, guess(scenes), "crowd.record", min_score=0.0)
    assert sum(map(sum, lenient.confusion.counts)) > sum(map(sum, result.confusion.counts))
    assert lenient.metrics == result.metrics, "the score is for the confusion matrix alone"


def test_pairs_within_a_class_come_first_and_crowds_excuse():
    from odapi.detector.detector import Detections

    box, other, far = [0, 0, 10, 10], [0, 0, 10, 11], [50, 50, 60, 60]
    truth = GroundTruth(
        np.float32([box, far, [80, 80, 96, 96]]), np.int64([1, 2, 1]), np.int64([0, 0, 1])
    )
    found = Detections(
        np.float32([box, other, far, [82, 82, 90, 90], [20, 20, 30, 30], far]),
        np.float32([0.9, 0.8, 0.7, 0.6, 0.55, 0.1]),
        np.int64([2, 1, 1, 1, 2, 2]),
    )
    paired = pair(truth, found, 0.5)
    assert paired.pairs == [(0, 1), (1, 2)], "the right class wins over the better box"
    assert paired.missed == []
    assert paired.nothing == [0, 4], "the one upon the crowd is neither right nor wrong"
    assert pair(truth, found, 0.05).pairs == [(0, 1), (1, 5)]

    counted = Mistakes({1: "cat", 2: "dog"}, min_score=0.5)
    counted.add(np.zeros((96, 96, 3), np.uint8), truth, found)
    assert counted.confusion().counts == [[1, 0, 0], [1, 0, 0], [0, 2, 0]]
    (worst,) = counted.worst()
    assert worst.mistakes == 4
    assert worst.caption == "image 1: 0 missed, 2 where nothing is, 1 taken for another class"


def test_the_worst_images_are_kept_in_order(project):
    from odapi.detector.detector import Detections

    def boxes(count):
        ones = np.ones(count, np.float32)
        return Detections(np.float32([[0, 0, 9, 9]] * count).reshape(-1, 4), ones, np.int64(ones))

    empty = GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))
    counted = Mistakes({1: "red"}, worst=3)
    for number, wrong in enumerate([1, 4, 0, 2, 9, 2]):
        truth = dataclasses.replace(empty, filename=f"{number}.jpg")
        counted.add(np.zeros((2000, 60, 3), np.uint8), truth, boxes(wrong))
    worst = counted.worst()
    assert [entry.caption.split(":")[0] for entry in worst] == ["4.jpg", "1.jpg", "3.jpg"]
    assert Image.open(io.BytesIO(worst[0].found)).height <= 24 * 800


def test_the_output_folder_tells_everything(project, masked, tmp_path):
    result = measure(
        project, guess_masks(project.scenes), masked, load_masks=True, output_dir=tmp_path
    )
    names = {"evaluation.json", "per_class.csv", "evaluation.html"}
    assert {path.name for path in tmp_path.iterdir()} == names | {
        TRUTH_NAME,
        BOXES_NAME,
        MASKS_NAME,
    }
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["mask_metrics"] == result.mask_metrics
    assert written["confusion"]["min_score"] == 0.5

    with (tmp_path / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["red", "blue"]
    for row, entry in zip(rows, result.per_class, strict=True):
        assert float(row["AP"]) == entry.ap
        assert int(row["found"]) + int(row["missed"]) == entry.boxes

    page = (tmp_path / "evaluation.html").read_text()
    sections = re.findall(r'<section id="(\w+)">', page)
    assert sections == ["coco", "curves", "classes", "confusion", "worst"]
    assert page.count("data:image/png") == 3, "two curves and a matrix"
    assert page.count("data:image/jpeg") > 2
    assert f"{result.mask_metrics['DetectionMasks_Precision/mAP']:.3f}" in page
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)


def test_a_model_that_finds_nothing_has_files_and_a_page(project, tmp_path):
    from odapi.detector.detector import Detections

    (tmp_path / MASKS_NAME).write_text("of an earlier model")
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int))
    result = measure(project, [nothing] * len(project.scenes), output_dir=tmp_path)
    assert result.metrics["DetectionBoxes_Precision/mAP"] == 0.0
    assert json.loads((tmp_path / BOXES_NAME).read_text()) == []
    assert not (tmp_path / MASKS_NAME).exists()
    assert [result.confusion.missed(index) for index in (0, 1)] == [
        entry.boxes for entry in result.per_class
    ]
    assert (
        "No object was taken for one of another class" in (tmp_path / "evaluation.html").read_text()
    )
