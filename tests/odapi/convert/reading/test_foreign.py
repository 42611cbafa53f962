"""Formats as people have them: what is read under any name, and what a message says of the rest."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.convert.source import load_classifier
from tests.odapi.convert.classifiers import build, shake
from tests.small import windows


@pytest.fixture(scope="module")
def model() -> tf.keras.Model:
    return shake(build(nested=True, front=[tf.keras.layers.Rescaling(1 / 255)]))


@pytest.fixture(scope="module")
def files(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.save_weights(folder / "model.weights.h5")
    model.save_weights(folder / "checkpoint_of_weights")
    (folder / "model.json").write_text(model.to_json())
    return folder


def same(loaded: tf.keras.Model, model) -> None:
    assert len(loaded.weights) == len(model.weights) > 20
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def refused(source: Path, weights: Path | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        load_classifier(str(source), weights and str(weights))
    assert caught.value.exit_code == 2 and caught.value.hint
    return caught.value


def test_a_file_is_what_is_in_it_whatever_its_name(files, model, tmp_path):
    for name, other in (("model.keras", "a.h5"), ("model.h5", "a.keras"), ("model.h5", "a.hdf5")):
        shutil.copy(files / name, tmp_path / other)
        same(load_classifier(str(tmp_path / other)).model, model)


def test_json_with_weights_by_structure(files, model, tmp_path):
    weights = files / "model.weights.h5"
    same(load_classifier(str(files / "model.json"), str(weights)).model, model)
    shutil.copy(weights, tmp_path / "weights.hdf5")
    loaded = load_classifier(str(files / "model.json"), str(tmp_path / "weights.hdf5"))
    same(loaded.model, model)


@pytest.mark.parametrize("kind", ["keras 2", "keras 3"])
@pytest.mark.parametrize("archive", [True, False])
def test_a_file_from_windows(kind, archive, model, tmp_path):
    if kind == "keras 3":
        model = shake(build(keras, nested=True))
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    windows.copy_as_on_windows(tmp_path / "model.weights.h5", tmp_path / "windows.weights.h5")
    with h5py.File(tmp_path / "windows.weights.h5") as file:
        assert any("\\" in key for key in file) and "layers" not in file
    if archive:
        windows.rename_groups(tmp_path / "model.keras")
        loaded = load_classifier(str(tmp_path / "model.keras"))
    else:
        (tmp_path / "model.json").write_text(model.to_json())
        before = (tmp_path / "windows.weights.h5").read_bytes()
        loaded = load_classifier(str(tmp_path / "model.json"), str(tmp_path / "windows.weights.h5"))
        assert (tmp_path / "windows.weights.h5").read_bytes() == before
    found = {weight.name.split(":")[0] for weight in loaded.model.weights}
    assert len(found) > 20
    wanted = sorted(np.asarray(weight).tobytes() for weight in model.weights)
    assert sorted(np.asarray(weight).tobytes() for weight in loaded.model.weights) == wanted


def test_a_file_with_a_name_of_both_systems_is_refused(files, tmp_path):
    shutil.copy(files / "model.weights.h5", tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "model.weights.h5", "a") as file:
        name = next(name for name in _datasets(file) if name.startswith("layers/"))
        file[name.replace("/", "\\", 1)] = np.zeros(3, np.float32)
    error = refused(files / "model.json", tmp_path / "model.weights.h5")
    assert "twice" in error.message


def _datasets(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
    return found


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("model.tflite", b"\x20\0\0\0TFL3" + bytes(64), "a TensorFlow Lite model"),
        ("model.onnx", b"\x08\x07", "an ONNX model"),
        ("model.pth", b"\x80\x02", "a PyTorch model"),
        ("frozen_inference_graph.pb", b"\n", "a graph of TensorFlow"),
        ("saved_model.pb", b"\n", "a part of a SavedModel"),
        ("model.ckpt-100.meta", b"\n", "a graph of TensorFlow 1"),
        ("model.ckpt-100.index", b"\0", "a TensorFlow checkpoint"),
        ("model.ckpt-100.data-00000-of-00001", b"\0", "a TensorFlow checkpoint"),
    ],
)
def test_other_peoples_files_are_called_by_name(name, content, what, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert f"the file is {what}" in refused(tmp_path / name).message


def test_the_prefix_of_a_checkpoint(files):
    prefix = files / "checkpoint_of_weights"
    assert not prefix.exists()
    for error in (refused(prefix), refused(files / "model.json", prefix)):
        assert "name is that of a checkpoint" in error.message
        assert "model.load_weights" in error.hint


def test_archives_of_other_things(files, tmp_path):
    with zipfile.ZipFile(tmp_path / "converted_keras.zip", "w") as archive:
        archive.write(files / "model.h5", "keras_model.h5")
        archive.writestr("labels.txt", "0 cat")
    error = refused(tmp_path / "converted_keras.zip")
    assert "unpack it" in error.hint and "keras_model.h5" in error.at
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    assert "a PyTorch model" in refused(tmp_path / "model.zip").message


def test_weights_alone_name_the_network_that_their_file_does(files, tmp_path):
    for name, network in (
        ("resnet50_weights_tf_dim_ordering_tf_kernels.h5", "ResNet50"),
        ("mobilenet_v2_weights_tf.h5", "MobileNetV2"),
        ("mine.h5", "VGG16"),
    ):
        shutil.copy(files / "model.weights.h5", tmp_path / name)
        error = refused(tmp_path / name)
        assert "no architecture" in error.message and f"or {network} in its place" in error.hint


def test_architectures_of_other_times_and_places(files, tmp_path):
    config = json.loads((files / "model.json").read_text())
    path = tmp_path / "model.json"

    def error(changed) -> UserError:
        path.write_text(json.dumps(changed))
        return refused(path, files / "model.weights.h5")

    assert "saved by Keras 1" in error({**config, "keras_version": "1.2.2"}).message
    old = json.dumps(config).replace('"filters"', '"nb_filter"')
    assert "saved by Keras 1" in error(json.loads(old)).message
    first = json.dumps(config).replace("channels_last", "channels_first")
    assert "channels first" in error(json.loads(first)).message
    assert "TensorFlow.js" in error({"modelTopology": config, "weightsManifest": []}).message
