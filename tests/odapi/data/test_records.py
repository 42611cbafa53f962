"""How images are dealt out to sets and shards, and what stats and show say of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odapi import cli
from odapi.console.errors import UserError
from odapi.data.annotations import LabelledImage
from odapi.data.parallel import map_in_order
from odapi.data.splitting import split
from odapi.detector.drawing import MASK_STRENGTH, class_colour
from tests.odapi.data import sources
from tests.small.scenes import NAMES, make_scene, write_label_map

ROOT = Path(__file__).parents[3]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def images() -> list[LabelledImage]:
    return [LabelledImage(Path(f"{index}.jpg"), f"{index}.jpg", "") for index in range(200)]


def test_the_same_bytes_whatever_the_workers(labelled, run_import):
    flags = ("--shards", 2, "--split", "val=0.25")
    one, two = (run_import(labelled, "coco_masks", *flags, "--workers", n) for n in (1, 2))
    assert two.code == 0, two.error
    assert contents(one.folder) == contents(two.folder)
    assert len(one.records()) == 2 and len(one.records("val")) == 1


def test_a_worker_does_not_load_tensorflow():
    code = (
        "import sys, odapi.data.examples, pycocotools.mask; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_records_are_dealt_out_to_shards_in_turn(labelled, run_import):
    imported = run_import(labelled, "yolo", "--shards", 3)
    names = [one["filename"].decode() for one in imported.decoded()]
    assert names == [sources.file_name(index) for index in (0, 3, 1, 2)]


def test_no_shard_is_empty(labelled, run_import):
    assert len(run_import(labelled, "voc", "--shards", 50).records()) == 4


def test_sets_share_no_image(labelled, run_import):
    imported = run_import(labelled, "coco", "--name", "rest", "--split", "val=0.5", "--seed", 1)
    sets = {name: {one["source_id"] for one in imported.decoded(name)} for name in ("rest", "val")}
    assert len(sets["rest"]) == len(sets["val"]) == 2
    assert not sets["rest"] & sets["val"]
    assert imported.report["sets"]["val"]["images"] == 2


def test_splits_hold_their_share_and_follow_the_seed(images):
    sets = split(images, "train", {"val": 0.1, "test": 0.2}, seed=0)
    assert {name: len(chosen) for name, chosen in sets.items()} == {
        "train": 140,
        "val": 20,
        "test": 40,
    }
    everything = [image.name for chosen in sets.values() for image in chosen]
    assert sorted(everything) == sorted(image.name for image in images)
    assert split(images, "train", {"val": 0.1, "test": 0.2}, seed=0) == sets
    assert split(images, "train", {"val": 0.1, "test": 0.2}, seed=1) != sets


def test_most_images_stay_in_their_set_when_some_are_added(images):
    before = {image.name for image in split(images[:190], "train", {"val": 0.2}, 0)["val"]}
    after = {image.name for image in split(images, "train", {"val": 0.2}, 0)["val"]}
    assert len(before & after) > 0.8 * len(before)


def test_an_empty_set_is_refused(images):
    with pytest.raises(UserError, match="none would be left for val"):
        split(images[:3], "train", {"val": 0.1}, 0)


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A picture of 400x300 with boxes of 20x20, 50x40 and 200x150, the last one a crowd."""
    Image.new("RGB", (400, 300), "grey").save(tmp_path / "large.png")
    boxes = [[10, 10, 20, 20], [60, 20, 50, 40], [150, 100, 200, 150]]
    content = {
        "images": [{"id": 1, "file_name": "large.png", "width": 400, "height": 300}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": index, "image_id": 1, "category_id": 1 + index % 2, "bbox": box, "iscrowd": 0}
            for index, box in enumerate(boxes)
        ],
    }
    content["annotations"][2]["iscrowd"] = 1
    sources.write_coco(tmp_path / "large.json", content)
    arguments = ["data", "import", str(tmp_path / "large.json"), "--format", "coco"]
    arguments += ["--images", str(tmp_path), "--output", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    return tmp_path / "out"


def stats(capsys, *arguments: object) -> dict:
    capsys.readouterr()
    assert cli.main(["data", "stats", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_stats_count_and_measure(large, capsys):
    found = stats(capsys, f"{large}/train.record*")
    assert (found["images"], found["boxes"], found["crowd_boxes"], found["masks"]) == (1, 3, 1, 0)
    assert found["classes"] == {
        "cat": {"boxes": 2, "images": 1},
        "dog": {"boxes": 1, "images": 1},
    }
    assert found["objects_by_coco_size"] == {"small": 1, "medium": 1, "large": 0}
    assert found["box_width"]["median"] == 50
    assert found["box_height"]["max"] == 150
    assert found["box_aspect_ratio"]["median"] == pytest.approx(1.25)
    expected = round(float(np.sqrt(20 * 20 / (400 * 300))), 4)
    assert found["box_side_relative"]["min"] == expected
    assert found["image_sizes"] == {"400x300": 1}


def test_stats_compare_with_a_label_map(large, capsys, tmp_path):
    label_map = write_label_map(tmp_path / "map.pbtxt", {1: "cat", 2: "bird"})
    found = stats(capsys, large / "train.record-00000-of-00001", "--label_map", label_map)
    assert found["classes_not_in_label_map"] == ["dog"]
    assert found["classes"]["bird"] == {"boxes": 0, "images": 0}


def test_the_table_says_the_same(large, capsys):
    assert cli.main(["data", "stats", f"{large}/train.record*"]) == 0
    out = capsys.readouterr().out
    assert "1 images, 0 of them without a box" in out
    assert "3 boxes, 1 of them crowds" in out
    assert "400x300 (1)" in out


def test_stats_of_records_of_others(tmp_path, capsys):
    """Without class names, sizes and flags, as some scripts write them."""
    from tests.small.records import scene_features, write_records

    features = scene_features(make_scene(1))
    for key in ("image/object/class/text", "image/height", "image/width", "image/object/is_crowd"):
        del features[key]
    write_records(tmp_path / "a.record", [features])
    label_map = write_label_map(tmp_path / "map.pbtxt", {1: "red"})
    found = stats(capsys, tmp_path / "a.record", "--label_map", label_map)
    assert found["boxes"] == 2
    assert set(found["classes"]) <= {"red", "class 2"}
    assert found["image_sizes"] == {"96x96": 1}


def test_records_that_cannot_be_read(tmp_path, large, capsys):
    whole = (large / "train.record-00000-of-00001").read_bytes()
    for name, content, word in (
        ("cut", whole[:-10], "truncated"),
        ("flipped", whole[:100] + bytes([whole[100] ^ 1]) + whole[101:], "damaged"),
        ("empty", b"", "hold no record"),
    ):
        (tmp_path / name).write_bytes(content)
        assert cli.main(["data", "stats", str(tmp_path / name)]) == 2
        assert word in capsys.readouterr().err
    assert cli.main(["data", "stats", str(large / "train.recrod")]) == 2
    assert "there is" in capsys.readouterr().err


def test_pictures_show_boxes_and_masks_where_the_objects_are(labelled, run_import, tmp_path):
    imported = run_import(labelled, "yolo_masks", "--shards", 2)
    output = tmp_path / "drawn"
    arguments = ["data", "show", str(imported.folder / "train.record*"), "--output_dir"]
    assert cli.main([*arguments, str(output)]) == 0

    assert sorted(file.name for file in output.iterdir()) == [
        "000001_scene000.png",
        "000002_scene002.png",
        "000003_scene001.png",
        "000004_scene003.png",
    ]
    scene = labelled.scenes[0]
    drawn = np.array(Image.open(output / "000001_scene000.png")).astype(int)
    factor = drawn.shape[0] // sources.HEIGHT
    for box, label in zip(scene.boxes, scene.labels, strict=True):
        colour = np.array(class_colour(NAMES[label]))
        top, left, bottom, right = box * factor
        # The left edge has the class's colour, and the inside is mixed with it.
        edge = drawn[(top + bottom) // 2, left + 1]
        np.testing.assert_array_equal(edge, colour)
        inside = drawn[(top + bottom) // 2, (left + right) // 2]
        plain = scene.image[(box[0] + box[2]) // 2, (box[1] + box[3]) // 2]
        mixed = (1 - MASK_STRENGTH) * plain + MASK_STRENGTH * colour
        assert np.abs(inside - mixed).max() <= 3


def test_show_takes_records_at_equal_distances(labelled, run_import, tmp_path):
    imported = run_import(labelled, "csv")
    arguments = ["data", "show", str(imported.records()[0]), "--output_dir", str(tmp_path / "d")]
    assert cli.main([*arguments, "--number", "2"]) == 0
    assert sorted(file.name[:6] for file in (tmp_path / "d").iterdir()) == ["000001", "000003"]


def test_a_worker_that_dies_is_an_error_not_a_hang():
    killed = map_in_order(signal.raise_signal, [signal.SIGKILL] * 3, workers=2)
    with pytest.raises(UserError, match="a worker process died"):
        list(killed)
