"""Networks for small images, old networks, and what of a detector follows from their strides."""

from __future__ import annotations

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf
from object_detection.models.keras_models import classifier_backbone, classifier_preprocessing
from object_detection.utils import config_util

from odapi.console.errors import UserError
from odapi.convert import cuts
from odapi.convert.request import Architecture
from odapi.convert.source import Classifier
from tests.odapi.convert.classifiers import shake, to_convert

layers = tf.keras.layers


def sequence(size, *rest) -> tf.keras.Model:
    return tf.keras.Sequential([layers.Input(size), *rest])


def lenet() -> tf.keras.Model:
    return sequence(
        (28, 28, 1),
        layers.Conv2D(6, 5, activation="tanh", padding="same", name="c1"),
        layers.AveragePooling2D(name="s2"),
        layers.Conv2D(16, 5, activation="tanh", name="c3"),
        layers.AveragePooling2D(name="s4"),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    )


def four_poolings() -> tf.keras.Model:
    blocks = [
        layer
        for stage in range(4)
        for layer in (
            layers.Conv2D(8 << stage, 3, activation="relu", name=f"conv{stage}"),
            layers.MaxPooling2D(name=f"pool{stage}"),
        )
    ]
    return sequence((150, 150, 3), *blocks, layers.Flatten(), layers.Dense(1, activation="sigmoid"))


def class_convolution(*after, classes=7, activation=None, output=True) -> tf.keras.Model:
    """A network that ends in a convolution with a channel for each class, as mini-XCEPTION."""
    return sequence(
        (64, 64, 1),
        layers.Conv2D(8, 3, strides=4, padding="same", name="first"),
        layers.BatchNormalization(name="bn"),
        layers.Conv2D(16, 3, strides=2, padding="same", name="second"),
        layers.Conv2D(classes, 3, padding="same", activation=activation, name="classes"),
        *after,
        layers.GlobalAveragePooling2D(),
        *([layers.Activation("softmax")] if output else []),
    )


def backbone(model) -> classifier_backbone.Backbone:
    none = classifier_preprocessing.of_mode("none")
    return classifier_backbone.Backbone(classifier_backbone.BackboneDescription(model, none))


@pytest.mark.parametrize(
    ("model", "first", "stride", "maps", "levels"),
    [
        (lenet, "s2", 2, ["s4"], (2, 6)),
        (four_poolings, "pool2", 8, ["conv3", "pool3"], (3, 7)),
    ],
)
def test_the_deepest_usable_cut_is_taken(model, first, stride, maps, levels, tmp_path):
    model().save(tmp_path / "model.keras")

    def convert(kind: Architecture):
        report = to_convert(
            tmp_path / "model.keras", tmp_path / kind, preprocessing="unit", architecture=kind
        )
        assert report.coverage == 100 and all(parity.passed for parity in report.parity)
        path = str(tmp_path / kind / "pipeline.config")
        return report, config_util.get_configs_from_pipeline_file(path)["model"]

    report, config = convert(Architecture.FASTER_RCNN)
    assert report.parity[0].name == first
    detector = config.faster_rcnn
    assert detector.feature_extractor.first_stage_features_stride == stride
    grid = detector.first_stage_anchor_generator.grid_anchor_generator
    assert (grid.height_stride, grid.height) == (stride, 16 * stride)
    resizer = detector.image_resizer.keep_aspect_ratio_resizer
    # As many anchors as at stride 16 on 600x1000.
    points = resizer.min_dimension * resizer.max_dimension / stride**2
    assert points == pytest.approx(600 * 1000 / 16**2, rel=0.05)
    assert detector.first_stage_max_proposals == 100

    report, config = convert(Architecture.SSD)
    assert [parity.name for parity in report.parity] == maps
    assert config.ssd.image_resizer.fixed_shape_resizer.height == 320 * min(8, 2 ** levels[0]) // 8

    report, config = convert(Architecture.SSD_FPN)
    fpn = config.ssd.feature_extractor.fpn
    assert (fpn.min_level, fpn.max_level) == levels
    anchors = config.ssd.anchor_generator.multiscale_anchor_generator
    assert (anchors.min_level, anchors.max_level) == levels
    assert config.ssd.image_resizer.fixed_shape_resizer.width % 2 ** levels[1] == 0


def test_crops_are_larger_where_nothing_would_be_left_of_them(tmp_path):
    model = sequence(
        (192, 192, 3),
        layers.Conv2D(8, 3, strides=16, padding="same", name="first"),
        layers.Conv2D(8, 5, name="second"),
        layers.Conv2D(8, 5, strides=2, name="third"),
        layers.GlobalMaxPooling2D(),
        layers.Dense(3),
    )
    shake(model).save(tmp_path / "model.keras")
    to_convert(tmp_path / "model.keras", tmp_path / "out", preprocessing="unit", cut_layer="first")
    path = str(tmp_path / "out" / "pipeline.config")
    detector = config_util.get_configs_from_pipeline_file(path)["model"].faster_rcnn
    assert (detector.initial_crop_size, detector.maxpool_kernel_size) == (14, 1)


@pytest.mark.parametrize(
    ("model", "is_head"),
    [
        (class_convolution(), True),
        (class_convolution(layers.Dropout(0.5)), True),
        (class_convolution(activation="softmax", output=False), True),
        (class_convolution(output=False), True),  # scores
        (class_convolution(layers.BatchNormalization(), layers.ReLU()), True),
        # A network without its head, which ends as one with scores would.
        (class_convolution(layers.BatchNormalization(), layers.ReLU(), output=False), False),
        (class_convolution(activation="relu", output=False), False),
    ],
)
def test_a_convolution_that_makes_the_classes_is_the_head(model, is_head):
    names = [cut.name for cut in backbone(model).cuts]
    assert ("classes" not in names) is is_head
    assert names[:3] == ["first", "bn", "second"]


def test_a_convolution_of_other_channels_is_of_the_trunk():
    """Negative control: a dense layer makes the classes."""
    model = class_convolution(output=False)
    model = sequence((64, 64, 1), *model.layers[:4], layers.Flatten(), layers.Dense(7))
    assert backbone(model).cuts[-1].name == "classes"


def test_without_layers_for_it_the_second_stage_takes_the_crops(tmp_path):
    images = x = layers.Input((64, 64, 3))
    x = layers.Rescaling(1 / 255)(x)  # nothing before has weights: it is no place to cut
    x = layers.Conv2D(32, 16, strides=16, name="patches")(x)
    x = layers.Reshape((16, 32))(x)
    x = layers.MultiHeadAttention(2, 16)(x, x)
    x = layers.Dense(2)(layers.GlobalAveragePooling1D()(x))
    shake(tf.keras.Model(images, x)).save(tmp_path / "model.keras")
    report = to_convert(tmp_path / "model.keras", tmp_path / "out")
    assert [parity.name for parity in report.parity] == ["patches", "patches"]
    assert "multi_head_attention" in {layer.layer.rstrip("_0123456789") for layer in report.unused}


@pytest.mark.parametrize(
    ("front", "size"),
    [
        ([layers.Resizing(64, 96)], (100, 90, 3)),
        ([layers.Rescaling(1 / 127.5, offset=-1), layers.Resizing(64, 64)], (128, 128, 3)),
        ([layers.CenterCrop(64, 64)], (80, 100, 3)),
    ],
)
def test_a_size_that_the_classifier_gives_images_is_the_detectors_matter(front, size, tmp_path):
    images = x = layers.Input(size)
    for layer in front:
        x = layer(x)
    for stage in range(4):
        x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(name=f"pool{stage}")(x)
    x = layers.Dense(3)(layers.Flatten()(x))
    shake(tf.keras.Model(images, x)).save(tmp_path / "model.keras")
    report = to_convert(tmp_path / "model.keras", tmp_path / "out", preprocessing="none")
    assert all(parity.passed for parity in report.parity)
    (note,) = [note for note in report.notes if "was left out" in note]
    assert front[-1].name in note
    assert type(front[-1]).__name__ not in (tmp_path / "out" / "backbone.json").read_text()


def test_a_size_that_features_are_given_is_refused(tmp_path):
    model = sequence(
        (64, 64, 3),
        layers.Conv2D(8, 3),
        layers.Resizing(32, 32, name="in_between"),
        layers.Conv2D(8, 3),
        layers.Flatten(),
        layers.Dense(2),
    )
    model.save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=r"'in_between' .* gives features a size of its own"):
        to_convert(tmp_path / "model.keras", tmp_path / "out", preprocessing="none")


def test_cuts_that_skip_over_each_other_are_no_small_network():
    images = layers.Input((64, 64, 3))
    paths = []
    for _ in range(2):
        x = images
        for _ in range(5):
            x = layers.Conv2D(4, 3, strides=2, padding="same")(x)
        paths.append(x)
    x = layers.Conv2D(4, 3, padding="same", name="after")(layers.Concatenate()(paths))
    model = tf.keras.Model(images, layers.Dense(2)(layers.Flatten()(x)))
    table = cuts.table(Classifier(model, "test"))
    assert "no SSD: " in table and "no first stage of Faster R-CNN: " in table
    assert table.count("skip over each other") == 2
