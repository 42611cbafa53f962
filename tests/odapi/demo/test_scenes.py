import io

import numpy as np
import pytest
from PIL import Image

from odapi.demo import scenes as module
from odapi.demo.scenes import (
    CLASS_NAMES,
    Digits,
    SceneStyle,
    classifier_crops,
    make_scenes,
    split_digits,
    write_label_map,
    write_records,
)


@pytest.fixture(scope="module")
def split(digits):
    return split_digits(digits)


@pytest.fixture(scope="module")
def scenes(split):
    return list(make_scenes(split[0], 40, seed=3))


def test_split_shares_no_digit_and_loses_none(digits, split):
    train, test = ({image.tobytes() for image in part.images} for part in split)
    assert not train & test
    assert len(split[0]) + len(split[1]) == len(digits) == 5000
    assert set(np.bincount(split[0].labels)) == {400}
    assert set(np.bincount(split[1].labels)) == {100}


def test_split_that_leaves_a_side_empty_is_refused():
    lonely = Digits(np.zeros((1, 28, 28), np.uint8), np.array([4]))
    with pytest.raises(ValueError, match="digit 4"):
        split_digits(lonely)


def test_same_seed_gives_the_same_scenes_whatever_their_number(split, scenes):
    again = list(make_scenes(split[0], 5, seed=3))
    for first, second in zip(scenes[:5], again, strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.boxes, second.boxes)
        np.testing.assert_array_equal(first.masks, second.masks)
        np.testing.assert_array_equal(first.labels, second.labels)


def test_another_seed_gives_other_scenes(split, scenes):
    other = next(make_scenes(split[0], 1, seed=4))
    assert not np.array_equal(other.image, scenes[0].image)


def test_scenes_keep_their_style(split):
    style = SceneStyle(size=160, min_digits=3, max_digits=3, min_side=30, max_side=50)
    for scene in make_scenes(split[0], 10, seed=1, style=style):
        assert scene.image.shape == (160, 160, 3)
        assert scene.image.dtype == np.uint8
        assert scene.labels.tolist() == [v for v in scene.labels if 1 <= v <= 10]
        assert len(scene.boxes) == len(scene.labels) == len(scene.masks) == 3
        longer = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1)
        assert longer.min() >= 27
        assert longer.max() <= 50


def test_digits_too_big_for_the_scene_are_refused(split):
    with pytest.raises(ValueError, match="do not fit"):
        next(make_scenes(split[0], 1, seed=1, style=SceneStyle(size=32)))


def test_boxes_are_the_masks_bounds(scenes):
    for scene in scenes:
        for box, mask in zip(scene.boxes, scene.masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [
                rows.min(),
                columns.min(),
                rows.max() + 1,
                columns.max() + 1,
            ]


def test_boxes_do_not_overlap(scenes):
    for scene in scenes:
        for index, (top, left, bottom, right) in enumerate(scene.boxes):
            for top_, left_, bottom_, right_ in scene.boxes[:index]:
                assert bottom <= top_ or bottom_ <= top or right <= left_ or right_ <= left


def test_digits_stand_out_from_what_surrounds_them(scenes):
    for scene in scenes:
        luminance = scene.image @ module.LUMA
        paper = ~scene.masks.any(axis=0)
        for (top, left, bottom, right), mask in zip(
            scene.boxes.astype(int), scene.masks, strict=True
        ):
            around = luminance[top:bottom, left:right][paper[top:bottom, left:right]]
            assert abs(np.median(luminance[mask > 0]) - np.median(around)) > 45


def test_crops_are_reproducible_and_balanced(split):
    images, labels = classifier_crops(split[0], 300, 32, seed=9)
    again, labels_again = classifier_crops(split[0], 300, 32, seed=9)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, labels_again)
    assert images.shape == (300, 32, 32, 3)
    assert images.dtype == np.uint8
    assert np.bincount(labels, minlength=10).min() > 10


def test_records_hold_the_scenes(tmp_path, scenes):
    import tensorflow as tf

    path = tmp_path / "data" / "scenes.tfrecord"
    assert write_records(iter(scenes[:6]), path, name="train") == 6
    assert [p.name for p in path.parent.iterdir()] == ["scenes.tfrecord"]
    records = list(tf.data.TFRecordDataset(str(path)))
    assert len(records) == 6
    ids = set()
    for record, scene in zip(records, scenes, strict=False):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        encoded = feature["image/encoded"].bytes_list.value[0]
        np.testing.assert_array_equal(tf.io.decode_png(encoded).numpy(), scene.image)
        assert feature["image/format"].bytes_list.value[0] == b"png"
        assert feature["image/height"].int64_list.value[0] == scene.image.shape[0]
        assert feature["image/width"].int64_list.value[0] == scene.image.shape[1]
        corners = [
            np.array(feature[f"image/object/bbox/{side}"].float_list.value) * 128
            for side in ("ymin", "xmin", "ymax", "xmax")
        ]
        np.testing.assert_allclose(np.stack(corners, 1), scene.boxes, atol=1e-4)
        labels = list(feature["image/object/class/label"].int64_list.value)
        assert labels == scene.labels.tolist()
        texts = [text.decode() for text in feature["image/object/class/text"].bytes_list.value]
        assert texts == [CLASS_NAMES[label - 1] for label in labels]
        masks = [
            np.asarray(Image.open(io.BytesIO(png)))
            for png in feature["image/object/mask"].bytes_list.value
        ]
        np.testing.assert_array_equal(np.stack(masks), scene.masks)
        ids.add(feature["image/source_id"].bytes_list.value[0])
    assert len(ids) == 6


def test_interrupted_writing_keeps_the_old_file(tmp_path, scenes):
    path = tmp_path / "scenes.tfrecord"
    write_records(scenes[:2], path)
    before = path.read_bytes()

    def broken():
        yield scenes[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_records(broken(), path)
    assert path.read_bytes() == before


def test_label_map_names_ten_classes(tmp_path):
    path = tmp_path / "label_map.pbtxt"
    write_label_map(path)
    text = path.read_text()
    assert text.count("item {") == 10
    assert "id: 1\n  name: '0'" in text
    assert "id: 10\n  name: '9'" in text
