"""What is said about a config, records or a label map that cannot work, before training."""

from __future__ import annotations

from pathlib import Path

import pytest

from odapi import cli
from odapi.console.errors import UserError
from odapi.pipeline.label_map import load_label_map
from odapi.records import framing


def train(path: Path, model_dir: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Runs a training that must be refused; returns what is written on standard error."""
    assert (
        cli.main(["train", f"--pipeline_config_path={path}", f"--model_dir={model_dir}", *more])
        == 2
    )
    assert not model_dir.exists(), "a refused training must leave nothing behind"
    return capsys.readouterr().err


def test_missing_records(project, tmp_path, capsys):
    path = project.variant("no_records", train_records="/nowhere/train-*.record")
    error = train(path, tmp_path / "model", capsys)
    assert "no record file matches /nowhere/train-*.record" in error
    assert "at: config: train_input_reader.tf_record_input_reader.input_path" in error


def test_truncated_records(project, tmp_path, capsys):
    whole = (project.folder / "train.record").read_bytes()
    cut = tmp_path / "cut.record"
    cut.write_bytes(whole[:-10])
    error = train(project.variant("cut", train_records=cut), tmp_path / "model", capsys)
    assert "truncated" in error
    assert f"at: {cut}: record 16" in error


def test_label_map_with_more_classes_than_the_model(project, tmp_path, capsys):
    error = train(project.variant("classes", num_classes=1), tmp_path / "model", capsys)
    assert "the label map has id 2 (blue), but the model has 1 classes" in error
    assert "hint: set num_classes: 2" in error


def test_missing_label_map(project, tmp_path, capsys):
    path = project.variant("no_map", label_map="/nowhere/map.pbtxt")
    error = train(path, tmp_path / "model", capsys)
    assert "the label map does not exist: /nowhere/map.pbtxt" in error
    assert "at: config: train_input_reader.label_map_path" in error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("item { id: 0 name: 'cat' }", "label map id 0 is below 1"),
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "label map id 1 is used twice"),
        ("cat\ndog\n", "this is not a label map"),
        ("", "the label map names no class"),
    ],
)
def test_unusable_label_maps(project, tmp_path, text, words):
    path = tmp_path / "map.pbtxt"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        load_label_map(str(path), "--label_map_path")


def test_a_serialized_label_map_and_a_background_item_are_read(project, tmp_path):
    from google.protobuf import text_format
    from object_detection.protos import string_int_label_map_pb2

    label_map = text_format.Parse(
        "item { id: 0 name: 'background' } item { id: 2 name: 'n1' display_name: 'one' }",
        string_int_label_map_pb2.StringIntLabelMap(),
    )
    path = tmp_path / "map.pb"
    path.write_bytes(label_map.SerializeToString())
    assert load_label_map(str(path), "--label_map_path") == {2: "one"}


def test_unknown_feature_extractor(project, tmp_path, capsys):
    path = project.variant("extractor", extractor="ssd_mobilenet_v2_kears")
    error = train(path, tmp_path / "model", capsys)
    assert "unknown feature extractor type 'ssd_mobilenet_v2_kears' for ssd" in error
    assert "nearest valid values: ssd_mobilenet_v2_keras" in error


def test_a_file_that_is_no_config(project, tmp_path, capsys):
    path = tmp_path / "odd.config"
    path.write_text("model { ssd { num_clases: 3 } }")
    error = train(path, tmp_path / "model", capsys)
    assert "this is not a pipeline config: 1:15" in error
    assert "num_clases" in error
    assert f"at: {path}" in error


def test_no_number_of_steps(project, tmp_path, capsys):
    error = train(project.variant("steps", num_steps=0), tmp_path / "model", capsys)
    assert "give --num_train_steps" in error


def test_missing_fine_tune_checkpoint(project, tmp_path, capsys):
    override = '--config_override=train_config { fine_tune_checkpoint: "PATH_TO/ckpt-1" }'
    error = train(project.config, tmp_path / "model", capsys, override)
    assert "there is no checkpoint PATH_TO/ckpt-1" in error
    assert "at: config: train_config.fine_tune_checkpoint" in error


def test_empty_checkpoint_folder(project, tmp_path, capsys):
    for command, flag in (("evaluate", "checkpoint_dir"), ("export", "trained_checkpoint_dir")):
        arguments = [command, f"--pipeline_config_path={project.config}", f"--{flag}={tmp_path}"]
        if command == "export":
            arguments.append(f"--output_directory={tmp_path / 'out'}")
        assert cli.main(arguments) == 2
        error = capsys.readouterr().err
        assert f"the folder holds no checkpoint: {tmp_path}" in error
        assert "at: --checkpoint\n" in error
        assert not (tmp_path / "out").exists()


def test_records_are_counted_as_tensorflow_reads_them(project):
    import tensorflow as tf

    path = str(project.folder / "train.record")
    assert framing.count_records(path) == sum(1 for _ in tf.data.TFRecordDataset(path)) == 16
