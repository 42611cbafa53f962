"""create_kitti_tf_record.py: KITTI's images and label files in TFRecords."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.entry_points.records import decode_records, read_records
from tests.entry_points.tree import run_script
from tests.small.scenes import Scene, make_scene, write_label_map

NAMES = {1: "car", 2: "pedestrian"}
SPATIAL = {"height": 1.5, "width": 1.6, "length": 3.9, "x": -2.0, "y": 1.7, "z": 20.0, "rot_y": 1.1}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(seed, 80, 160) for seed in range(4)]


@pytest.fixture(scope="module")
def dataset(scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images; in the last, a region that nobody labelled hides the second object."""
    folder = tmp_path_factory.mktemp("kitti")
    labels = folder / "training" / "label_2"
    labels.mkdir(parents=True)
    images = folder / "data_object_image_2" / "training" / "image_2"
    for index, scene in enumerate(scenes):
        scene.save(images / f"{index:06}.png")
        lines = [
            line(NAMES[label].capitalize(), box)
            for label, box in zip(scene.labels, scene.boxes, strict=True)
        ]
        lines.append(line("Van", np.array([0, 0, 9, 9])))
        if index == 3:
            lines.append(line("DontCare", scene.boxes[1] + [2, 2, -2, -2]))
        (labels / f"{index:06}.txt").write_text("\n".join(lines))
    write_label_map(folder / "label_map.pbtxt", NAMES)
    return folder


def line(kind: str, box: np.ndarray) -> str:
    """Type, truncated, occluded, alpha, the box from the left, then the seven of SPATIAL."""
    top, left, bottom, right = box.tolist()
    numbers = [0.25, 1, -1.57, left, top, right, bottom, *SPATIAL.values()]
    return " ".join([kind, *(str(number) for number in numbers)])


def test_images_and_boxes(dataset, scenes, tmp_path):
    run_script(
        "dataset_tools/create_kitti_tf_record.py",
        dataset,
        data_dir=dataset,
        output_path=tmp_path / "kitti",
        label_map_path=dataset / "label_map.pbtxt",
        validation_set_size=1,
    )
    paths = [tmp_path / "kitti_val.tfrecord", tmp_path / "kitti_train.tfrecord"]
    assert [len(read_records([path])) for path in paths] == [1, 3]
    decoded = decode_records(paths, dataset / "label_map.pbtxt")
    raw = read_records(paths)
    for index, (scene, one, record) in enumerate(zip(scenes, decoded, raw, strict=True)):
        kept = 1 if index == 3 else 2
        np.testing.assert_array_equal(one["image"], scene.image)
        np.testing.assert_allclose(
            one["groundtruth_boxes"], scene.normalized_boxes[:kept], atol=1e-6
        )
        assert one["groundtruth_classes"].tolist() == scene.labels[:kept]
        for name, value in SPATIAL.items():
            assert record[f"image/object/3d_bbox/{name}"] == pytest.approx([value] * kept)
