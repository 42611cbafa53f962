import numpy as np
import pytest

from odapi.convert import recipes
from odapi.convert.request import Architecture
from odapi.demo import detectors
from odapi.demo.scenes import make_scenes, split_digits


@pytest.fixture(scope="module")
def digit_sizes(digits):
    """Heights and widths of digits in pixels of their scenes, float [N, 2]."""
    drawn = make_scenes(split_digits(digits)[0], 60, seed=2)
    return np.concatenate([scene.boxes[:, 2:] - scene.boxes[:, :2] for scene in drawn])


def converted(masks):
    return recipes.faster_rcnn(recipes.TrainingSettings(10), extractor="keras:nowhere", masks=masks)


def best_overlaps(config, sizes):
    """For each digit the IoU with the anchor that is nearest in size, if both have one centre."""
    model = config.model.faster_rcnn
    grid = model.first_stage_anchor_generator.grid_anchor_generator
    resizer = model.image_resizer
    side = resizer.fixed_shape_resizer.height
    if not resizer.HasField("fixed_shape_resizer"):
        side = resizer.keep_aspect_ratio_resizer.min_dimension
    anchors = np.array(
        [
            (256 * scale / np.sqrt(ratio), 256 * scale * np.sqrt(ratio))
            for scale in grid.scales
            for ratio in grid.aspect_ratios
        ]
    )
    seen = sizes[:, None] * side / detectors.SIDE
    common = np.minimum(seen, anchors).prod(-1)
    return (common / (seen.prod(-1) + anchors.prod(-1) - common)).max(1)


@pytest.mark.parametrize("masks", [False, True])
def test_anchors_have_the_sizes_of_digits(digit_sizes, masks):
    config = converted(masks)
    detectors.fit_to_scenes(config, detectors.SMALL)
    assert (best_overlaps(config, digit_sizes) > 0.5).mean() > 0.95

    # Without the change of sizes they have not.
    scenes_as_they_are = converted(masks)
    resizer = scenes_as_they_are.model.faster_rcnn.image_resizer
    resizer.fixed_shape_resizer.height = resizer.fixed_shape_resizer.width = detectors.SIDE
    assert (best_overlaps(scenes_as_they_are, digit_sizes) > 0.5).mean() < 0.5


def test_own_classifiers_and_untuned_pairs_have_a_training_too():
    assert detectors.training("mine.keras", Architecture.SSD) == detectors.OTHER
    assert detectors.training("vgg16", Architecture.SSD) == detectors.OTHER
    assert detectors.training("small", Architecture.SSD) == detectors.SMALL
