"""Classifiers, flags and configs from which no detector can be made."""

from __future__ import annotations

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from odapi.cli import main
from odapi.console.errors import UserError
from odapi.convert.request import Architecture, Tail
from tests.architectures import records
from tests.odapi.convert.classifiers import build, shake, to_convert


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tail": Tail.FC, "architecture": Architecture.MASK_RCNN}, "does not go with --tail fc"),
        ({"format": "tf1", "architecture": Architecture.SSD}, "does not go with --format tf1"),
        ({"tail": Tail.FC}, "not built on VGG-16"),
        ({"image_size": (200, 100)}, "shorter side first"),
        (
            {
                "architecture": Architecture.SSD_FPN,
                "image_size": (300, 300),
                "preprocessing": "tf",
            },
            "multiples of 128",
        ),
        ({"preprocessing_in_front": True}, "does not say what comes in front"),
    ],
)
def test_flags_that_contradict_each_other(fields, message, tmp_path):
    build().save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=message):
        to_convert(tmp_path / "model.keras", tmp_path / "out", **fields)


def test_a_config_with_a_stride_that_the_classifier_lacks_does_not_train(tmp_path, capsys):
    shake(build()).save(tmp_path / "model.keras")
    records.write(tmp_path)
    to_convert(
        tmp_path / "model.keras",
        tmp_path / "out",
        preprocessing="tf",
        label_map=str(tmp_path / "label_map.pbtxt"),
        train_records=str(tmp_path / "train.record"),
    )
    config = tmp_path / "out" / "pipeline.config"
    config.write_text(config.read_text().replace("features_stride: 16", "features_stride: 12"))
    arguments = [f"--pipeline_config_path={config}", f"--model_dir={tmp_path / 'model'}"]

    assert main(["train", *arguments]) == 2
    assert "The model has no tensor of stride 12" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "layer", "message"),
    [
        ((96, 96, 3), tf.keras.layers.LayerNormalization(axis=[1, 2, 3]), "at one image size only"),
        ((3, 96, 96), tf.keras.layers.Permute((2, 3, 1)), "images of 96 channels"),
        ((96, 96, 3), tf.keras.layers.PReLU(), "'p_re_lu' (PReLU) works at one image size only"),
    ],
)
def test_a_classifier_that_no_detector_can_run_is_refused(size, layer, message, tmp_path, capsys):
    build(size=size, front=[layer]).save(tmp_path / "model.keras")
    arguments = [str(tmp_path / "model.keras"), "--output_dir", str(tmp_path / "out")]
    assert main(["convert", *arguments, "--preprocessing", "tf"]) == 2
    assert message in capsys.readouterr().err
