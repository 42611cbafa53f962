"""Every meta-architecture trains and predicts; every registered extractor predicts at least."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from object_detection.builders import model_builder

from tests.architectures import harness
from tests.architectures.catalogue import (
    Architecture,
    context_rcnn,
    efficientdet,
    faster_rcnn,
    faster_rcnn_fpn,
    mask_rcnn,
    ssd,
    ssd_fpn,
)
from tests.architectures.centernet import centernet, centernet_keypoints, deepmac

TRAINED = [
    faster_rcnn_fpn("faster_rcnn_resnet50_fpn_keras"),
    mask_rcnn("faster_rcnn_resnet50_keras"),
    context_rcnn("faster_rcnn_resnet50_keras"),
    ssd("ssd_mobilenet_v1_keras"),
    centernet("hourglass_10"),
    deepmac("hourglass_10", mask_head="hourglass52"),
]
"""Each meta-architecture trains as a user would train it: the step is compiled into a graph."""

TRAINED_EAGERLY = [
    faster_rcnn("faster_rcnn_resnet50_keras"),
    faster_rcnn("faster_rcnn_inception_resnet_v2_keras"),
    faster_rcnn("faster_rcnn_vgg16_keras"),
    ssd("ssd_mobilenet_v2_keras"),
    ssd_fpn("ssd_mobilenet_v1_fpn_keras"),
    ssd_fpn("ssd_mobilenet_v2_fpn_keras", lite=True),
    ssd_fpn("ssd_resnet50_v1_fpn_keras"),
    efficientdet("ssd_efficientnet-b0_bifpn_keras"),
    centernet("resnet_v1_18_fpn"),
    centernet("resnet_v2_50"),
    centernet("mobilenet_v2"),
    centernet("mobilenet_v2_fpn"),
    centernet_keypoints("resnet_v1_50_fpn"),
]
"""Each further extractor's code trains, at its smallest depth, without that compilation."""

PREDICTED = [
    faster_rcnn("faster_rcnn_resnet101_keras"),
    faster_rcnn("faster_rcnn_resnet152_keras"),
    faster_rcnn_fpn("faster_rcnn_resnet101_fpn_keras"),
    faster_rcnn_fpn("faster_rcnn_resnet152_fpn_keras"),
    mask_rcnn("faster_rcnn_inception_resnet_v2_keras"),
    context_rcnn("faster_rcnn_resnet101_keras"),
    ssd_fpn("ssd_resnet101_v1_fpn_keras"),
    ssd_fpn("ssd_resnet152_v1_fpn_keras"),
    *(efficientdet(f"ssd_efficientnet-b{n}_bifpn_keras") for n in range(1, 8)),
    centernet("hourglass_20"),
    centernet("hourglass_32"),
    centernet("hourglass_52"),
    centernet("hourglass_104"),
    centernet("resnet_v1_34_fpn"),
    centernet("resnet_v1_101_fpn"),
    centernet("resnet_v2_101"),
    centernet("mobilenet_v2_fpn_sep_conv"),
    centernet_keypoints("hourglass_104"),
    centernet_keypoints("resnet_v2_50"),
    deepmac("hourglass_10", mask_head="hourglass100"),
]
"""The same code at other depths or with other heads, as in the sample configs.

They take a quarter of an hour to train, so they do when ODAPI_TRAIN_ALL=1 says so.
"""

ALIASES = {"faster_rcnn_vgg16"}
"""Second names of an extractor that is here under its first."""


@pytest.fixture
def note(record_property):
    """Writes what a test does into pytest's report."""

    def write(architecture: Architecture, done: str) -> None:
        record_property("meta_architecture", architecture.meta_architecture)
        record_property("extractor", architecture.extractor)
        record_property("variant", architecture.variant)
        record_property("done", done)

    return write


@pytest.mark.parametrize("architecture", TRAINED, ids=str)
def test_trains_and_predicts(architecture, folder, note):
    note(architecture, "trains (compiled step) and predicts")
    _train_and_predict(architecture, folder, eagerly=False)


@pytest.mark.sampled
@pytest.mark.parametrize("architecture", TRAINED_EAGERLY, ids=str)
def test_trains_eagerly_and_predicts(architecture, folder, note):
    note(architecture, "trains (eager step) and predicts")
    _train_and_predict(architecture, folder, eagerly=True)


@pytest.mark.sampled
@pytest.mark.parametrize("architecture", PREDICTED, ids=str)
def test_builds_and_predicts(architecture, folder, note):
    if os.environ.get("ODAPI_TRAIN_ALL") == "1":
        note(architecture, "trains (eager step) and predicts")
        _train_and_predict(architecture, folder, eagerly=True)
        return
    note(architecture, "builds and predicts")
    model = harness.build_for_inference(architecture, folder)

    harness.check_detections(harness.predict(model, architecture), architecture)


def test_every_registered_extractor_is_here():
    registered = set().union(*model_builder.FEATURE_EXTRACTOR_MAPS)
    here = {entry.extractor for entry in [*TRAINED, *TRAINED_EAGERLY, *PREDICTED]}

    assert here == registered - ALIASES


def _train_and_predict(architecture: Architecture, folder: Path, *, eagerly: bool) -> None:
    trained = harness.train(architecture, folder, eagerly=eagerly)
    model = harness.build_for_inference(architecture, folder)
    harness.predict(model, architecture)  # creates the variables that are restored

    before, after = (harness.restore(model, path) for path in trained.checkpoints)
    harness.check_trained(trained.losses, before, after)
    harness.check_detections(harness.predict(model, architecture), architecture)
