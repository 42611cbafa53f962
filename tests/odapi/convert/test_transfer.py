"""The whole conversion, through training's own restore, and that its checks can fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf
from object_detection import model_lib_v2
from object_detection.builders import model_builder
from object_detection.utils import config_util

from odapi.cli import main
from odapi.console.errors import UserError
from odapi.convert import checkpoint, parity, transfer, vgg16
from odapi.convert.report import Status
from odapi.convert.source import load_classifier


@pytest.fixture(scope="module")
def converted(files, tmp_path_factory) -> Iterator[Path]:
    """What `odapi convert` wrote for the classifier with its own head."""
    output = tmp_path_factory.mktemp("converted") / "out"
    source = [str(files / "model.json"), "--weights", str(files / "weights.h5")]
    assert main(["convert", *source, "--output_dir", str(output)]) == 0
    yield output
    shutil.rmtree(output)  # half a gigabyte, which pytest would keep for three runs


def test_the_report_says_what_moved_and_what_did_not(converted):
    report = json.loads((converted / "transfer_report.json").read_text())

    assert report["moved"] == 26 and report["moved_parameters"] == 14_714_688
    assert report["coverage"] == 100
    fresh = [row["target"] for row in report["variables"] if row["status"] == "fresh"]
    assert fresh == ["fc1/kernel", "fc1/bias", "fc2/kernel", "fc2/bias"]
    assert [layer["type"] for layer in report["unused"]] == ["Dense", "Dense"]
    (parity_,) = report["parity"]
    assert parity_["passed"] and parity_["feature_range"] > 1
    assert (parity_["height"], parity_["images"]) == (240, 2)
    kernels = [row for row in report["variables"] if row["target"].endswith("kernel")]
    assert all(row["hash_before"] != row["hash_after"] for row in kernels)
    assert sorted(path.name for path in converted.parent.iterdir()) == ["out"]


def test_training_starts_from_the_classifiers_weights(converted, classifier):
    configs = config_util.get_configs_from_pipeline_file(str(converted / "pipeline.config"))
    detector = model_builder.build(configs["model"], is_training=True)
    extractor = detector._feature_extractor
    first_stage = extractor.get_proposal_feature_extractor_model("First")
    extractor.get_box_classifier_feature_extractor_model("Second")
    train = configs["train_config"]

    model_lib_v2.load_fine_tune_checkpoint(
        detector,
        train.fine_tune_checkpoint,
        train.fine_tune_checkpoint_type,
        train.fine_tune_checkpoint_version,
        False,
        None,
        True,
    )

    for name in vgg16.CONVOLUTIONS:
        arrived, sent = (
            model.get_layer(name).get_weights() for model in (first_stage, classifier.layers[0])
        )
        for left, right in zip(arrived, sent, strict=True):
            np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.mark.parametrize("fault", ["perturbed", "swapped"])
def test_a_checkpoint_with_other_weights_is_found_out(files, tmp_path, monkeypatch, capsys, fault):
    write = checkpoint.write_tf2

    def write_wrongly(folder, values):
        values = dict(values)
        if fault == "perturbed":
            values["block1_conv1/kernel"] = values["block1_conv1/kernel"].copy()
            values["block1_conv1/kernel"][1, 1, 0, 0] += 1e-4
        else:
            one, other = "block4_conv2/kernel", "block4_conv3/kernel"
            values[one], values[other] = values[other], values[one]
        write(folder, values)

    monkeypatch.setattr(checkpoint, "write_tf2", write_wrongly)

    code = main(["convert", str(files / "model.h5"), "--output_dir", str(tmp_path / "out")])

    said = capsys.readouterr()
    assert code == 1
    assert "did not arrive" in said.err and Status.MISSING in said.out
    if fault == "swapped":
        assert "features differ" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_fc_is_refused_as_training_would(files, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "fresh_fully_connected", dict)

    with pytest.raises(UserError, match="restore refuses") as caught:
        transfer.convert(transfer.Request(str(files / "model.h5"), tmp_path / "out"), say=len)

    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_tf1_takes_a_renamed_layer_and_leaves_fresh_ones_out(classifier, tmp_path):
    (tmp_path / "model.json").write_text(classifier.to_json().replace("block3_conv2", "renamed"))
    model = tf.keras.models.model_from_json((tmp_path / "model.json").read_text())
    model.set_weights(classifier.get_weights())
    model.save(tmp_path / "model.h5")
    request = transfer.Request(str(tmp_path / "model.h5"), tmp_path / "out", format="tf1")

    report = transfer.convert(request, say=len)

    assert report.coverage == 100
    assert {row.status for row in report.variables if row.source is None} == {Status.FRESH}
    by_order = [row.target for row in report.variables if row.matched_by == "order"]
    assert by_order == ["block3_conv2/kernel", "block3_conv2/bias"]
    assert any("renamed is block3_conv2" in note for note in report.notes)
    stored = dict(tf.train.list_variables(str(tmp_path / "out" / "ckpt-1")))
    assert stored.keys() == {
        f"{name}/{kind}" for name in vgg16.CONVOLUTIONS for kind in ("kernel", "bias")
    }
    kernel = tf.train.load_variable(str(tmp_path / "out" / "ckpt-1"), "block3_conv2/kernel")
    expected = classifier.layers[0].get_layer("block3_conv2").kernel.numpy()
    np.testing.assert_array_equal(kernel, expected)


def test_parity_uses_the_classifiers_own_preprocessing_and_sees_another(files):
    base = load_classifier("VGG16", str(files / "base.h5")).model
    images = [np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)] * 2

    def features(preprocess):
        inputs = tf.keras.Input((None, None, 3))
        return features_of(tf.keras.Model(inputs, base(preprocess(inputs))))

    def features_of(model):
        plan = vgg16.match(model, "test").plan({})
        (found,) = parity.classifier_features(model, plan.probes, plan.preprocessing, images)
        return found, plan.preprocessing.description

    plain, how = features_of(base)
    assert how == "vgg16.preprocess_input" and plain[0].shape == (2, 3, 512)
    caffe, how = features(tf.keras.applications.vgg16.preprocess_input)
    assert how == "the classifier's own layers"
    assert parity.compare("", caffe, plain, images[0], how).passed
    scaled, how = features(tf.keras.layers.Rescaling(1 / 255))
    assert not parity.compare("", scaled, plain, images[0], how).passed


def test_features_that_are_not_numbers_do_not_pass():
    good, bad = [np.ones((2, 2, 512))], [np.full((2, 2, 512), np.nan)]

    assert not parity.compare("", bad, good, np.zeros((32, 32, 3)), "").passed
    assert not parity.compare("", good, bad, np.zeros((32, 32, 3)), "").passed


def test_a_classifier_that_does_not_fit_leaves_nothing(tmp_path, capsys):
    model = tf.keras.Sequential([tf.keras.Input((9,)), tf.keras.layers.Dense(4)])
    model.save(tmp_path / "mlp.h5")

    assert main(["convert", str(tmp_path / "mlp.h5"), "--output_dir", str(tmp_path / "out")]) == 2
    assert "does not take one batch of images" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.h5"]


def test_nothing_in_the_output_folder_is_lost(files, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    for force, message in ((False, "not empty"), (True, "notes.txt")):
        request = transfer.Request(str(files / "model.h5"), output, force=force)
        with pytest.raises(UserError, match=message):
            transfer.convert(request, say=len)
    assert (output / "notes.txt").read_text() == "mine"


def test_num_classes_and_label_map_have_to_agree(files, tmp_path):
    label_map = tmp_path / "labels.pbtxt"
    label_map.write_text("item { id: 1 name: 'cat' } item { id: 2 name: 'dog' }")
    arguments = {"label_map": str(label_map), "num_classes": 3}

    with pytest.raises(UserError, match="goes up to 2"):
        transfer.convert(
            transfer.Request(str(files / "model.h5"), tmp_path / "out", **arguments), say=len
        )
    label_map.write_text("item {")
    with pytest.raises(UserError, match="cannot be read"):
        transfer.convert(
            transfer.Request(str(files / "model.h5"), tmp_path / "out", **arguments), say=len
        )
    assert not (tmp_path / "out").exists()
