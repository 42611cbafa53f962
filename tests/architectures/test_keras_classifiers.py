"""Networks of keras.applications on their whole way: converted, built, trained a step, used.

The config is what `odapi convert` wrote, shrunk to small images and few proposals.
"""

from __future__ import annotations

import os

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.convert.request import Architecture as Kind
from odapi.convert.request import Request, Tail
from odapi.convert.transfer import convert
from tests.architectures import converted, harness
from tests.architectures.catalogue import BIFPN_SIDE, SIDE

APPLICATIONS = (
    "VGG16",
    "VGG19",
    "ResNet50",
    "ResNet50V2",
    "ResNetRS50",
    "InceptionV3",
    "InceptionResNetV2",
    "Xception",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ConvNeXtTiny",
    "RegNetX002",
)
CASES = (
    [(name, kind) for name in APPLICATIONS for kind in Kind]
    if os.environ.get("ODAPI_TRAIN_ALL") == "1"
    else [
        ("MobileNetV2", Kind.FASTER_RCNN),
        ("MobileNetV2", Kind.MASK_RCNN),
        ("MobileNetV2", Kind.SSD_FPN),
        ("MobileNetV3Small", Kind.SSD),
        ("RegNetX002", Kind.FASTER_RCNN),
        ("VGG16", Kind.MASK_RCNN),
    ]
)
"""All of them take half an hour, so they run when ODAPI_TRAIN_ALL=1 says so."""


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_converts_trains_and_predicts(name, kind, folder, record_property):
    record_property("meta_architecture", kind.value)
    record_property("extractor", f"keras:{name}")
    record_property("variant", "")
    record_property("done", "trains (eager step) and predicts")
    side = BIFPN_SIDE if kind is Kind.SSD_FPN else SIDE

    report = convert(
        Request(
            name,
            folder / "converted",
            weights="none",
            architecture=kind,
            tail=Tail.CONV,
            label_map=str(folder / "label_map.pbtxt"),
            train_records=str(folder / "train.record"),
            image_size=(side, side),
        ),
        say=len,
    )
    assert report.coverage == 100
    architecture = converted.shrunk(folder, name, kind)
    try:
        trained = harness.train(architecture, folder, eagerly=True)
    except tf.errors.InvalidArgumentError as error:
        if "grouped convolutions are not supported" not in error.message:
            raise
        pytest.skip("this CPU has no gradients of grouped convolutions; converting was tested")
    model = harness.build_for_inference(architecture, folder)
    harness.predict(model, architecture)

    assert report.coverage == 100
    assert all(parity.relative <= 1e-4 for parity in report.parity)
    before, after = (harness.restore(model, path) for path in trained.checkpoints)
    harness.check_trained(trained.losses, before, after)
    first_kernel = next(row.target for row in report.variables if len(row.shape) == 4)
    place = [variable.name for variable in model.trainable_variables].index(f"{first_kernel}:0")
    assert not np.array_equal(before[place], after[place]), "no gradient at the first convolution"
    harness.check_detections(harness.predict(model, architecture), architecture)


def test_nasnet_is_refused_with_the_layers_that_straddle(folder):
    request = Request("NASNetMobile", folder / "converted", weights="none")
    with pytest.raises(UserError, match="skip over each other") as caught:
        convert(request, say=len)
    assert "--list_cuts" in caught.value.hint
    assert not (folder / "converted").exists()
