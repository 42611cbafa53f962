"""offline_eval_map_corloc.py: mAP of detections that were written down beforehand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.entry_points.tree import run_script
from tests.small.records import Features, write_records
from tests.small.scenes import write_label_map

A, B, C, D = [0.1, 0.1, 0.3, 0.3], [0.6, 0.1, 0.9, 0.4], [0.1, 0.6, 0.4, 0.9], [0.6, 0.6, 0.8, 0.8]
"""Boxes that do not touch, ymin, xmin, ymax, xmax."""

NEAR_D = [0.65, 0.65, 0.85, 0.85]
"""Its IoU with D is 0.0225 / 0.0575 = 0.39, less than the 0.5 that counts."""

RED, BLUE = 1, 2

# Per image: true (label, box), detected (label, box, score).
PERFECT = [
    ([(RED, A), (BLUE, D)], [(RED, A, 0.9), (BLUE, D, 0.6)]),
    ([(RED, B)], [(RED, B, 0.7)]),
]

# Red by falling score: right (precision 1, recall 1/2), wrong, right (2/3 at recall 1), so
# AP = 1/2 * 1 + 1/2 * 2/3 = 5/6. Blue, one object: its detection lies too far away, AP = 0.
WORSE = [
    ([(RED, A), (BLUE, D)], [(RED, A, 0.9), (RED, C, 0.8), (BLUE, NEAR_D, 0.6)]),
    ([(RED, B)], [(RED, B, 0.7)]),
]


def features(image_id: int, truth: list[tuple], found: list[tuple]) -> Features:
    """A record with what is on an image and what was detected, boxes in 0..1."""
    record = {
        "image/source_id": [f"image{image_id}".encode()],
        "image/object/class/label": [label for label, _ in truth],
        "image/detection/label": [label for label, _, _ in found],
        "image/detection/score": [score for _, _, score in found],
    }
    for column, corner in enumerate(("ymin", "xmin", "ymax", "xmax")):
        record[f"image/object/bbox/{corner}"] = [box[column] for _, box in truth]
        record[f"image/detection/bbox/{corner}"] = [box[column] for _, box, _ in found]
    return record


def evaluate(folder: Path, images: list[tuple]) -> dict[str, float]:
    """The metrics that the script writes, of records in two shards."""
    for shard, (truth, found) in enumerate(images):
        path = folder / f"detections.record-{shard:05}-of-{len(images):05}"
        write_records(path, [features(shard, truth, found)])
    label_map = write_label_map(folder / "label_map.pbtxt")
    input_config = folder / "input.config"
    input_config.write_text(
        f'label_map_path: "{label_map}"\n'
        "tf_record_input_reader {"
        f' input_path: "{folder}/detections.record@{len(images)}" }}\n'
    )
    eval_config = folder / "eval.config"
    eval_config.write_text('metrics_set: "pascal_voc_detection_metrics"\n')
    run_script(
        "metrics/offline_eval_map_corloc.py",
        folder,
        eval_dir=folder,
        eval_config_path=eval_config,
        input_config_path=input_config,
    )
    with (folder / "metrics.csv").open(newline="") as file:
        return {name: float(value) for name, value in csv.reader(file)}


@pytest.mark.parametrize(
    ("images", "red", "blue"), [(PERFECT, 1, 1), (WORSE, 5 / 6, 0)], ids=["perfect", "worse"]
)
def test_map(tmp_path, images, red, blue):
    assert evaluate(tmp_path, images) == pytest.approx(
        {
            "PascalBoxes_Precision/mAP@0.5IOU": (red + blue) / 2,
            "PascalBoxes_PerformanceByCategory/AP@0.5IOU/red": red,
            "PascalBoxes_PerformanceByCategory/AP@0.5IOU/blue": blue,
        }
    )
