"""The tests that patches add to the tree, and the whole VGG-16 detector's size."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import object_detection
import pytest

TREE = Path(object_detection.__file__).parent

ADDED_TESTS = [
    # file, ODAPI_TF_BEHAVIOR
    ("models/faster_rcnn_vgg16_keras_feature_extractor_tf2_test.py", "2"),
    ("models/faster_rcnn_vgg_16_fixed_feature_extractor_tf1_test.py", "1"),
    ("utils/color_ops_test.py", "1"),
    ("utils/color_ops_test.py", "2"),
    # Upstream's own, for code that a patch replaced.
    ("matchers/bipartite_matcher_tf1_test.py", "1"),
]


@pytest.mark.parametrize(("file", "behavior"), ADDED_TESTS)
def test_tests_of_the_tree_pass(file, behavior):
    done = subprocess.run(
        [sys.executable, str(TREE / file)],
        env=os.environ | {"ODAPI_TF_BEHAVIOR": behavior},
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == 0, done.stderr[-4000:]
    count, skipped = re.search(
        r"Ran (\d+) tests? in .*?\n\nOK(?: \(skipped=(\d+)\))?", done.stderr, re.DOTALL
    ).groups()
    # test_session, TensorFlow's placeholder, is skipped everywhere; a file that skipped all of
    # its tests ran in the wrong behaviour.
    assert int(skipped or 0) <= 1 < int(count)


def test_a_whole_detector_has_the_papers_parameters_but_for_the_box_head():
    """Faster R-CNN on VGG-16 with 9 anchors and 20 classes has 137,078,239 parameters.

    That is with four box outputs for each of 21 classes. The Object Detection API predicts no
    box for the background: four outputs of 4,096 weights and a bias fewer.
    """
    import tensorflow as tf
    from object_detection.builders import model_builder

    from odapi.convert import recipes

    config = recipes.faster_rcnn(recipes.TrainingSettings(20))
    anchors = config.model.faster_rcnn.first_stage_anchor_generator.grid_anchor_generator
    anchors.ClearField("scales")
    anchors.scales.extend([0.5, 1.0, 2.0])
    config.model.faster_rcnn.first_stage_max_proposals = 4
    model = model_builder.build(config.model, is_training=False)
    images, shapes = model.preprocess(tf.zeros([1, 64, 64, 3]))
    model.predict(images, shapes)

    parameters = sum(variable.shape.num_elements() for variable in model.trainable_variables)

    assert parameters == 137_078_239 - 4 * 4097 == 137_061_851
