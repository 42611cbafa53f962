"""A detector of several stages trains in 16 bits, and its checkpoint predicts in float32."""

from __future__ import annotations

from object_detection.utils import mixed_precision

from tests.architectures import harness
from tests.architectures.catalogue import mask_rcnn


def test_mask_rcnn_trains_and_predicts(folder, monkeypatch):
    architecture = mask_rcnn("faster_rcnn_resnet50_keras")
    # So that gradients of the first steps do not overflow, which would leave variables as they are.
    monkeypatch.setattr(mixed_precision, "INITIAL_LOSS_SCALE", 4.0)
    with mixed_precision.policy("mixed_float16"):
        trained = harness.train(architecture, folder, eagerly=True)
    model = harness.build_for_inference(architecture, folder)
    harness.predict(model, architecture)
    before, after = (harness.restore(model, path) for path in trained.checkpoints)
    harness.check_trained(trained.losses, before, after)
    harness.check_detections(harness.predict(model, architecture), architecture)
