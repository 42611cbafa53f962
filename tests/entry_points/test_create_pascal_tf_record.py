"""create_pascal_tf_record.py: a VOCdevkit folder in a TFRecord."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.entry_points.records import decode_records, read_records
from tests.entry_points.tree import run_script
from tests.entry_points.voc import write_annotation
from tests.small.scenes import Scene, make_scene, write_label_map

YEARS = {"VOC2007": [0, 1], "VOC2012": [2]}
NAMES = {1: "aeroplane", 2: "bicycle"}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(seed, 80, 112) for seed in range(3)]


@pytest.fixture(scope="module")
def devkit(scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two years of images; of the two objects of each, the second one is difficult."""
    folder = tmp_path_factory.mktemp("VOCdevkit")
    for year, indices in YEARS.items():
        for index in indices:
            scene = scenes[index]
            scene.save(folder / year / "JPEGImages" / f"{index:06}.jpg")
            write_annotation(
                folder / year / "Annotations" / f"{index:06}.xml",
                scene,
                f"{index:06}.jpg",
                year,
                [NAMES[label] for label in scene.labels],
                difficult=[0, 1],
            )
        lists = folder / year / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        lines = [f"{index:06}  1\n" for index in indices]
        (lists / "aeroplane_train.txt").write_text("".join(lines))
    write_label_map(folder / "label_map.pbtxt", NAMES)
    return folder


def convert(devkit: Path, output: Path, **flags: object) -> Path:
    run_script(
        "dataset_tools/create_pascal_tf_record.py",
        devkit,
        data_dir=devkit,
        label_map_path=devkit / "label_map.pbtxt",
        output_path=output,
        **flags,
    )
    return output


def test_both_years_in_one_record_file(devkit, scenes, tmp_path):
    path = convert(devkit, tmp_path / "pascal.record", year="merged", set="train")
    decoded = decode_records([path], devkit / "label_map.pbtxt")
    assert [one["filename"].decode() for one in decoded] == [
        f"{index:06}.jpg" for index in range(3)
    ]
    for scene, one in zip(scenes, decoded, strict=True):
        np.testing.assert_allclose(one["groundtruth_boxes"], scene.normalized_boxes, atol=1e-6)
        assert one["groundtruth_classes"].tolist() == scene.labels
        assert one["groundtruth_difficult"].tolist() == [False, True]
        assert one["image"].shape == scene.image.shape
    file = devkit / "VOC2012" / "JPEGImages" / "000002.jpg"
    assert read_records([path])[2]["image/encoded"] == [file.read_bytes()]


def test_difficult_objects_can_be_left_out(devkit, scenes, tmp_path):
    path = convert(
        devkit, tmp_path / "easy.record", year="VOC2012", ignore_difficult_instances=True
    )
    [one] = decode_records([path], devkit / "label_map.pbtxt")
    np.testing.assert_allclose(one["groundtruth_boxes"], scenes[2].normalized_boxes[:1], atol=1e-6)
    assert one["groundtruth_classes"].tolist() == scenes[2].labels[:1]
