"""COCO numbers of masks, against pycocotools driven by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from odapi.console.errors import UserError
from odapi.pipeline.config import load
from odapi.pipeline.inputs import EvalRecords
from odapi.records.ground_truth import read_examples

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

from object_detection.protos.input_reader_pb2 import PNG_MASKS

from tests.odapi.evaluate.oracle import by_hand, disc, guess, guess_masks, measure


def test_exported_files_give_the_same_numbers_by_hand(project, masked, tmp_path):
    result = measure(
        project, guess_masks(project.scenes), masked, load_masks=True, output_dir=tmp_path
    )
    assert by_hand(tmp_path, "bbox") == list(result.metrics.values())
    assert by_hand(tmp_path, "segm") == list(result.mask_metrics.values())
    assert result.metrics != result.mask_metrics
    assert all(name.startswith("DetectionMasks_") for name in result.mask_metrics)

    def swapped(entry):
        left, top, width, height = entry["bbox"]
        return entry | {"bbox": [top, left, height, width]}

    other = by_hand(tmp_path, "bbox", swapped)
    assert other[1] < 0.5 * result.metrics["DetectionBoxes_Precision/mAP@.50IOU"]


def test_wrong_masks_lower_the_ap_of_masks_alone(project, masked):
    from odapi.detector.detector import Detections

    def perfect(change):
        for scene in project.scenes:
            masks = np.stack([change(disc(box, scene.image.shape[:2])) for box in scene.boxes])
            ones = np.ones(len(masks), np.float32)
            yield Detections(scene.boxes, ones, np.int64(scene.labels), masks)

    right = measure(project, perfect(lambda mask: mask), masked, load_masks=True)
    assert right.mask_metrics["DetectionMasks_Precision/mAP"] == pytest.approx(1.0)
    wrong = measure(
        project, perfect(lambda mask: np.roll(mask, 14, axis=1)), masked, load_masks=True
    )
    assert wrong.mask_metrics["DetectionMasks_Precision/mAP"] < 0.1
    assert wrong.metrics == right.metrics
    # pi / 4 of a box is its disc: an IoU between 0.75 and 0.8, and nothing of 0.8 and above.
    boxes = measure(
        project,
        (
            dataclasses.replace(one, masks=np.stack([box_mask(b) for b in one.boxes]))
            for one in perfect(lambda mask: mask)
        ),
        masked,
        load_masks=True,
    )
    assert boxes.mask_metrics["DetectionMasks_Precision/mAP@.75IOU"] > 0.8
    assert boxes.mask_metrics["DetectionMasks_Precision/mAP"] == pytest.approx(0.6, abs=0.05)


def box_mask(box):
    mask = np.zeros((96, 96), np.uint8)
    top, left, bottom, right = (int(side) for side in box)
    mask[top:bottom, left:right] = 1
    return mask


def test_masks_that_cannot_be_measured_are_told(project, masked):
    unread = measure(project, guess_masks(project.scenes), masked)
    assert unread.mask_metrics is None
    assert "set load_instance_masks" in unread.notes[0]

    absent = measure(project, guess_masks(project.scenes), load_masks=True)
    assert absent.mask_metrics is None
    assert "masks were not measured: 6 of 6 records" in absent.notes[0]

    blind = measure(project, guess(project.scenes), masked, load_masks=True)
    assert blind.mask_metrics is None and blind.notes == []
    assert blind.per_class == unread.per_class
    # Sizes are those of the masks, where the records have them, as in COCO.
    small = "DetectionBoxes_Precision/mAP (small)"
    assert blind.metrics[small] > unread.metrics[small]


def test_masks_of_another_kind_than_the_config_says_are_named(project, masked):
    reader = load(str(project.config)).eval_input_reader[0]
    reader.load_instance_masks = True  # as numbers, where nothing else is said
    files = [str(project.folder / masked)]
    with pytest.raises(UserError) as caught:
        next(read_examples(EvalRecords(reader, files, {1: "red", 2: "blue"})))
    assert "image/object/mask" in caught.value.message


def test_masks_are_read_from_records_one_for_each_box(project, masked):
    settings = load(str(project.config))
    reader = settings.eval_input_reader[0]
    reader.load_instance_masks = True
    reader.mask_type = PNG_MASKS
    files = [str(project.folder / masked)]
    records = EvalRecords(reader, files, {1: "red", 2: "blue"})
    for scene, (image, truth) in zip(project.scenes, read_examples(records), strict=True):
        expected = np.stack([disc(box, image.shape[:2]) for box in scene.boxes])
        np.testing.assert_array_equal(truth.masks, expected)
        assert truth.source_id == scene.source_id
