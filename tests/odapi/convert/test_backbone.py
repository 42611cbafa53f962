"""Any classifier as a backbone: every form of it, every preprocessing, and checks that can fail."""

from __future__ import annotations

import json
from pathlib import Path

import keras as keras3
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf
from object_detection.models.keras_models import classifier_backbone, classifier_preprocessing

from odapi.cli import main
from odapi.console.errors import UserError
from odapi.convert import checkpoint, preprocessing
from odapi.convert.source import Classifier
from odapi.convert.transfer import Architecture, Request, Tail, convert
from tests.architectures import records


def build(
    keras=tf.keras, size=(96, 96, 3), classes=4, front=(), nested=False, name=None
) -> tf.keras.Model:
    """Residual blocks at strides 8, 16 and 32, of either Keras.

    Args:
        front: layers before the first convolution.
        nested: put the blocks into a model within the model.
    """
    layers = keras.layers

    def blocks(x):
        for stage in range(5):
            x = layers.Conv2D(8, 3, strides=2, padding="same", name=f"conv{stage}")(x)
            x = layers.BatchNormalization(name=f"bn{stage}")(x)
            x = layers.ReLU(name=f"relu{stage}")(x)
            y = layers.Conv2D(8, 3, padding="same", name=f"side{stage}")(x)
            x = layers.Add(name=f"add{stage}")([x, y])
        return x

    x = images = keras.Input(size)
    for layer in front:
        x = layer(x)
    if nested:
        inner = keras.Input(x.shape[1:])
        x = keras.Model(inner, blocks(inner), name="base")(x)
    else:
        x = blocks(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    outputs = layers.Dense(classes, activation="softmax", name="classes")(x)
    return keras.Model(images, outputs, name=name)


def shake(model: tf.keras.Model, seed: int = 3) -> tf.keras.Model:
    """Gives every weight a value that no initialiser would, statistics included."""
    random = np.random.default_rng(seed)
    model.set_weights(
        [
            random.uniform(0.1, 0.6, w.shape) * random.choice([-1, 1, 1], w.shape)
            if w.ndim == 4
            else random.uniform(0.5, 1.5, w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def normalization(keras, pixels: np.ndarray):
    """A Normalization layer whose statistics are weights."""
    layer = keras.layers.Normalization(name="normalization")
    layer.adapt(pixels)
    return layer


def to_convert(source: object, output: Path, **fields: object):
    return convert(Request(str(source), output, **fields), say=len)


def hashes(report) -> dict[str, str]:
    return {row.target: row.hash_after for row in report.variables}


def test_every_form_of_either_keras_gives_the_same_detector(tmp_path):
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)
    model, twin = (
        build(keras, nested=True, front=[normalization(keras, pixels)])
        for keras in (tf.keras, keras3)
    )
    statistics = len(model.get_layer("normalization").weights)
    values = shake(model).get_weights()
    model.get_layer("normalization").adapt(pixels)
    values[:statistics] = model.get_weights()[:statistics]
    model.set_weights(values)
    twin.set_weights(values)
    (tmp_path / "two.json").write_text(model.to_json())
    model.save_weights(tmp_path / "two_weights.h5")
    model.save(tmp_path / "two.h5")
    model.save(tmp_path / "two.keras")
    model.save(tmp_path / "two_saved", save_format="tf")
    (tmp_path / "three.json").write_text(twin.to_json())
    twin.save_weights(tmp_path / "three.weights.h5")
    twin.save(tmp_path / "three.keras")
    twin.save(tmp_path / "three.h5")
    forms = {
        "two.json": "two_weights.h5",
        "two.h5": None,
        "two.keras": None,
        "two_saved": None,
        "three.json": "three.weights.h5",
        "three.keras": None,
        "three.h5": None,
    }

    found = {}
    for source, weights in forms.items():
        report = to_convert(
            tmp_path / source,
            tmp_path / f"out_{source}",
            weights=str(tmp_path / weights) if weights else None,
        )
        found[source] = hashes(report)
        assert all(parity.feature_range > 0 for parity in report.parity)
    assert len(found["two.json"]) == 5 * (2 + 4 + 2) + statistics
    assert all(entry == found["two.json"] for entry in found.values())


@pytest.mark.parametrize("kind", Architecture)
def test_one_artefact_serves_every_architecture(kind, tmp_path):
    shake(build()).save(tmp_path / "model.keras")

    to_convert(tmp_path / "model.keras", tmp_path / "out", architecture=kind, preprocessing="tf")

    report = json.loads((tmp_path / "out" / "transfer_report.json").read_text())
    assert report["coverage"] == 100
    assert [row["layer"] for row in report["unused"]] == ["classes"]
    assert all(entry["passed"] and entry["feature_range"] > 0 for entry in report["parity"])
    names = [entry["name"] for entry in report["parity"]]
    assert names == (["add2", "add3", "add4"] if kind.is_ssd else ["add3", "add4"])
    artefact = json.loads((tmp_path / "out" / "backbone.json").read_text())
    assert artefact["preprocessing"]["mode"] == "tf"
    config = (tmp_path / "out" / "pipeline.config").read_text()
    assert f'type: "keras:{tmp_path / "out"}"' in config
    assert "num_classes: 4" in config


@pytest.mark.parametrize("fault", ["perturbed", "swapped", "channels", "scale", "second stage"])
@pytest.mark.parametrize(
    "kind", [Architecture.FASTER_RCNN, Architecture.MASK_RCNN, Architecture.SSD]
)
def test_a_detector_that_differs_is_found_out(fault, kind, tmp_path, monkeypatch, capsys):
    shake(build()).save(tmp_path / "model.keras")
    write = checkpoint.write_layers

    def write_wrongly(folder, backbone):
        layers = backbone.layers
        if fault == "perturbed":
            kernel = layers["side1"].kernel
            kernel.assign(kernel + 1e-4 * tf.one_hot(0, kernel.shape[-1]))
        elif fault == "swapped":
            one, other = layers["side1"].get_weights(), layers["side2"].get_weights()
            layers["side1"].set_weights(other)
            layers["side2"].set_weights(one)
        elif fault == "second stage":
            layers["bn4"].moving_variance.assign(layers["bn4"].moving_variance * 2)
        write(folder, backbone)

    def call_wrongly(how, images):
        images = tf.cast(images, tf.float32)
        if fault == "channels":
            images = images[..., ::-1]
        return images * tf.constant(how.scale) * (1.01 if fault == "scale" else 1) + how.offset

    monkeypatch.setattr(checkpoint, "write_layers", write_wrongly)
    if fault in ("channels", "scale"):
        monkeypatch.setattr(classifier_preprocessing.Preprocessing, "__call__", call_wrongly)

    arguments = [str(tmp_path / "model.keras"), "--output_dir", str(tmp_path / "out")]
    arguments += ["--preprocessing", "torch", "--architecture", kind.value]
    code = main(["convert", *arguments])

    error = capsys.readouterr().err
    assert code == 1
    assert ("features differ" if fault in ("channels", "scale") else "did not arrive") in error
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_a_layer_that_the_conversion_overlooks_is_found_out(tmp_path, monkeypatch, capsys):
    shake(build()).save(tmp_path / "model.keras")
    variables_of = classifier_backbone.variables_of

    def forgetful(layer):
        return {} if layer.name == "side4" else variables_of(layer)

    monkeypatch.setattr("odapi.convert.backbone.classifier_backbone.variables_of", forgetful)

    arguments = [str(tmp_path / "model.keras"), "--output_dir", str(tmp_path / "out")]
    code = main(["convert", *arguments, "--preprocessing", "torch"])

    assert code == 1
    assert "side4" in capsys.readouterr().err


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

    report = to_convert(tmp_path / "model.keras", tmp_path / "out")

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
    assert any("the classifier's own layers" in note for note in report.notes)


def test_frozen_compiled_and_16_bit_models_convert(tmp_path):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = shake(build(nested=True))
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    model.get_layer("base").trainable = False
    model.compile(loss=lambda true, found: tf.reduce_mean(found), optimizer="adam")
    model.save(tmp_path / "model.h5")

    report = to_convert(tmp_path / "model.h5", tmp_path / "out", preprocessing="unit")

    assert report.coverage == 100 and all(parity.passed for parity in report.parity)
    notes = "\n".join(report.notes)
    assert "computes in bfloat16" in notes
    assert "were frozen in the classifier; the detector trains them" in notes


def test_preprocessing_that_nobody_tells_is_asked_for(tmp_path, capsys):
    build().save(tmp_path / "model.keras")
    base = tf.keras.applications.MobileNet(
        weights=None, include_top=False, input_shape=(96, 96, 3), pooling="avg", alpha=0.25
    )
    base = tf.keras.Model(base.input, base.output, name="mobilenet")
    model = tf.keras.Sequential([base, tf.keras.layers.Dense(2)])
    model.save(tmp_path / "mobile.keras")
    for name, hint in (("model", "whichever it was trained with"), ("mobile", "MobileNet's")):
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
        preprocessing.decide(said, classifier, classifier.model.layers)


def test_the_cut_can_be_chosen(tmp_path, capsys):
    shake(build()).save(tmp_path / "model.keras")
    source = str(tmp_path / "model.keras")

    to_convert(source, tmp_path / "out", preprocessing="tf", cut_layer="add2")

    config = (tmp_path / "out" / "pipeline.config").read_text()
    assert "first_stage_features_stride: 8" in config and "height_stride: 8" in config
    for layer, message in (("side2", "skip over each other"), ("add4", "No layer is left")):
        with pytest.raises(UserError, match=message):
            to_convert(source, tmp_path / "no", preprocessing="tf", cut_layer=layer)
    with pytest.raises(UserError, match="--cut_layer is for"):
        to_convert(source, tmp_path / "no", architecture=Architecture.SSD, cut_layer="add2")
    assert not (tmp_path / "no").exists()


def test_a_classifier_without_the_strides_is_refused(tmp_path):
    images = tf.keras.Input((32, 32, 3))
    x = tf.keras.layers.Conv2D(8, 3, strides=8)(images)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    tf.keras.Model(images, tf.keras.layers.Dense(2)(x)).save(tmp_path / "model.keras")

    for kind, stride in ((Architecture.FASTER_RCNN, 16), (Architecture.SSD, 16)):
        with pytest.raises(UserError, match=f"no tensor of stride {stride}") as caught:
            to_convert(
                tmp_path / "model.keras", tmp_path / "out", preprocessing="tf", architecture=kind
            )
        assert "--list_cuts" in caught.value.hint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tail": Tail.FC, "architecture": Architecture.MASK_RCNN}, "does not go with --tail fc"),
        ({"format": "tf1", "architecture": Architecture.SSD}, "does not go with --format tf1"),
        ({"tail": Tail.FC}, "not built on VGG-16"),
        ({"image_size": (200, 100)}, "shorter side first"),
        ({"architecture": Architecture.SSD_FPN, "image_size": (300, 300)}, "multiples of 128"),
    ],
)
def test_flags_that_contradict_each_other(fields, message, tmp_path):
    build().save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=message):
        to_convert(tmp_path / "model.keras", tmp_path / "out", **fields)


def test_a_layer_that_is_called_again_and_again(tmp_path):
    """One activation for all convolutions, and a cut at one of its calls."""
    activation = tf.keras.layers.ReLU(name="activation")
    x = images = tf.keras.Input((64, 64, 3))
    for _ in range(5):
        x = activation(tf.keras.layers.Conv2D(8, 3, strides=2, padding="same")(x))
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    shake(tf.keras.Model(images, tf.keras.layers.Dense(2)(x))).save(tmp_path / "model.keras")

    report = to_convert(tmp_path / "model.keras", tmp_path / "out", preprocessing="unit")

    assert [parity.name for parity in report.parity] == ["activation", "activation"]
    assert all(parity.passed and parity.feature_range > 0 for parity in report.parity)


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


def test_augmentation_and_pooling_in_front_are_no_preprocessing(tmp_path, capsys):
    for layer in (tf.keras.layers.RandomFlip(), tf.keras.layers.AveragePooling2D()):
        build(size=(192, 192, 3), front=[layer]).save(tmp_path / "model.keras")
        arguments = [str(tmp_path / "model.keras"), "--output_dir", str(tmp_path / "out")]
        assert main(["convert", *arguments]) == 2
        assert "does not tell how" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "layer", "message"),
    [
        ((96, 96, 3), tf.keras.layers.LayerNormalization(axis=[1, 2, 3]), "images of any size"),
        ((3, 96, 96), tf.keras.layers.Permute((2, 3, 1)), "images of 96 channels"),
        ((96, 96, 3), tf.keras.layers.Resizing(64, 64), "size of its own"),
    ],
)
def test_a_classifier_that_no_detector_can_run_is_refused(size, layer, message, tmp_path, capsys):
    build(size=size, front=[layer]).save(tmp_path / "model.keras")
    arguments = [str(tmp_path / "model.keras"), "--output_dir", str(tmp_path / "out")]
    assert main(["convert", *arguments, "--preprocessing", "tf"]) == 2
    assert message in capsys.readouterr().err
