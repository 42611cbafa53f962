"""create_coco_tf_record.py: boxes, masks and keypoints of COCO's JSON files in TFRecords."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from object_detection.protos import input_reader_pb2
from PIL import Image

from tests.entry_points.records import decode_records, read_records
from tests.entry_points.tree import run_script
from tests.small.scenes import Scene, make_scene, write_label_map

HEIGHT, WIDTH = 80, 112
NAMES = {1: "person", 3: "car"}
KEYPOINTS = 17
NOSE = [0.5, 0.25, 2]  # of the object's height and width, then COCO's "labelled and visible"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(seed, HEIGHT, WIDTH) for seed in range(5)]


@pytest.fixture(scope="module")
def records(scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the script filled: three scenes to train on, one each for val and test."""
    folder = tmp_path_factory.mktemp("coco")
    flags = {}
    for split, indices in {"train": [0, 1, 2], "val": [3], "test": [4]}.items():
        images = folder / split
        for index in indices:
            scenes[index].save(images / f"{index:012}.jpg")
        flags[f"{split}_image_dir"] = images
        annotations = folder / f"instances_{split}.json"
        annotations.write_text(json.dumps(instances(scenes, indices)))
        flags["testdev" if split == "test" else split] = annotations
        if split != "test":
            people = folder / f"person_keypoints_{split}.json"
            people.write_text(json.dumps(person_keypoints(scenes, indices)))
            flags[f"{split}_keypoint_annotations_file"] = people
    for split in ("train", "val", "testdev"):
        flags[f"{split}_annotations_file"] = flags.pop(split)
    run_script(
        "dataset_tools/create_coco_tf_record.py",
        folder,
        include_masks=True,
        output_dir=folder / "records",
        **flags,
    )
    write_label_map(folder / "label_map.pbtxt", NAMES)
    return folder


def category(scene: Scene, one: int) -> int:
    """The first object of an image is a person, the second one a car."""
    return list(NAMES)[one]


def instances(scenes: list[Scene], indices: list[int]) -> dict:
    """COCO's JSON: the last image's second object is a crowd, as run lengths; others polygons."""
    annotations = []
    for index in indices:
        for one, (top, left, bottom, right) in enumerate(scenes[index].boxes.tolist()):
            crowd = one == 1 and index == indices[-1]
            polygon = [left, top, right, top, right, bottom, left, bottom]
            annotations.append(
                {
                    "id": 10 * index + one,
                    "image_id": index,
                    "category_id": category(scenes[index], one),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": float((right - left) * (bottom - top)),
                    "iscrowd": crowd,
                    "segmentation": run_lengths(scenes[index].boxes[one]) if crowd else [polygon],
                }
            )
    images = [
        {"id": index, "file_name": f"{index:012}.jpg", "height": HEIGHT, "width": WIDTH}
        for index in indices
    ]
    categories = [{"id": key, "name": name} for key, name in NAMES.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def run_lengths(box: np.ndarray) -> dict:
    """COCO's uncompressed run lengths of a box: zeros first, column by column."""
    top, left, bottom, right = box.tolist()
    mask = np.zeros((HEIGHT, WIDTH), int)
    mask[top:bottom, left:right] = 1
    pixels = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(pixels)) + 1
    return {
        "counts": np.diff([0, *edges, len(pixels)]).tolist(),
        "size": [HEIGHT, WIDTH],
    }


def nose(box: np.ndarray) -> tuple[float, float]:
    """Where the nose of the person in a box is: y and x in pixels."""
    top, left, bottom, right = box.tolist()
    return top + NOSE[0] * (bottom - top), left + NOSE[1] * (right - left)


def person_keypoints(scenes: list[Scene], indices: list[int]) -> dict:
    """COCO's JSON of people: of the seventeen keypoints, only the nose is labelled."""
    annotations = []
    for index in indices:
        y, x = nose(scenes[index].boxes[0])
        keypoints = [x, y, NOSE[2], *[0] * 3 * (KEYPOINTS - 1)]
        annotations.append(
            {"id": 10 * index, "image_id": index, "keypoints": keypoints, "num_keypoints": 1}
        )
    return {"annotations": annotations}


def shards(folder: Path, split: str) -> list[Path]:
    return sorted((folder / "records").glob(f"coco_{split}.record-*"))


@pytest.mark.parametrize(
    ("split", "count", "indices"),
    [("train", 100, [0, 1, 2]), ("val", 50, [3]), ("testdev", 50, [4])],
)
def test_every_split_holds_its_images_and_boxes(records, scenes, split, count, indices):
    assert len(shards(records, split)) == count
    decoded = decode_records(shards(records, split), records / "label_map.pbtxt")
    assert [int(one["source_id"]) for one in decoded] == indices
    for index, one in zip(indices, decoded, strict=True):
        scene = scenes[index]
        np.testing.assert_allclose(one["groundtruth_boxes"], scene.normalized_boxes, atol=1e-6)
        assert one["groundtruth_classes"].tolist() == [1, 3]
        assert one["image"].shape == scene.image.shape
        # JPEG is lossy, most of all on noise; another image would be tens of levels away.
        assert np.abs(one["image"].astype(int) - scene.image).mean() < 12


def test_the_image_is_the_file_itself(records):
    [record] = read_records(shards(records, "val"))
    file = records / "val" / "000000000003.jpg"
    assert record["image/encoded"] == [file.read_bytes()]
    assert record["image/filename"] == [file.name.encode()]
    with Image.open(io.BytesIO(record["image/encoded"][0])) as image:
        assert image.size == (record["image/width"][0], record["image/height"][0])


def test_masks_cover_the_objects_and_crowds_are_marked(records, scenes):
    label_map = records / "label_map.pbtxt"
    decoded = decode_records(
        shards(records, "train"),
        label_map,
        load_instance_masks=True,
        instance_mask_type=input_reader_pb2.PNG_MASKS,
    )
    for scene, one in zip(scenes, decoded, strict=False):
        masks = np.zeros((2, HEIGHT, WIDTH))
        for mask, (top, left, bottom, right) in zip(masks, scene.boxes, strict=True):
            mask[top:bottom, left:right] = 1
        np.testing.assert_array_equal(one["groundtruth_instance_masks"], masks)
        np.testing.assert_allclose(one["groundtruth_area"], masks.sum((1, 2)))
    crowds = [one["groundtruth_is_crowd"].tolist() for one in decoded]
    assert crowds == [[False, False], [False, False], [False, True]]


def test_keypoints_belong_to_people(records, scenes):
    label_map = records / "label_map.pbtxt"
    for one, scene in zip(
        decode_records(shards(records, "train"), label_map, num_keypoints=KEYPOINTS),
        scenes,
        strict=False,
    ):
        visible = one["groundtruth_keypoint_visibilities"]
        assert visible.shape == (2, KEYPOINTS)
        assert np.argwhere(visible).tolist() == [[0, 0]]
        y, x = nose(scene.boxes[0])
        np.testing.assert_allclose(
            one["groundtruth_keypoints"][0, 0], [y / HEIGHT, x / WIDTH], atol=1e-6
        )
