"""`odapi predict` on images, patterns and videos, with a model whose detections are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from odapi import cli
from odapi.console.errors import UserError
from odapi.predict import run as predicting
from odapi.predict import videos
from odapi.predict.sources import find_images

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

import tensorflow as tf

from odapi.detector.detector import Detector
from odapi.detector.masks import encode, paste

SIDE = 96


class BrightPart(tf.Module):
    """Finds the one bright rectangle of an image: exact box, and a mask of its left half."""

    def __init__(self, batch: int | None) -> None:
        super().__init__()
        self.unused = tf.Variable(0.0)  # a detector has variables
        spec = tf.TensorSpec([batch, None, None, 3], tf.uint8, name="input_tensor")
        self.call = tf.function(self._call, input_signature=[spec])

    def _call(self, input_tensor):
        number = tf.shape(input_tensor)[0]
        size = tf.cast(tf.shape(input_tensor)[1:3], tf.float32)

        def box(image):
            bright = tf.where(tf.reduce_mean(tf.cast(image, tf.float32), axis=2) > 128)
            found = tf.cast(tf.shape(bright)[0] > 0, tf.float32)
            low = tf.cast(tf.reduce_min(bright, axis=0), tf.float32)
            high = tf.cast(tf.reduce_max(bright, axis=0) + 1, tf.float32)
            sides = tf.concat([low / size, high / size], axis=0)
            sides = tf.where(found > 0, sides, tf.zeros([4]))
            return sides[tf.newaxis], 0.9 * found[tf.newaxis]

        boxes, scores = tf.map_fn(box, input_tensor, fn_output_signature=(tf.float32, tf.float32))
        half = tf.concat([tf.ones([1, 1, 8, 4]), tf.zeros([1, 1, 8, 4])], axis=3)
        return {
            "num_detections": tf.ones([number]),
            "detection_boxes": boxes,
            "detection_scores": scores,
            "detection_classes": tf.ones([number, 1]),
            "detection_masks": tf.tile(half, [number, 1, 1, 1]),
        }


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> Path:
    """A SavedModel that takes one image at a time."""
    return save(tmp_path_factory.mktemp("single"), 1)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A SavedModel that takes any number."""
    return save(tmp_path_factory.mktemp("many"), None)


def save(folder: Path, batch: int | None) -> Path:
    model = BrightPart(batch)
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.call})
    return folder


def picture(left: int, top: int, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    image = np.full((height, width, 3), 20, np.uint8)
    image[top : top + 16, left : left + 24] = 250
    return image


def write_video(path: Path, frames: int = 12, rate: float = 10.0) -> Path:
    codec = "mp4v" if path.suffix == ".mp4" else "MJPG"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, (SIDE, SIDE))
    assert writer.isOpened()
    for frame in range(frames):
        writer.write(picture(4 * frame, 40))
    writer.release()
    return path


def run(model: Path, output: Path, *arguments: object) -> tuple[int, list[dict]]:
    code = cli.main(
        ["predict", f"--saved_model={model}", f"--output_directory={output}", *map(str, arguments)]
    )
    results = output / "detections.json"
    return code, json.loads(results.read_text()) if results.is_file() else []


def test_json_has_boxes_in_pixels_and_masks_as_run_lengths(single, tmp_path):
    from pycocotools import mask as run_lengths

    Image.fromarray(picture(30, 10, width=160, height=80)).save(tmp_path / "one.png")
    code, (found,) = run(single, tmp_path / "out", tmp_path / "one.png")
    assert code == 0
    assert found["bbox"] == pytest.approx([30, 10, 24, 16], abs=1e-3)
    assert found["file_name"] == str(tmp_path / "one.png")
    assert (found["image_id"], found["category_id"], found["score"]) == (1, 1, 0.9)
    assert found["segmentation"]["size"] == [80, 160]
    rows, columns = np.nonzero(run_lengths.decode(found["segmentation"]))
    assert (rows.min(), rows.max() + 1) == (10, 26)
    assert columns.min() == 30 and abs(columns.max() + 1 - 42) <= 1, "the left half alone"

    drawn = np.asarray(Image.open(tmp_path / "out" / "one.png")).astype(int)
    assert drawn.shape == (6 * 80, 6 * 160, 3)
    left, right = drawn[6 * 18, 6 * 34], drawn[6 * 18, 6 * 50]
    assert np.ptp(left) > 50 > np.ptp(right), "the mask is tinted, the rest of the box is not"


def test_batches_give_what_single_images_give(single, many, tmp_path):
    sizes = [(96, 96), (96, 96), (96, 96), (64, 96), (96, 96), (96, 96)]
    for number, (width, height) in enumerate(sizes):
        image = picture(5 * number, 3 * number, width, height)
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "2b.png").write_bytes(b"no picture")
    one, results = run(single, tmp_path / "one", tmp_path)
    two, batched = run(many, tmp_path / "two", tmp_path, "--batch_size=2")
    assert (one, two) == (1, 1), "the broken file"
    assert len(results) == 6 and batched == results
    for path in (tmp_path / "one").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_images_of_equal_size_go_through_the_model_together(many):
    detector = Detector.from_saved_model(str(many))
    assert detector.batch_size is None
    images = [(picture(i, 0, width), {}) for i, width in enumerate([96, 96, 96, 64, 96])]
    assert [len(batch) for batch in predicting._batches(images, 2)] == [2, 1, 1, 1]
    assert [len(batch) for batch in predicting._batches(images, 8)] == [3, 1, 1]


def test_a_model_for_one_image_refuses_a_batch(single, tmp_path, capsys):
    Image.fromarray(picture(0, 0)).save(tmp_path / "one.png")
    code, _ = run(single, tmp_path / "out", tmp_path / "one.png", "--batch_size=4")
    error = capsys.readouterr().err
    assert code == 2
    assert "error: the model takes 1 image at a time, not 4" in error
    assert "--input_type=float_image_tensor" in error
    assert not (tmp_path / "out").exists()


def test_a_model_of_fixed_batch_is_filled_up(tmp_path):
    detector = Detector.from_saved_model(str(save(tmp_path, 4)))
    assert detector.batch_size == 4
    images = np.stack([picture(10, 20), picture(30, 40)])
    found = list(detector.detect_batch(images))
    assert [one.boxes[0].tolist() for one in found] == [
        pytest.approx([20, 10, 36, 34], abs=1e-3),
        pytest.approx([40, 30, 56, 54], abs=1e-3),
    ]


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_video_gives_frames_times_and_a_video(many, tmp_path, suffix, batch_size):
    clip = write_video(tmp_path / f"clip{suffix}")
    out = tmp_path / "out"
    code, found = run(many, out, clip, f"--batch_size={batch_size}")
    assert code == 0
    assert [entry["frame"] for entry in found] == list(range(12))
    assert [entry["image_id"] for entry in found] == list(range(1, 13))
    assert [entry["time"] for entry in found] == pytest.approx(np.arange(12) / 10, abs=1e-3)
    lefts = np.array([entry["bbox"][0] for entry in found])
    np.testing.assert_allclose(lefts, 4 * np.arange(12), atol=2)

    assert sorted(path.name for path in out.iterdir()) == ["clip.mp4", "detections.json"]
    with videos.Video(out / "clip.mp4") as video:
        assert video.rate == pytest.approx(10)
        frames = [frame for frame, _ in video]
    assert len(frames) == 12
    assert frames[0].shape == (480, 480, 3)
    # The box moves to the right, and with it its tinted half.
    tinted = [np.ptp(frame.astype(int), axis=2).mean(axis=0).argmax() for frame in frames]
    assert tinted[-1] > tinted[0] + 150


def test_images_and_videos_are_numbered_through(single, tmp_path):
    Image.fromarray(picture(0, 0)).save(tmp_path / "a.png")
    write_video(tmp_path / "b.mp4", frames=3)
    Image.fromarray(picture(0, 0)).save(tmp_path / "c.png")
    _, found = run(single, tmp_path / "out", tmp_path)
    assert [(Path(entry["file_name"]).name, entry["image_id"]) for entry in found] == [
        ("a.png", 1), ("b.mp4", 2), ("b.mp4", 3), ("b.mp4", 4), ("c.png", 5)
    ]  # fmt: skip
    assert {path.name for path in (tmp_path / "out").glob("*.*")} == {
        "a.png", "b.mp4", "c.png", "detections.json"
    }  # fmt: skip


def test_damaged_videos_are_named_and_the_rest_is_done(single, tmp_path, capsys):
    (tmp_path / "noise.mp4").write_bytes(b"no video" * 100)
    cut = write_video(tmp_path / "cut.avi", frames=40)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    Image.fromarray(picture(0, 0)).save(tmp_path / "a.png")
    code, found = run(single, tmp_path / "out", tmp_path)
    error = capsys.readouterr().err
    assert code == 1
    assert "2 of the images could not be read" in error
    assert "noise.mp4: not a readable video" in error
    frames = sum(entry["file_name"].endswith("cut.avi") for entry in found)
    assert 0 < frames < 40
    assert f"cut.avi: it ends after {frames} of 40 frames, which are done" in error
    assert any(entry["file_name"].endswith("a.png") for entry in found)
    assert not list((tmp_path / "out").glob("*partial*"))


def test_an_interrupted_video_leaves_no_part(tmp_path):
    with pytest.raises(KeyboardInterrupt), videos.writing(tmp_path / "x.mp4", 10) as write:
        write(picture(0, 0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_patterns_are_expanded_where_the_shell_did_not(tmp_path, monkeypatch):
    for name in ("a/1.png", "a/b/2.png", "a/3.jpg", "a/[x].png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(picture(0, 0)).save(path)

    def names(*arguments: object) -> list[str]:
        return [path.name for path in find_images(map(str, arguments))]

    assert names(tmp_path / "a" / "[0-9].*") == ["1.png", "3.jpg"]
    assert names(tmp_path / "**" / "?.png") == ["1.png", "2.png"]
    assert names(tmp_path / "a" / "[x].png") == ["[x].png"], "a file of that very name"
    assert names(tmp_path / "a" / "*") == ["1.png", "3.jpg", "[x].png"]
    monkeypatch.chdir(tmp_path)
    assert names("a/*.jpg") == ["3.jpg"]
    with pytest.raises(UserError, match="no file matches the pattern"):
        names(tmp_path / "*.bmp")
    with pytest.raises(UserError, match="there is no such image"):
        names(tmp_path / "gone.png")


def test_a_drawing_never_replaces_its_picture(single, tmp_path, capsys):
    path = tmp_path / "one.png"
    Image.fromarray(picture(0, 0)).save(path)
    before = path.read_bytes()
    code, _ = run(single, tmp_path, path)
    assert code == 2
    assert f"drawings could replace what lies beside {path}" in capsys.readouterr().err
    assert path.read_bytes() == before

    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "two.png"
    link.symlink_to(path)
    assert run(single, tmp_path, link)[0] == run(single, tmp_path / "links", link)[0] == 2
    assert path.read_bytes() == before


def test_an_output_directory_that_is_a_file_is_refused(single, tmp_path, capsys):
    Image.fromarray(picture(0, 0)).save(tmp_path / "one.png")
    (tmp_path / "out").write_text("mine")
    code, _ = run(single, tmp_path / "out", tmp_path / "one.png")
    assert code == 2
    assert "the output directory is a file" in capsys.readouterr().err


def test_names_that_collide_stay_apart(single, tmp_path):
    for name in ("a/x.png", "b/x.png", "c/x_2.png"):
        path = tmp_path / name
        path.parent.mkdir()
        Image.fromarray(picture(0, 0)).save(path)
    run(single, tmp_path / "out", tmp_path / "a", tmp_path / "b", tmp_path / "c")
    drawn = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert drawn == ["x.png", "x_2.png", "x_2_2.png"]


def test_masks_are_pasted_where_their_boxes_are():
    """Against bilinear sampling at pixel centres, written out."""
    random = np.random.default_rng(0)
    masks = random.random((3, 7, 7)).astype(np.float32)
    boxes = np.float32([[4, 6, 40, 30], [20, 50, 60, 90], [-5, -5, 20, 20]])
    pasted = paste(masks, boxes, (64, 96))
    assert pasted.shape == (3, 64, 96) and pasted.dtype == np.uint8
    for mask, (top, left, bottom, right), result in zip(masks, boxes, pasted, strict=True):
        for row, column in random.integers(0, [64, 96], (300, 2)):
            # The corners of box and image are pixel centres, as crop_and_resize has them.
            y = (row * 64 / 63 - top) / (bottom - top) * 6
            x = (column * 96 / 95 - left) / (right - left) * 6
            if not (0.01 < y < 5.99 and 0.01 < x < 5.99):
                inside = -0.01 <= y <= 6.01 and -0.01 <= x <= 6.01
                assert inside or not result[row, column]
                continue
            i, j = int(y), int(x)
            value = (
                mask[i, j] * (1 - y + i) * (1 - x + j)
                + mask[i + 1, j] * (y - i) * (1 - x + j)
                + mask[i, j + 1] * (1 - y + i) * (x - j)
                + mask[i + 1, j + 1] * (y - i) * (x - j)
            )
            assert abs(value - 0.5) < 1e-3 or result[row, column] == (value > 0.5)


def test_masks_are_pasted_in_parts_without_a_difference(monkeypatch):
    random = np.random.default_rng(1)
    masks = random.random((9, 5, 5)).astype(np.float32)
    corners = random.random((9, 2)) * 40
    boxes = np.float32(np.hstack([corners, corners + 20]))
    whole = paste(masks, boxes, (64, 64))
    monkeypatch.setattr("odapi.detector.masks.PIXELS_AT_ONCE", 64 * 64 * 2)
    np.testing.assert_array_equal(paste(masks, boxes, (64, 64)), whole)
    assert whole.sum() > 0
    assert paste(masks[:0], boxes[:0], (64, 64)).shape == (0, 64, 64)


def test_encoded_masks_are_json_and_come_back():
    from pycocotools import mask as run_lengths

    mask = np.zeros((5, 7), np.uint8)
    mask[1:3, 2:6] = 1
    encoded = json.loads(json.dumps(encode(mask)))
    assert encoded["size"] == [5, 7]
    np.testing.assert_array_equal(run_lengths.decode(encoded), mask)
