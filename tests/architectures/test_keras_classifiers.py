"""Networks of keras.applications on their whole way: converted, built, trained a step, used.

The config is what `odapi convert` wrote, shrunk to small images and few proposals.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.convert.request import Architecture as Kind
from odapi.convert.request import Request, Tail
from odapi.convert.transfer import convert
from tests.architectures import harness
from tests.architectures.catalogue import BIFPN_SIDE, MAX_DETECTIONS, SIDE, Architecture

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

# So that only the gradient of a loss can change a weight of the classifier.
NO_DECAY = "conv_hyperparams { regularizer { l2_regularizer { weight: 0.0 } } }"
# Weights here are random, and with statistics of nothing the features of a deep network vanish:
# batch normalisation has to be trained.
FASTER_RCNN = f"""
model {{ faster_rcnn {{
  feature_extractor {{ batch_norm_trainable: true {NO_DECAY} }}
  first_stage_minibatch_size: 32
  first_stage_max_proposals: 8
  second_stage_batch_size: 8
  second_stage_post_processing {{ batch_non_max_suppression {{
    max_detections_per_class: {MAX_DETECTIONS} max_total_detections: {MAX_DETECTIONS}
  }} }}
}} }}
train_config {{ batch_size: 2 }}
"""
SSD = f"""
model {{ ssd {{
  freeze_batchnorm: false
  feature_extractor {{ {NO_DECAY} }}
  post_processing {{ batch_non_max_suppression {{
    max_detections_per_class: {MAX_DETECTIONS} max_total_detections: {MAX_DETECTIONS}
  }} }}
}} }}
train_config {{ batch_size: 2 }}
"""
MASKS = """
model { faster_rcnn { second_stage_box_predictor { mask_rcnn_box_predictor {
  mask_prediction_conv_depth: 16
} } } }
"""


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
    architecture = _architecture(folder, name, kind)
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


def _architecture(folder: Path, name: str, kind: Kind) -> Architecture:
    written = (folder / "converted" / "pipeline.config").read_text()
    masks = kind is Kind.MASK_RCNN
    pieces = (written, SSD if kind.is_ssd else FASTER_RCNN) + ((MASKS,) if masks else ())
    return Architecture(kind.value, f"keras:{name}", pieces, masks=(14, 14) if masks else None)
