"""Whatever is wrong with a source is counted and named; nothing is left out in silence."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from odapi.data import importing
from odapi.data.annotations import Problem
from tests.odapi.data import sources
from tests.odapi.data.conftest import Imported, Labelled


def edit_coco(labelled: Labelled, change) -> None:
    content = sources.coco(labelled.scenes)
    change(content)
    sources.write_coco(labelled.folder / "instances.json", content)


def with_box(labelled: Labelled, box: list[float]) -> None:
    """Gives the first annotation another box: x, y, width, height."""

    def change(content):
        content["annotations"][0]["bbox"] = box

    edit_coco(labelled, change)


def boxes(imported: Imported) -> int:
    return imported.report["sets"]["train"]["boxes"]


def no_image(labelled: Labelled) -> None:
    (labelled.images / sources.file_name(0)).unlink()


def half_an_image(labelled: Labelled) -> None:
    file = labelled.images / sources.file_name(1)
    file.write_bytes(file.read_bytes()[:-900])


def no_image_inside(labelled: Labelled) -> None:
    (labelled.images / sources.file_name(0)).write_text("<html>404</html>")


def no_end(labelled: Labelled) -> None:
    """Of a PNG: PIL reads it, TensorFlow does not."""
    file = labelled.images / sources.file_name(0)
    file.write_bytes(file.read_bytes()[:-12])


def another_size(labelled: Labelled) -> None:
    edit_coco(labelled, lambda content: content["images"][0].update(width=2 * sources.WIDTH))


def listed_twice(labelled: Labelled) -> None:
    edit_coco(
        labelled, lambda content: content["images"].append({**content["images"][0], "id": 1000})
    )


def unknown_image(labelled: Labelled) -> None:
    edit_coco(labelled, lambda content: content["annotations"][0].update(image_id=77))


def box_of_three(labelled: Labelled) -> None:
    edit_coco(labelled, lambda content: content["annotations"][0].update(bbox=[1, 2, 3]))


def box_of_words(labelled: Labelled) -> None:
    edit_coco(labelled, lambda content: content["annotations"][0].update(bbox=["a", 2, 3, 4]))


def box_of_nan(labelled: Labelled) -> None:
    with_box(labelled, [float("nan"), 2, 3, 4])


def no_width(labelled: Labelled) -> None:
    with_box(labelled, [10, 10, 0, 10])


def inverted(labelled: Labelled) -> None:
    with_box(labelled, [30, 30, -10, 10])


def outside(labelled: Labelled) -> None:
    with_box(labelled, [sources.WIDTH + 1, 5, 10, 10])


def over_the_edge(labelled: Labelled) -> None:
    with_box(labelled, [sources.WIDTH - 10, -5, 20, 20])


def same_id(labelled: Labelled) -> None:
    edit_coco(labelled, lambda content: content["annotations"][0].update(id=2))


def spare_image(labelled: Labelled) -> None:
    labelled.scenes[0].save(labelled.images / "spare.png")


FAULTS = [
    (no_image, Problem.IMAGE_MISSING, "scene000.png"),
    (half_an_image, Problem.IMAGE_UNREADABLE, "scene001.jpg"),
    (no_image_inside, Problem.IMAGE_UNREADABLE, "scene000.png"),
    (no_end, Problem.IMAGE_UNREADABLE, "scene000.png: in TensorFlow: "),
    (another_size, Problem.IMAGE_SIZE, "recorded as 224x80, is 112x80"),
    (listed_twice, Problem.IMAGE_TWICE, "image 1000: scene000.png"),
    (unknown_image, Problem.IMAGE_UNKNOWN, "annotation 1: image 77"),
    (box_of_three, Problem.UNREADABLE, "annotation 1: "),
    (box_of_words, Problem.UNREADABLE, "annotation 1: "),
    (box_of_nan, Problem.UNREADABLE, "annotation 1: "),
    (no_width, Problem.BOX_EMPTY, "annotation 1: "),
    (inverted, Problem.BOX_EMPTY, "annotation 1: "),
    (outside, Problem.BOX_OUTSIDE, "annotation 1: "),
    (over_the_edge, Problem.BOX_CLIPPED, "annotation 1: "),
    (same_id, Problem.ID_TWICE, "annotation 2"),
    (spare_image, Problem.NOT_LISTED, "spare.png"),
]


@pytest.mark.parametrize(
    ("fault", "problem", "place"), FAULTS, ids=[fault.__name__ for fault, *_ in FAULTS]
)
def test_a_fault_is_counted_named_and_an_error_in_strict_mode(
    broken, run_import, fault, problem, place
):
    sound = run_import(broken, "coco", "--strict")
    assert sound.code == 0
    assert sound.count(problem.name.lower()) == 0

    fault(broken)
    imported = run_import(broken, "coco")

    assert imported.code == 0, imported.error
    assert imported.count(problem.name.lower()) == 1
    group = imported.report["left_out" if problem.loses_data else "noted"]
    assert place in group[problem.name.lower()]["first"][0]
    assert problem.value in imported.out
    assert place in imported.out
    strict = run_import(broken, "coco", "--strict")
    if problem.loses_data:
        assert strict.code == 1
        assert problem.value in strict.error
        assert not strict.folder.exists()
    else:
        assert strict.code == 0


def test_what_is_left_out_takes_nothing_else_with_it(broken, run_import):
    before = run_import(broken, "coco")
    no_width(broken)
    after = run_import(broken, "coco")
    assert boxes(after) == boxes(before) - 1
    for one, other in zip(before.decoded()[1:], after.decoded()[1:], strict=True):
        np.testing.assert_array_equal(one["groundtruth_boxes"], other["groundtruth_boxes"])


def test_a_clipped_box_ends_at_the_edge(broken, run_import):
    over_the_edge(broken)
    first = run_import(broken, "coco").decoded()[0]
    expected = [0, (sources.WIDTH - 10) / sources.WIDTH, 15 / sources.HEIGHT, 1]
    np.testing.assert_allclose(first["groundtruth_boxes"][0], expected, rtol=1e-6)


def test_faults_of_label_lines(broken, run_import):
    file = broken.folder / "yolo" / "scene000.txt"
    file.write_text("0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2\n0 0.5 0.5 0.2 0.2 0.9\nx 0.5 0.5 0.2 0.2\n")
    (broken.folder / "yolo" / "spare.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (broken.folder / "yolo" / "scene003.txt").unlink()
    imported = run_import(broken, "yolo")
    assert imported.count("unreadable") == 3
    assert f"{file}: line 2" in imported.out
    assert imported.count("image_missing") == 1
    assert imported.count("no_label_file") == 1
    assert imported.report["sets"]["train"]["images"] == 4


def test_a_label_file_for_two_images_is_refused(broken, run_import):
    broken.scenes[0].save(broken.images / "scene000.bmp")
    imported = run_import(broken, "yolo")
    assert imported.code == 2
    assert "scene000.bmp or scene000.png" in imported.error


def test_faults_of_xml(broken, run_import):
    files = [broken.folder / "voc" / f"scene{index:03}.xml" for index in range(3)]
    files[0].write_text(files[0].read_text()[:-20])
    files[1].write_text(files[1].read_text().replace("<xmin>", "<xmin>x", 1))
    text = files[2].read_text().replace(f"<width>{sources.WIDTH}</width>", "<width>0</width>")
    files[2].write_text(text)
    imported = run_import(broken, "voc")
    assert imported.count("unreadable") == 2
    assert f"{files[1]}: object 1: bndbox/xmin" in imported.out
    assert imported.count("image_size") == 0  # a width of 0 stands for none
    assert imported.report["sets"]["train"]["images"] == 3


def test_faults_of_rows(broken, run_import):
    file = broken.folder / "boxes.csv"
    lines = file.read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + ",wide"
    lines.append(f"nowhere.png,{sources.WIDTH},{sources.HEIGHT},red,1,2,3,4")
    lines.append("scene000.png,1,1,red,1,2,3,4")
    file.write_text("\n".join(lines))
    imported = run_import(broken, "csv")
    assert imported.count("unreadable") == 2
    assert f"{file}: line 2" in imported.out
    assert imported.count("image_missing") == 1


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [5, 5], "counts": [25]},
        {"size": [sources.HEIGHT, sources.WIDTH], "counts": [1, 2, 3]},
        {"size": [sources.HEIGHT, sources.WIDTH], "counts": "abc"},
        {"counts": [1]},
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, "x"]],
        [1, 2, 3],
    ],
)
def test_masks_that_cannot_be_read(broken, run_import, segmentation):
    content = sources.coco(broken.scenes, masks=True)
    content["annotations"][0]["segmentation"] = segmentation
    sources.write_coco(broken.folder / "instances_masks.json", content)
    imported = run_import(broken, "coco_masks")
    assert imported.code == 0, imported.error
    assert imported.count("unreadable") == 1
    assert imported.report["sets"]["train"]["masks"] == boxes(imported)


def test_a_mask_without_a_pixel_is_noted(broken, run_import):
    content = sources.coco(broken.scenes, masks=True)
    content["annotations"][0]["segmentation"] = [[5, 5, 5.1, 5, 5.1, 5.1]]
    sources.write_coco(broken.folder / "instances_masks.json", content)
    assert run_import(broken, "coco_masks").count("mask_empty") == 1


def test_nothing_to_import_is_an_error(broken, run_import):
    edit_coco(broken, lambda content: content["annotations"].clear())
    imported = run_import(broken, "coco")
    assert imported.code == 2
    assert "no box was found for any of the 4 images" in imported.error

    edit_coco(broken, lambda content: None)
    for file in broken.images.iterdir():
        file.write_text("not an image")
    imported = run_import(broken, "coco")
    assert imported.code == 2
    assert "no box is left for train" in imported.error
    assert Problem.IMAGE_UNREADABLE.value in imported.error
    assert not imported.folder.exists()

    for file in broken.images.iterdir():
        file.unlink()
    imported = run_import(broken, "coco")
    assert imported.code == 2
    assert "the folder holds no image" in imported.error


def test_an_earlier_import_stays_unless_it_is_to_go(broken, run_import, tmp_path):
    output = tmp_path / "out"
    run_import(broken, "coco", output=output)
    before = (output / "import_report.json").read_bytes()

    again = run_import(broken, "voc", output=output)
    assert again.code == 2
    assert "--force" in again.error
    assert (output / "import_report.json").read_bytes() == before

    assert run_import(broken, "voc", "--force", output=output).report["format"] == "voc"

    foreign = run_import(broken, "coco", "--force", output=broken.images)
    assert foreign.code == 2
    assert "not the folder of an import" in foreign.error

    (output / "pipeline.config").write_text("mine")
    beside = run_import(broken, "voc", "--force", output=output)
    assert beside.code == 2
    assert "would remove pipeline.config, which no import wrote" in beside.error
    assert (output / "pipeline.config").read_text() == "mine"

    (broken.folder / "import_report.json").write_text('{"sets": {}}')
    around = run_import(broken, "coco", "--force", output=broken.folder)
    assert around.code == 2
    assert "would remove" in around.error
    assert broken.images.is_dir()


def test_an_interrupted_import_leaves_the_last_good_one(broken, run_import, tmp_path, monkeypatch):
    output = tmp_path / "out"
    run_import(broken, "coco", output=output)
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    encode = importing.encode_example

    def interrupted(image, **options):
        if image.name == sources.file_name(2):
            raise KeyboardInterrupt
        return encode(image, **options)

    monkeypatch.setattr(importing, "encode_example", interrupted)
    assert run_import(broken, "voc", "--force", output=output).code == 130

    assert {file.name: file.read_bytes() for file in output.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labelled", "out"]


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--split", "val=2"], "'val=2' is not NAME=SHARE"),
        (["--split", "val"], "'val' is not NAME=SHARE"),
        (["--split", "train=0.5"], "two sets have the same name"),
        (["--split", "a=0.5", "--split", "b=0.5"], "the splits leave nothing for train"),
        (["--split", "val=0.01"], "of 4 images, none would be left for val"),
        (["--name", "a/b"], "'a/b' is not a name"),
        (["--normalized"], "--normalized is for --format csv only"),
        (["--label_map", "none.pbtxt"], "there is no file none.pbtxt"),
    ],
)
def test_mistakes_in_flags(labelled, run_import, flags, word):
    imported = run_import(labelled, "coco", *flags)
    assert imported.code == 2
    assert word in imported.error
    assert not imported.folder.exists()


def test_a_source_of_the_other_kind(labelled, run_import):
    from odapi import cli

    arguments = labelled.arguments("coco", labelled.folder / "out")
    arguments[arguments.index("coco")] = "voc"
    assert cli.main(arguments) == 2


def jpeg(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif.tobytes(), quality=95)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("orientation", "recorded", "problem", "shape"),
    [
        (6, (sources.WIDTH, sources.HEIGHT), None, (80, 112)),  # labelled as stored
        (6, (sources.HEIGHT, sources.WIDTH), "turned", (112, 80)),  # labelled as people see it
        (6, None, "orientation", (80, 112)),
        (3, (sources.WIDTH, sources.HEIGHT), "orientation", (80, 112)),
        (1, (sources.WIDTH, sources.HEIGHT), None, (80, 112)),
        (6, (sources.WIDTH, sources.WIDTH), "image_size", None),
    ],
)
def test_exif_orientation_counts_where_the_recorded_size_says_so(
    broken, run_import, orientation, recorded, problem, shape
):
    stored = Image.fromarray(broken.scenes[1].image)
    (broken.images / sources.file_name(1)).write_bytes(jpeg(stored, orientation))
    size = dict(zip(("width", "height"), recorded or (0, 0), strict=True))
    edit_coco(broken, lambda content: content["images"][1].update(size))

    imported = run_import(broken, "coco")

    for kind in ("turned", "orientation", "image_size"):
        assert imported.count(kind) == (kind == problem)
    if shape:
        image = imported.decoded()[1]["image"].astype(int)
        assert image.shape[:2] == shape
        # Orientation 6 is: turn by a quarter, clockwise.
        expected = np.rot90(broken.scenes[1].image, -1 if problem == "turned" else 0)
        assert np.abs(image - expected).mean() < 8
