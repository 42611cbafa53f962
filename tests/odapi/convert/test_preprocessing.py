"""How a classifier's images were preprocessed: told, known, found in the model, or refused."""

from __future__ import annotations

import json

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from odapi.cli import main
from odapi.console.errors import UserError
from odapi.convert import preprocessing
from odapi.convert.request import Tail
from odapi.convert.source import Classifier
from tests.odapi.convert.classifiers import build, shake, to_convert


@pytest.mark.parametrize(
    ("size", "classes", "how"),
    [
        ((240, 240, 3), 7, "caffe"),
        ((96, 96, 1), 3, "unit"),
        ((None, None, 3), 2, "scale=0.017,0.018,0.019 offset=-2.1,-2,-1.8 channels=bgr"),
    ],
)
def test_any_size_channels_and_classes(size, classes, how, tmp_path):
    shake(build(size=size, classes=classes)).save(tmp_path / "model.h5")

    report = to_convert(tmp_path / "model.h5", tmp_path / "out", preprocessing=how)

    assert report.coverage == 100 and all(parity.passed for parity in report.parity)
    assert f"num_classes: {classes}" in (tmp_path / "out" / "pipeline.config").read_text()


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_the_models_own_preprocessing_stays_in_it(nested, adapted, tmp_path):
    normalization = tf.keras.layers.Normalization(mean=[110, 120, 130], variance=[900, 800, 700])
    if adapted:  # The statistics are then weights of the layer, and a count of one number.
        normalization = tf.keras.layers.Normalization()
        normalization.adapt(np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)))
    front = [
        tf.keras.layers.RandomFlip("horizontal"),
        tf.keras.layers.Rescaling(0.5, offset=3),
        normalization,
    ]
    shake(build(front=front, nested=nested)).save(tmp_path / "model.keras")

    # Shaken, the statistics are of no pixels, and the user is asked.
    said = "none" if adapted else None
    report = to_convert(tmp_path / "model.keras", tmp_path / "out", preprocessing=said)

    assert report.coverage == 100 and all(parity.passed for parity in report.parity)
    artefact = json.loads((tmp_path / "out" / "backbone.json").read_text())
    assert artefact["preprocessing"]["mode"] == "none"
    names = [layer["class_name"] for layer in artefact["model"]["config"]["layers"]]
    assert names[1:3] == ["Rescaling", "Normalization"]
    assert "RandomFlip" not in names


def test_functions_in_front_count_as_preprocessing(tmp_path):
    images = tf.keras.Input((96, 96, 3))
    x = tf.keras.applications.mobilenet_v2.preprocess_input(images)
    model = build()
    model = shake(tf.keras.Model(images, model(x)))
    model.save(tmp_path / "model.keras")

    report = to_convert(tmp_path / "model.keras", tmp_path / "out")

    assert all(parity.passed for parity in report.parity)
    assert any("by its own 'tf.math.truediv" in note for note in report.notes)


def test_preprocessing_that_nobody_tells_is_asked_for(tmp_path, capsys):
    build().save(tmp_path / "model.keras")
    base = tf.keras.applications.MobileNet(
        weights=None, include_top=False, input_shape=(96, 96, 3), pooling="avg", alpha=0.25
    )
    base = tf.keras.Model(base.input, base.output, name="mobilenet")
    model = tf.keras.Sequential([base, tf.keras.layers.Dense(2)])
    model.save(tmp_path / "mobile.keras")
    for name, hint in (("model", "tf -1 and 1"), ("mobile", "MobileNet's")):
        arguments = [str(tmp_path / f"{name}.keras"), "--output_dir", str(tmp_path / "out")]
        assert main(["convert", *arguments]) == 2
        error = capsys.readouterr().err
        assert "does not tell how the classifier's images were preprocessed" in error
        assert hint in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("said", "size", "message"),
    [
        ("cafe", (96, 96, 3), "there is no such mode"),
        ("scale=1,2", (96, 96, 3), "takes 3 factors"),
        ("scale=x", (96, 96, 3), "could not convert"),
        ("caffe", (96, 96, 1), "three channels"),
        ("channels=bgr", (96, 96, 1), "takes 1 channels"),
        ("tf", (96, 96, 4), "images of 4 channels"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused(said, size, message):
    classifier = Classifier(build(size=size), "test")
    with pytest.raises(UserError, match=message):
        preprocessing.decide(said, classifier, classifier.model)


def test_a_config_with_another_classifiers_preprocessing_does_not_train(tmp_path, capsys):
    shake(build()).save(tmp_path / "model.keras")
    for how in ("tf", "unit"):
        to_convert(tmp_path / "model.keras", tmp_path / how, preprocessing=how)
    config = tmp_path / "tf" / "pipeline.config"
    text = config.read_text()
    arguments = [f"--pipeline_config_path={config}", f"--model_dir={tmp_path / 'model'}"]
    for ours, others, message in (
        (f"keras:{tmp_path}/tf", f"keras:{tmp_path}/unit", "preprocesses images by tf"),
        (f"keras:{tmp_path}/tf", f"keras:{tmp_path}/gone", "there is no file"),
        (f"keras:{tmp_path}/tf", "keras:Resnet50", "did you mean ResNet50"),
    ):
        config.write_text(text.replace(ours, others))
        assert main(["train", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and "model.faster_rcnn.feature_extractor.type" in error


def test_augmentation_and_pooling_in_front_are_no_preprocessing(tmp_path, capsys):
    for layer in (tf.keras.layers.RandomFlip(), tf.keras.layers.AveragePooling2D()):
        build(size=(192, 192, 3), front=[layer]).save(tmp_path / "model.keras")
        arguments = [str(tmp_path / "model.keras"), "--output_dir", str(tmp_path / "out")]
        assert main(["convert", *arguments]) == 2
        assert "does not tell how" in capsys.readouterr().err


def front(keras, kind: str) -> list:
    """Layers that take 0..255, or 0..1, to about -1..1."""
    layers = keras.layers
    return {
        "bytes, rescaling": [layers.Rescaling(1 / 127.5, offset=-1)],
        "bytes, normalization": [layers.Normalization(mean=[120] * 3, variance=[4900] * 3)],
        "bytes, both": [
            layers.Rescaling(1 / 255),
            layers.Normalization(mean=[0.48, 0.45, 0.4], variance=[0.05] * 3),
        ],
        "bytes, mean": [layers.Normalization(mean=[124, 117, 104], variance=[1] * 3)],
        "unit, rescaling": [layers.Rescaling(2.0, offset=-1)],
        "unit, normalization": [layers.Normalization(mean=[0.48] * 3, variance=[0.05] * 3)],
        "nobody knows": [layers.Rescaling(1 / 4)],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        ("bytes, rescaling", "-1 and 1"),
        ("bytes, normalization", "-1.71 and 1.93"),
        ("bytes, both", "-2.15..-1.79 and 2.33..2.68"),
        ("bytes, mean", "-124..-104 and 131..151"),
    ],
)
def test_layers_whose_numbers_leave_no_doubt_are_believed(kind, ends, tmp_path):
    shake(build(front=front(tf.keras, kind))).save(tmp_path / "model.keras")
    report = to_convert(tmp_path / "model.keras", tmp_path / "out")
    assert [note for note in report.notes if note.endswith(f"pixels 0 and 255 become {ends}")]
    # What comes before them as well is an error, unless that is meant.
    with pytest.raises(UserError, match="preprocesses by itself") as caught:
        to_convert(tmp_path / "model.keras", tmp_path / "twice", preprocessing="unit")
    assert ends in str(caught.value)
    report = to_convert(
        tmp_path / "model.keras",
        tmp_path / "twice",
        preprocessing="unit",
        preprocessing_in_front=True,
    )
    assert not [note for note in report.notes if note.endswith(ends)]


@pytest.mark.parametrize("kind", ["unit, rescaling", "unit, normalization", "nobody knows"])
def test_layers_that_were_not_made_for_bytes_are_asked_about(kind, tmp_path):
    shake(build(front=front(tf.keras, kind))).save(tmp_path / "model.keras")
    with pytest.raises(UserError, match="do not tell for which pixels they are") as caught:
        to_convert(tmp_path / "model.keras", tmp_path / "out")
    assert "--preprocessing none if it was trained on 0..255" in caught.value.hint
    assert "--preprocessing unit if it was trained on 0..1" in caught.value.hint
    report = to_convert(tmp_path / "model.keras", tmp_path / "out", preprocessing="unit")
    assert all(parity.passed for parity in report.parity)
    artefact = json.loads((tmp_path / "out" / "backbone.json").read_text())
    assert artefact["preprocessing"]["scale"] == pytest.approx([1 / 255] * 3)


@pytest.mark.parametrize(
    "name",
    (
        "MobileNetV3Small",
        "EfficientNetV2B0",
        "EfficientNetV2S",
        "ConvNeXtTiny",
        "ResNetRS50",
        "RegNetX002",
    ),
)
def test_the_hint_for_a_network_without_its_layers_is_what_they_do(name):
    """The reference is what Keras' own layers of the network make of a colour."""
    pixels = np.float32([[[[0, 128, 255]]]]).repeat(8, 1).repeat(8, 2)
    network = getattr(tf.keras.applications, name)(weights=None, include_top=False)
    layers = preprocessing.front.leading(network.layers)
    wanted = tf.keras.Model(network.input, layers[-1].output)(pixels)
    said = preprocessing.without_its_layers(name)
    base = tf.keras.applications.MobileNetV3Small(
        weights=None, include_top=False, input_shape=(64, 64, 3), include_preprocessing=False
    )
    classifier = Classifier(tf.keras.Sequential([base, tf.keras.layers.Flatten()]), "test")
    trunk = build(size=(None, None, 3))
    found = preprocessing.decide(said, classifier, trunk).detector(tf.constant(pixels))
    np.testing.assert_allclose(found, wanted, atol=2e-2)
    with pytest.raises(UserError) as caught:
        preprocessing.decide(None, classifier, base)
    assert caught.value.hint.endswith("this MobileNetV3Small was made without do: tf")


@pytest.mark.parametrize("tail", [None, "conv"])
def test_a_vgg16_is_taken_alike_whatever_its_tail(tail, tmp_path):
    model = tf.keras.applications.VGG16(weights=None, include_top=False, input_shape=(64, 64, 3))
    model.save(tmp_path / "vgg.h5")
    report = to_convert(tmp_path / "vgg.h5", tmp_path / "out", tail=tail and Tail(tail))
    assert any(note.startswith("preprocessing: caffe, bgr") for note in report.notes)
