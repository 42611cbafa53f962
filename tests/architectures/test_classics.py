"""Classifiers as people have them, on their whole way, with no flag but --preprocessing."""

from __future__ import annotations

import keras
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf
from object_detection.utils import config_util

from odapi.convert.request import Architecture as Kind
from odapi.convert.request import Request
from odapi.convert.transfer import convert
from tests.architectures import converted, harness
from tests.architectures.catalogue import SIDE
from tests.architectures.classifiers import CLASSICS, save

STEPS = 3
LARGEST_SIDE = 250
"""In pixels; a detector whose images are larger is trained on those of the test."""

FEWEST_CHANGED = 0.6
"""Less than for a network made for detection: the maps that SSD appends to one of a small network
have few points, and few anchors that match."""


@pytest.mark.sampled(one_in=24)  # half a minute each
@pytest.mark.parametrize("kind", [Kind.FASTER_RCNN, Kind.SSD], ids=str)
@pytest.mark.parametrize("classic", CLASSICS, ids=str)
def test_converts_trains_and_predicts(classic, kind, folder, record_property):
    record_property("classifier", str(classic))
    record_property("detector", kind.value)
    model = classic.build(keras if classic.keras == 3 else tf.keras)
    source, weights = save(classic, model, folder)

    report = convert(
        Request(
            str(source),
            folder / "converted",
            weights=weights and str(weights),
            architecture=kind,
            preprocessing=classic.preprocessing,
            label_map=str(folder / "label_map.pbtxt"),
            train_records=str(folder / "train.record"),
        ),
        say=len,
    )
    assert report.coverage == 100 and all(parity.passed for parity in report.parity)
    record_property("cuts", ", ".join(parity.name for parity in report.parity))
    architecture = converted.shrunk(folder, classic.name, kind, _smaller_images(folder, kind))
    trained = harness.train(architecture, folder, eagerly=True, steps=STEPS)
    detector = harness.build_for_inference(architecture, folder)
    harness.predict(detector, architecture)
    values = [harness.restore(detector, path) for path in trained.checkpoints]
    assert len(trained.losses) == STEPS
    harness.check_trained(trained.losses, values[0], values[-1], FEWEST_CHANGED)
    assert any(not np.array_equal(a, b) for a, b in zip(values[1], values[2], strict=True))
    harness.check_detections(harness.predict(detector, architecture), architecture)


def _smaller_images(folder, kind: Kind) -> str:
    path = str(folder / "converted" / "pipeline.config")
    model = config_util.get_configs_from_pipeline_file(path)["model"]
    if kind.is_ssd:
        if model.ssd.image_resizer.fixed_shape_resizer.height <= LARGEST_SIDE:
            return ""
        resizer = f"fixed_shape_resizer {{ height: {SIDE} width: {SIDE} }}"
        return f"model {{ ssd {{ image_resizer {{ {resizer} }} }} }}"
    if model.faster_rcnn.image_resizer.keep_aspect_ratio_resizer.max_dimension <= LARGEST_SIDE:
        return ""
    resizer = f"keep_aspect_ratio_resizer {{ min_dimension: {SIDE} max_dimension: {SIDE} }}"
    return f"model {{ faster_rcnn {{ image_resizer {{ {resizer} }} }} }}"
