"""create_pet_tf_record.py: the Oxford pets, faces or whole bodies with masks, in TFRecords."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from object_detection.protos import input_reader_pb2
from PIL import Image

from tests.entry_points.records import decode_records, read_records
from tests.entry_points.tree import run_script
from tests.entry_points.voc import write_annotation
from tests.small.scenes import Scene, make_scene, write_label_map

NAMES = {1: "Abyssinian", 2: "great_pyrenees"}
FOREGROUND, BACKGROUND, BORDER = 1, 2, 3
"""What the pixels of a trimap say."""

SHARDS = 2


@pytest.fixture(scope="module")
def pets() -> dict[str, Scene]:
    """Ten images by name; in each, the first object is the face, the second one the body."""
    names = [f"{NAMES[1 + index % 2]}_{index}" for index in range(10)]
    return {name: make_scene(seed, 80, 112) for seed, name in enumerate(names)}


@pytest.fixture(scope="module")
def dataset(pets: dict[str, Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pets")
    annotations = folder / "annotations"
    (annotations / "trimaps").mkdir(parents=True)
    for name, pet in pets.items():
        pet.save(folder / "images" / f"{name}.jpg")
        face = Scene(pet.image, pet.boxes[:1], pet.labels[:1])
        write_annotation(
            annotations / "xmls" / f"{name}.xml", face, f"{name}.jpg", "OXIIIT", ["cat"], [0]
        )
        Image.fromarray(trimap(pet)).save(annotations / "trimaps" / f"{name}.png")
    lines = [f"{name} 1 1 1\n" for name in pets]
    (annotations / "trainval.txt").write_text("".join(lines))
    write_label_map(folder / "label_map.pbtxt", NAMES)
    return folder


def trimap(pet: Scene) -> np.ndarray:
    """The body in a border one pixel wide, uint8 [height, width]."""
    pixels = np.full(pet.image.shape[:2], BACKGROUND, np.uint8)
    top, left, bottom, right = pet.boxes[1]
    pixels[top:bottom, left:right] = BORDER
    pixels[top + 1 : bottom - 1, left + 1 : right - 1] = FOREGROUND
    return pixels


def convert(dataset: Path, output: Path, prefix: str, **flags: object) -> dict[str, list[Path]]:
    """Runs the script and returns the record files of both splits."""
    run_script(
        "dataset_tools/create_pet_tf_record.py",
        dataset,
        data_dir=dataset,
        output_dir=output,
        label_map_path=dataset / "label_map.pbtxt",
        num_shards=SHARDS,
        **flags,
    )
    shards = {
        split: sorted(output.glob(f"{prefix}_{split}.record-*")) for split in ("train", "val")
    }
    assert {split: len(files) for split, files in shards.items()} == {
        "train": SHARDS,
        "val": SHARDS,
    }
    return shards


def check_classes(records: list[dict], pets: dict[str, Scene]) -> None:
    assert sorted(name_of(one) for one in records) == sorted(pets)
    for one in records:
        breed = name_of(one).rpartition("_")[0]
        assert [NAMES[int(key)] for key in one["groundtruth_classes"]] == [breed]
        assert one["image"].shape == (80, 112, 3)


def name_of(one: dict) -> str:
    return Path(one["filename"].decode()).stem


def test_faces(dataset, pets, tmp_path):
    shards = convert(dataset, tmp_path, "pet_faces")
    assert [len(read_records(files)) for files in shards.values()] == [7, 3]
    records = decode_records(chain(*shards.values()), dataset / "label_map.pbtxt")
    check_classes(records, pets)
    for one in records:
        face = pets[name_of(one)].normalized_boxes[:1]
        np.testing.assert_allclose(one["groundtruth_boxes"], face, atol=1e-6)


def test_bodies_with_masks(dataset, pets, tmp_path):
    shards = convert(dataset, tmp_path, "pets_fullbody_with_masks", faces_only=False)
    records = decode_records(
        chain(*shards.values()),
        dataset / "label_map.pbtxt",
        load_instance_masks=True,
        instance_mask_type=input_reader_pb2.PNG_MASKS,
    )
    check_classes(records, pets)
    for one in records:
        pet = pets[name_of(one)]
        # The script ends a box on the last pixel of the body, not behind it.
        body = (pet.boxes[1:] - [0, 0, 1, 1]) / [80, 112, 80, 112]
        np.testing.assert_allclose(one["groundtruth_boxes"], body, atol=1e-6)
        mask = trimap(pet) != BACKGROUND
        np.testing.assert_array_equal(one["groundtruth_instance_masks"], mask[None])
