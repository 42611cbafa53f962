"""exporter_main_v2.py: SavedModels that find what the checkpoint finds."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.entry_points.detections import Detections, differences, load_detector

INPUTS = {
    "image_tensor": lambda scene: tf.constant(scene.image[None]),
    "float_image_tensor": lambda scene: tf.constant(scene.image[None], tf.float32),
    "encoded_image_string_tensor": lambda scene: tf.constant([scene.encoded("PNG")]),
}


@pytest.mark.parametrize("input_type", INPUTS)
def test_a_saved_model_finds_what_the_checkpoint_finds(export_model, project, detect, input_type):
    model = tf.saved_model.load(str(export_model(input_type) / "saved_model"))
    serve = model.signatures["serving_default"]
    for scene in project.scenes[:3]:
        outputs = serve(input_tensor=INPUTS[input_type](scene))
        assert differences(Detections.from_outputs(outputs), detect(scene.image)) == []


def test_config_and_checkpoint_come_along(export_model, project, detect):
    folder = export_model("image_tensor")
    again = load_detector(folder / "pipeline.config", str(folder / "checkpoint" / "ckpt-0"))
    image = project.scenes[0].image
    assert differences(again(image), detect(image)) == []


def test_the_comparison_sees_other_weights(project, detect):
    image = project.scenes[0].image
    untrained = load_detector(project.config, checkpoint=None)
    assert differences(untrained(image), detect(image))


def test_the_comparison_sees_a_shifted_box_a_score_a_class_and_a_missing_detection():
    boxes = np.array([[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]])
    good = Detections(boxes, np.array([0.9, 0.3]), np.array([1, 2]))
    swapped = Detections(boxes[::-1], good.scores[::-1], good.classes[::-1])
    assert differences(good, good) == []
    assert differences(swapped, good) == []
    for bad in (
        good.shifted(1, 0.01),
        Detections(boxes, np.array([0.9, 0.29]), good.classes),
        Detections(boxes, good.scores, np.array([1, 1])),
        good.best(1),
    ):
        assert differences(bad, good)
        assert differences(good, bad)
