from types import SimpleNamespace

import numpy as np
import pytest

from odapi.demo.masks import evaluate_masks
from odapi.demo.scenes import make_scenes, split_digits
from odapi.detector import Detections


@pytest.fixture(scope="module")
def scenes(digits):
    return list(make_scenes(split_digits(digits)[1], 20, seed=5))


def detector(scenes, change):
    """Finds what is in the scenes, in their order, after `change` of each mask."""
    left = iter(scenes)

    def detect(image):
        scene = next(left)
        np.testing.assert_array_equal(image, scene.image)
        masks = np.stack([change(mask) for mask in scene.masks])
        return Detections(scene.boxes, np.ones(len(masks), np.float32), scene.labels, masks)

    return SimpleNamespace(source="a test", detect=detect)


def test_true_masks_are_perfect(scenes):
    stats = evaluate_masks(detector(scenes, lambda mask: mask), scenes)

    assert len(stats) == 12
    assert stats[:3] == [1.0, 1.0, 1.0]


def test_boxes_in_place_of_masks_are_not_found(scenes):
    def fill(mask):
        rows, columns = np.nonzero(mask)
        filled = np.zeros_like(mask)
        filled[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 1
        return filled

    assert evaluate_masks(detector(scenes, fill), scenes)[1] < 0.5


def test_masks_of_other_digits_are_not_found(scenes):
    wrong = detector(scenes, lambda mask: np.roll(mask, (30, 30), (0, 1)))
    assert evaluate_masks(wrong, scenes)[1] < 0.1


def test_a_detector_without_masks_is_refused(scenes):
    boxes = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    blind = SimpleNamespace(source="an SSD", detect=lambda image: boxes)
    with pytest.raises(ValueError, match="an SSD makes no masks"):
        evaluate_masks(blind, scenes)
