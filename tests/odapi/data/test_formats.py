"""Every format's labels arrive in the records, as upstream's decoder reads them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from odapi import cli
from tests.odapi.data import sources
from tests.odapi.data.conftest import ARGUMENTS
from tests.small.scenes import NAMES, write_label_map


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_boxes_and_classes_come_back(labelled, run_import, kind):
    imported = run_import(labelled, kind)

    assert imported.code == 0, imported.error
    assert imported.report["classes"] == {
        name: number
        for number, name in enumerate(
            sorted(NAMES.values()) if kind.startswith(("voc", "csv")) else NAMES.values(), start=1
        )
    }
    decoded = imported.decoded()
    assert len(decoded) == len(labelled.scenes)
    for index, (scene, one) in enumerate(zip(labelled.scenes, decoded, strict=True)):
        name = sources.file_name(index)
        np.testing.assert_allclose(one["groundtruth_boxes"], scene.normalized_boxes, atol=1e-6)
        ids = [imported.report["classes"][NAMES[label]] for label in scene.labels]
        assert one["groundtruth_classes"].tolist() == ids
        assert one["filename"].decode() == name
        assert one["source_id"].decode() == (str(10 * index) if "coco" in kind else name)
        assert one["original_image_spatial_shape"].tolist() == list(scene.image.shape[:2])
        stored = np.array(Image.open(labelled.images / name).convert("RGB")).astype(int)
        assert np.abs(one["image"] - stored).mean() < 1  # two JPEG decoders
        difficult = [kind == "voc" and number == 1 for number in range(len(scene.labels))]
        assert one["groundtruth_difficult"].tolist() == difficult
        areas = np.prod(scene.boxes[:, 2:] - scene.boxes[:, :2], axis=1)
        np.testing.assert_allclose(one["groundtruth_area"], areas, rtol=1e-5)
    for index, record in enumerate(imported.raw()):
        file = labelled.images / sources.file_name(index)
        assert record["image/encoded"] == [file.read_bytes()]
        assert record["image/format"] == [b"jpeg" if index % 2 else b"png"]
    assert imported.count("no_box") == 1
    assert imported.report["left_out"] == {}


@pytest.mark.parametrize("kind", ["coco_masks", "yolo_masks"])
def test_masks_and_crowds_come_back(labelled, run_import, kind):
    from object_detection.protos import input_reader_pb2

    imported = run_import(labelled, kind)

    decoded = imported.decoded(
        load_instance_masks=True, instance_mask_type=input_reader_pb2.PNG_MASKS
    )
    for index, (scene, one) in enumerate(zip(labelled.scenes, decoded, strict=True)):
        masks = np.array([sources.box_mask(box) for box in scene.boxes.tolist()])
        shape = (len(scene.boxes), *scene.image.shape[:2])
        np.testing.assert_array_equal(one["groundtruth_instance_masks"], masks.reshape(shape))
        crowd = kind == "coco_masks" and index == 1
        assert one["groundtruth_is_crowd"].tolist() == [crowd] * len(scene.labels)


def test_without_masks_when_asked_so(labelled, run_import):
    imported = run_import(labelled, "yolo_masks", "--no_masks")
    assert imported.report["sets"]["train"]["masks"] == 0
    assert not any("image/object/mask" in record for record in imported.raw())


def test_objects_with_and_without_mask_are_refused(broken, run_import):
    file = broken.folder / "yolo_masks" / "scene000.txt"
    file.write_text(file.read_text() + "\n0 0.5 0.5 0.1 0.1\n")

    imported = run_import(broken, "yolo_masks")
    assert imported.code == 2
    assert "objects have no mask, the others have" in imported.error
    assert f"{file}: line" in imported.error
    assert not imported.folder.exists()

    assert run_import(broken, "yolo_masks", "--no_masks").code == 0


def test_the_records_are_upstreams(labelled, run_import, tmp_path):
    """The same JSON and XML through upstream's own scripts give the same boxes."""
    from tests.entry_points.records import decode_records
    from tests.entry_points.tree import run_script

    content = sources.coco(labelled.scenes, masks=True)
    for annotation in content["annotations"]:
        if isinstance(annotation["segmentation"], dict) and not annotation["iscrowd"]:
            x, y, width, height = annotation["bbox"]  # upstream reads no run lengths but crowds'
            corners = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotation["segmentation"] = [corners]
    source = sources.write_coco(tmp_path / "instances.json", content)
    label_map = write_label_map(tmp_path / "map.pbtxt")
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    flags = {}
    for part in ("train", "val", "testdev"):
        folder = "test" if part == "testdev" else part
        flags[f"{folder}_image_dir"] = labelled.images
        flags[f"{part}_annotations_file"] = source
    run_script(
        "dataset_tools/create_coco_tf_record.py",
        tmp_path,
        include_masks=True,
        output_dir=upstream,
        **flags,
    )
    arguments = labelled.arguments("coco", tmp_path / "ours", "--label_map", label_map)
    arguments[arguments.index(str(labelled.folder / "instances.json"))] = str(source)
    assert cli.main([*arguments, "--shards", "4"]) == 0
    ours = sorted((tmp_path / "ours").glob("train.record-*"))

    theirs = sorted(upstream.glob("coco_train.record-*"))
    options = {"load_instance_masks": True, "instance_mask_type": 2}
    for one, other in zip(
        decode_records(ours, label_map, **options),
        decode_records(theirs, label_map, **options),
        strict=True,
    ):
        for key, value in other.items():
            if key != "groundtruth_difficult":  # COCO has none, and upstream writes none
                np.testing.assert_array_equal(one[key], value, err_msg=key)


def test_voc_coordinates_are_upstreams(labelled, run_import):
    """One-based pixels are divided as they stand: upstream's function on the same XML."""
    from lxml import etree
    from object_detection.utils import dataset_util

    ours = run_import(labelled, "voc")

    for index, record in enumerate(ours.raw()):
        xml = etree.fromstring((labelled.folder / "voc" / f"scene{index:03}.xml").read_bytes())
        data = dataset_util.recursive_parse_xml_to_dict(xml)["annotation"]
        for side, length in (("xmin", "width"), ("ymax", "height")):
            expected = [
                np.float32(float(one["bndbox"][side]) / int(data["size"][length]))
                for one in data.get("object", [])
            ]
            assert record.get(f"image/object/bbox/{side}", []) == expected


def test_a_real_reader_finds_the_shards(labelled, run_import):
    from google.protobuf import text_format
    from object_detection.builders import dataset_builder
    from object_detection.protos import input_reader_pb2

    imported = run_import(labelled, "coco", "--shards", 3)

    assert [file.name for file in imported.records()] == [
        f"train.record-{shard:05}-of-00003" for shard in range(3)
    ]
    reader = text_format.Parse(
        f"""label_map_path: "{imported.folder}/label_map.pbtxt" shuffle: false num_epochs: 1
        tf_record_input_reader {{ input_path: "{imported.folder}/train.record*" }}""",
        input_reader_pb2.InputReader(),
    )
    names = {bytes(one["filename"].numpy()) for one in dataset_builder.build(reader)}
    assert names == {sources.file_name(index).encode() for index in range(4)}


def test_names_of_yolo_classes_from_a_text_file(broken, run_import):
    folder = broken.folder / "yolo"
    (folder / "data.yaml").unlink()
    assert "no class names" in run_import(broken, "yolo").error

    (folder / "classes.txt").write_text("zebra\nant\n\n")
    imported = run_import(broken, "yolo")
    assert imported.report["classes"] == {"zebra": 1, "ant": 2}

    other = broken.folder / "names.yml"
    other.write_text("names:\n  1: ant\n  0: bee\n")
    imported = run_import(broken, "yolo", "--names", other)
    assert imported.report["classes"] == {"bee": 1, "ant": 2}


def test_a_class_beyond_yolos_names_is_named(broken, run_import):
    file = broken.folder / "yolo" / "scene001.txt"
    file.write_text("7 0.5 0.5 0.1 0.1\n")
    imported = run_import(broken, "yolo")
    assert imported.code == 2
    assert "unknown class 7" in imported.error
    assert f"{file}: line 1" in imported.error


def test_csv_in_shares_has_to_be_said(broken, run_import):
    (broken.folder / "boxes.csv").write_text((broken.folder / "shares.csv").read_text())
    imported = run_import(broken, "csv")
    assert imported.code == 2
    assert "add --normalized" in imported.error


def test_a_csv_without_a_column_is_told_which(broken, run_import):
    file = broken.folder / "boxes.csv"
    file.write_text(file.read_text().replace("class", "label", 1))
    imported = run_import(broken, "csv")
    assert imported.code == 2
    assert "no column class" in imported.error
    assert "it has filename, width, height, label" in imported.error


def test_categories_of_one_name_are_one_class(broken, run_import):
    """Roboflow writes the data set's super-category as a category."""
    content = sources.coco(broken.scenes)
    content["categories"].append({"id": 0, "name": "red"})
    sources.write_coco(broken.folder / "instances.json", content)
    assert run_import(broken, "coco").report["classes"] == {"red": 1, "blue": 2}


def test_an_existing_label_map_gives_the_ids(labelled, run_import, tmp_path):
    label_map = write_label_map(tmp_path / "map.pbtxt", {3: "blue", 5: "red", 9: "green"})
    imported = run_import(labelled, "voc", "--label_map", label_map)
    ids = {"blue": 3, "red": 5}
    assert (imported.folder / "label_map.pbtxt").read_bytes() == label_map.read_bytes()
    for scene, record in zip(labelled.scenes, imported.raw(), strict=True):
        expected = [ids[NAMES[label]] for label in scene.labels]
        assert record.get("image/object/class/label", []) == expected


def test_classes_that_a_label_map_lacks_are_named_with_the_nearest(labelled, run_import, tmp_path):
    label_map = write_label_map(tmp_path / "map.pbtxt", {1: "reed", 2: "blue"})
    imported = run_import(labelled, "csv", "--label_map", label_map)
    assert imported.code == 2
    assert "lacks 1 classes" in imported.error
    assert "'red'" in imported.error and "nearest: reed" in imported.error
    assert "'blue'" not in imported.error


@pytest.mark.parametrize(
    ("recorded", "found"),
    [
        ("C:\\Users\\me\\images\\{}", True),
        ("/home/me/{}", True),
        ("{}", True),
        ("other/folder/{}.png", False),
    ],
)
def test_paths_of_another_machine(broken, run_import, recorded, found):
    content = sources.coco(broken.scenes)
    content["images"][0]["file_name"] = recorded.format(sources.file_name(0))
    sources.write_coco(broken.folder / "instances.json", content)
    imported = run_import(broken, "coco")
    assert imported.count("image_missing") == (0 if found else 1)


def test_images_in_sub_folders(broken, run_import):
    """A bare name is looked for in sub-folders; one with a folder must be there."""
    target = broken.images / "val" / sources.file_name(0)
    target.parent.mkdir()
    (broken.images / sources.file_name(0)).rename(target)
    assert run_import(broken, "csv").count("image_missing") == 0
    content = sources.coco(broken.scenes)
    content["images"][0]["file_name"] = f"train/{sources.file_name(0)}"
    sources.write_coco(broken.folder / "instances.json", content)
    assert run_import(broken, "coco").count("image_missing") == 1


def test_voc_files_renamed_with_their_images(broken, run_import):
    file = broken.folder / "voc" / "scene000.xml"
    file.write_text(file.read_text().replace("scene000.png", "IMG_1234.JPG"))
    imported = run_import(broken, "voc")
    assert imported.count("own_name") == 1
    assert imported.report["sets"]["train"]["images"] == 4


def test_json_that_is_not_coco(broken, run_import):
    file = broken.folder / "instances.json"
    for text, word in (("{", "not a JSON file"), ("[]", "no list of images")):
        file.write_text(text)
        imported = run_import(broken, "coco")
        assert imported.code == 2
        assert word in imported.error


def test_two_images_with_one_id_are_refused(broken, run_import):
    content = sources.coco(broken.scenes)
    content["images"][1]["id"] = content["images"][0]["id"]
    sources.write_coco(broken.folder / "instances.json", content)
    imported = run_import(broken, "coco")
    assert imported.code == 2
    assert "two images have the id 0" in imported.error


def test_a_label_maps_display_names_will_do(labelled, run_import, tmp_path):
    """As in Open Images' and COCO's own label maps."""
    label_map = tmp_path / "map.pbtxt"
    label_map.write_text(
        "item { id: 4 name: '/m/01' display_name: 'red' }\n"
        "item { id: 6 name: '/m/02' display_name: 'blue' }\n"
    )
    imported = run_import(labelled, "yolo", "--label_map", label_map)
    ids = {"red": 4, "blue": 6}
    for scene, one in zip(labelled.scenes, imported.decoded(), strict=True):
        assert one["groundtruth_classes"].tolist() == [ids[NAMES[label]] for label in scene.labels]


def test_two_paths_that_lead_to_one_file_are_refused(broken, run_import):
    """The folder given is that of one set, and the JSON lists two."""
    content = sources.coco(broken.scenes)
    content["images"][0]["file_name"] = "train/scene000.png"
    content["images"][1]["file_name"] = "val/scene000.png"
    sources.write_coco(broken.folder / "instances.json", content)
    imported = run_import(broken, "coco")
    assert imported.code == 2
    assert "train/scene000.png and val/scene000.png are both found as" in imported.error
