"""The checks of the other module fail where they must."""

from __future__ import annotations

import numpy as np
import pytest

from tests.architectures import harness, records
from tests.architectures.catalogue import SIDE, ssd
from tests.architectures.centernet import centernet_keypoints

LOSSES = [{"Loss/classification_loss": 0.5, "Loss/total_loss": 1.5}]
VARIABLES = [np.zeros(3), np.ones((2, 2)), np.full(4, 2.0), np.full(1, 3.0)]
NO_LEARNING = """
train_config { optimizer { momentum_optimizer {
  learning_rate { constant_learning_rate { learning_rate: 0.0 } }
} } }
"""


def test_a_real_step_without_learning_rate_is_seen(tmp_path):
    architecture = ssd("ssd_mobilenet_v1_keras")
    records.write(tmp_path)
    trained = harness.train(architecture, tmp_path, eagerly=True, override=NO_LEARNING)
    model = harness.build_for_inference(architecture, tmp_path)
    harness.predict(model, architecture)
    before, after = (harness.restore(model, path) for path in trained.checkpoints)

    with pytest.raises(AssertionError, match=r"0 of \d+ trainable variables changed"):
        harness.check_trained(trained.losses, before, after)


def test_a_change_in_most_variables_and_finite_losses_pass():
    after = [*(value + 1 for value in VARIABLES[:3]), VARIABLES[3]]

    harness.check_trained(LOSSES, VARIABLES, after)


@pytest.mark.parametrize(
    ("losses", "before", "after", "message"),
    [
        ([], VARIABLES, VARIABLES, "no step"),
        ([{**LOSSES[0], "Loss/total_loss": np.nan}], VARIABLES, VARIABLES, "Loss/total_loss"),
        ([LOSSES[0], {**LOSSES[0], "a": np.inf}], VARIABLES, VARIABLES, "'a'"),
        (LOSSES, [], [], "no trainable"),
        (LOSSES, VARIABLES, VARIABLES, "0 of 4"),
        (LOSSES, VARIABLES, [VARIABLES[0] + 1, *VARIABLES[1:]], "1 of 4"),
        (LOSSES, VARIABLES, [*(value * np.nan for value in VARIABLES)], "variable is not finite"),
    ],
)
def test_a_bad_step_is_seen(losses, before, after, message):
    with pytest.raises(AssertionError, match=message):
        harness.check_trained(losses, before, after)


def _detections() -> dict[str, np.ndarray]:
    boxes = np.tile(np.float32([0.1, 0.2, 0.6, 0.9]), (2, 5, 1))
    return {
        "detection_boxes": boxes,
        "detection_scores": np.full((2, 5), 0.5, np.float32),
        "detection_classes": np.ones((2, 5), np.float32),
        "num_detections": np.float32([5, 5]),
        "detection_keypoints": np.full((2, 5, 3, 2), 0.5, np.float32),
        "detection_keypoint_scores": np.full((2, 5, 3), 0.5, np.float32),
    }


def test_good_detections_pass():
    harness.check_detections(_detections(), centernet_keypoints("resnet_v1_18_fpn"))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("detection_boxes", lambda boxes: boxes * SIDE),
        ("detection_boxes", lambda boxes: boxes * np.nan),
        ("detection_boxes", lambda boxes: boxes[..., ::-1]),
        ("detection_boxes", lambda boxes: boxes[:, :4]),
        ("detection_scores", lambda scores: scores + 1),
        ("detection_scores", lambda scores: scores - 1),
        ("detection_classes", lambda classes: classes + 1),
        ("num_detections", lambda count: count + 1),
        ("detection_keypoints", lambda keypoints: keypoints[:, :, :2]),
        ("detection_keypoint_scores", lambda scores: scores * np.inf),
    ],
)
def test_bad_detections_are_seen(name, wrong):
    detections = _detections()
    detections[name] = wrong(detections[name])

    with pytest.raises(AssertionError):
        harness.check_detections(detections, centernet_keypoints("resnet_v1_18_fpn"))
