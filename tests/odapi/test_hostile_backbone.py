"""A backbone.json from elsewhere, in every program that builds a detector from a config."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import object_detection
import pytest
import tensorflow as tf
from object_detection.models.keras_models import (
    classifier_backbone,
    classifier_preprocessing,
    keras_config,
)
from tf_keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from odapi import cli
from odapi.convert import recipes
from tests.odapi.convert.reading.material import lambda_layer, operation, with_layer

PROGRAMS = Path(object_detection.__file__).parent


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A config whose backbone writes a file when Keras makes it, and removes another."""
    folder = tmp_path / "backbone"
    folder.mkdir()
    network = classifier_backbone.BackboneDescription.read("MobileNet")
    network.write(folder)
    described = json.loads((folder / "backbone.json").read_text())
    with_layer(operation("io.write_file", str(tmp_path / "effect"), contents="x"))(
        described["model"]
    )
    (folder / "backbone.json").write_text(json.dumps(described))
    run = recipes.TrainingSettings(
        2,
        fine_tune_checkpoint="",
        train_records=str(tmp_path / "none.record"),
        eval_records=str(tmp_path / "none.record"),
        label_map=str(tmp_path / "label_map.pbtxt"),
    )
    config = recipes.ssd(run, extractor=f"keras:{folder}", fpn=False, image_size=(128, 128))
    recipes.write(config, tmp_path / "pipeline.config")
    return tmp_path / "pipeline.config"


@pytest.mark.parametrize(
    "command", [["doctor", "--config"], ["train", "--model_dir", "DIR", "--pipeline_config_path"]]
)
def test_our_commands_name_it_and_end_with_2(hostile, tmp_path, capsys, command):
    arguments = [str(tmp_path / "model") if word == "DIR" else word for word in command]
    assert cli.main([*arguments, str(hostile)]) == 2

    output = capsys.readouterr()
    assert "io.write_file" in output.out + output.err and "'op'" in output.out + output.err
    assert not (tmp_path / "effect").exists()


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("model_main_tf2.py", ["--model_dir", "DIR"]),
        (
            "exporter_main_v2.py",
            ["--trained_checkpoint_dir", "DIR", "--output_directory", "DIR/out"],
        ),
        (
            "export_tflite_graph_tf2.py",
            ["--trained_checkpoint_dir", "DIR", "--output_directory", "DIR/out"],
        ),
    ],
)
def test_upstreams_programs_too(hostile, tmp_path, program, arguments):
    words = [word.replace("DIR", str(tmp_path / "model")) for word in arguments]
    done = subprocess.run(
        [sys.executable, PROGRAMS / program, "--pipeline_config_path", hostile, *words],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "error: " in done.stderr and "io.write_file" in done.stderr and "'op'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "effect").exists()


def test_control_without_the_check_it_has_its_effect(hostile, tmp_path, monkeypatch):
    monkeypatch.setattr(keras_config, "checked", lambda config, custom=(): config)
    with pytest.raises(ValueError, match="does not describe"):  # what an effect leaves behind
        classifier_backbone.BackboneDescription.read(str(tmp_path / "backbone"))
    assert (tmp_path / "effect").exists()


def _damaged(folder: Path, change) -> None:
    path = folder / "backbone.json"
    described = json.loads(path.read_text())
    change(described)
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.update(model=None), "no configuration"),
        (lambda d: d.update(model=[1]), "no configuration"),
        (lambda d: d.update(preprocessing=None), "does not describe"),
        (lambda d: d["preprocessing"].update(scale=["x"] * 3), "does not describe"),
        (lambda d: d["preprocessing"].update(channels=[]), "does not describe"),
        (lambda d: d.update(cut_layer={"a": 1}), "cut_layer"),
        (lambda d: with_layer(lambda_layer(Path("effect")))(d["model"]), "Lambda"),
        (
            lambda d: d["model"]["config"]["layers"][1]["config"].update(filters=2_000_000_000),
            "more than the 1000000000 values",
        ),
    ],
)
def test_a_description_that_is_none(tmp_path, change, expected):
    classifier_backbone.BackboneDescription.read("MobileNet").write(tmp_path)
    _damaged(tmp_path, change)
    with pytest.raises(ValueError, match=expected):
        classifier_backbone.BackboneDescription.read(str(tmp_path))


def _classifier(images, output) -> classifier_backbone.BackboneDescription:
    """A network of one's own; what is done to its images does not matter here."""
    how = classifier_preprocessing.of_application("MobileNet")
    return classifier_backbone.BackboneDescription(tf.keras.Model(images, output), how)


def _scaled() -> classifier_backbone.BackboneDescription:
    """InceptionResNetV2's own layer. The network has it 40 times and takes a minute to make."""
    images = tf.keras.Input((None, None, 3))
    branch = tf.keras.layers.Conv2D(3, 3, padding="same")(images)
    return _classifier(images, CustomScaleLayer(0.17, name="block35_1")([images, branch]))


def test_what_is_written_reads_back(tmp_path):
    """Whatever keras.applications has."""
    read = classifier_backbone.BackboneDescription.read
    for written in (read("ConvNeXtTiny"), _scaled(), read("EfficientNetV2B0")):
        written.write(tmp_path)
        found = read(str(tmp_path)).model
        assert [(layer.name, type(layer)) for layer in found.layers] == [
            (layer.name, type(layer)) for layer in written.model.layers
        ]


def test_one_that_runs_on_no_image_is_refused(tmp_path):
    """As Keras's NASNet, which has branches of two sizes where it is made for images of any."""
    images = tf.keras.Input((None, None, 3))
    branches = [
        tf.keras.layers.Conv2D(4, 3, strides=2, padding=padding)(images)
        for padding in ("same", "valid")
    ]
    _classifier(images, tf.keras.layers.Add()(branches)).write(tmp_path)
    with pytest.raises(ValueError, match="cannot be run on an image of 384x384x3"):
        classifier_backbone.BackboneDescription.read(str(tmp_path))
