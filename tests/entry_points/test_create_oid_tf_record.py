"""create_oid_tf_record.py: the CSV files and images of Open Images in TFRecords."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.entry_points.records import decode_records, read_records
from tests.entry_points.tree import run_script
from tests.small.scenes import Scene, make_scene, write_label_map

NAMES = {1: "/m/0199g", 2: "/m/0k4j"}
IDS = ["000a1249af2bc5f0", "0a1fc2be4d3b7c01", "fff21932df3245a3"]
GROUPS = [0, 1]
"""Whether the first and the second box of an image is of a group."""

SHARDS = 2


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    return {image_id: make_scene(seed, 80, 112) for seed, image_id in enumerate(IDS)}


@pytest.fixture(scope="module")
def dataset(scenes: dict[str, Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boxes and labels of all images but the last, which nobody annotated."""
    folder = tmp_path_factory.mktemp("oid")
    boxes, labels = [], []
    for image_id, scene in scenes.items():
        scene.save(folder / "images" / f"{image_id}.jpg")
        if image_id == IDS[-1]:
            continue
        for box, label, group in zip(scene.normalized_boxes, scene.labels, GROUPS, strict=True):
            top, left, bottom, right = box.tolist()
            flags = [0, 0, group, 0, 0]
            boxes.append([image_id, "xclick", NAMES[label], 1, left, right, top, bottom, *flags])
        boxes.append([image_id, "xclick", "/m/unknown", 1, 0.1, 0.2, 0.1, 0.2, 0, 0, 0, 0, 0])
        for name in NAMES.values():
            labels.append([image_id, "verification", name, 1])
    write_csv(
        folder / "boxes.csv",
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
        "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside",
        boxes,
    )
    write_csv(folder / "labels.csv", "ImageID,Source,LabelName,Confidence", labels)
    write_label_map(folder / "label_map.pbtxt", NAMES)
    return folder


def write_csv(path: Path, header: str, rows: list[list]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])


def test_boxes_and_image_labels(dataset, scenes, tmp_path):
    run_script(
        "dataset_tools/create_oid_tf_record.py",
        dataset,
        input_box_annotations_csv=dataset / "boxes.csv",
        input_image_label_annotations_csv=dataset / "labels.csv",
        input_images_directory=dataset / "images",
        input_label_map=dataset / "label_map.pbtxt",
        output_tf_record_path_prefix=tmp_path / "oid.tfrecord",
        num_shards=SHARDS,
    )
    shards = sorted(tmp_path.glob("oid.tfrecord-*"))
    assert len(shards) == SHARDS
    decoded = decode_records(shards, dataset / "label_map.pbtxt")
    assert sorted(one["source_id"].decode() for one in decoded) == IDS
    for one, record in zip(decoded, read_records(shards), strict=True):
        image_id = one["source_id"].decode()
        scene = scenes[image_id]
        assert record["image/encoded"] == [(dataset / "images" / f"{image_id}.jpg").read_bytes()]
        assert one["image"].shape == scene.image.shape
        if image_id == IDS[-1]:
            assert one["groundtruth_boxes"].shape == (0, 4)
            continue
        np.testing.assert_allclose(one["groundtruth_boxes"], scene.normalized_boxes, atol=1e-6)
        assert one["groundtruth_classes"].tolist() == scene.labels
        assert one["groundtruth_group_of"].tolist() == [bool(group) for group in GROUPS]
        assert record["image/class/label"] == list(NAMES)
        assert record["image/class/text"] == [name.encode() for name in NAMES.values()]
