"""Finding VGG-16 in a classifier, and saying where a classifier departs from it."""

from __future__ import annotations

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.convert import vgg16

layers = tf.keras.layers


def test_the_constants_are_those_of_keras_applications():
    reference = tf.keras.applications.VGG16(weights=None, include_top=False)

    assert reference.count_params() == vgg16.BACKBONE_PARAMETERS == 14_714_688
    assert {
        layer.name: tuple(layer.kernel.shape) for layer in reference.layers if layer.weights
    } == vgg16.CONVOLUTIONS


def test_a_head_of_the_users_own_is_listed_and_fc_start_fresh(classifier):
    match = vgg16.match(classifier, "test")

    assert list(match.layers) == list(vgg16.CONVOLUTIONS)
    assert [(layer.type, layer.parameters) for layer in match.unused] == [
        ("Dense", 25088 * 64 + 64),
        ("Dense", 64 * 4 + 4),
    ]
    assert "25088x64" in match.fresh_reason


def test_vgg16s_own_top_gives_fc1_and_fc2_and_leaves_the_predictions():
    match = vgg16.match(tf.keras.applications.VGG16(weights=None, classes=10), "test")

    assert list(match.layers) == [*vgg16.CONVOLUTIONS, "fc1", "fc2"]
    assert match.fresh_reason is None
    assert [layer.layer for layer in match.unused] == ["predictions"]


def test_a_classifier_that_enlarges_its_features_as_rois_are_gives_fc1_and_fc2_too():
    model = chain()
    for layer in (
        layers.Resizing(14, 14),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(4096, activation="relu", name="fc1"),
        layers.Dense(4096, activation="relu", name="fc2"),
        layers.Dense(10, name="predictions"),
    ):
        model.add(layer)

    match = vgg16.match(model, "test")

    assert list(match.layers) == [*vgg16.CONVOLUTIONS, "fc1", "fc2"]


def test_renamed_layers_are_found_by_order():
    json = tf.keras.applications.VGG16(weights=None, include_top=False).to_json()
    # Names that lie about the position: what the weights were trained for is the position.
    swapped = json.replace("block4_conv2", "x").replace("block4_conv3", "block4_conv2")
    model = tf.keras.models.model_from_json(swapped.replace('"x"', '"block4_conv3"'))

    match = vgg16.match(model, "test")

    assert match.layers["block4_conv2"].name == "block4_conv3"
    assert match.layers["block4_conv3"].name == "block4_conv2"


def test_separate_relus_dropout_and_layers_after_block5_are_no_obstacle():
    model = chain(activation="linear", between=[layers.ReLU, lambda: layers.Dropout(0.5)])
    model.add(layers.Conv2D(8, 1, name="extra"))

    match = vgg16.match(model, "test")

    assert isinstance(match.features, layers.ReLU)
    assert [layer.layer for layer in match.unused] == ["extra"]
    assert "after block5_conv3" in match.unused[0].reason


def test_augmentation_in_front_is_no_preprocessing_and_rescaling_is():
    for layer, preprocesses in ((layers.RandomFlip(), False), (layers.Rescaling(1 / 255), True)):
        model = tf.keras.Sequential([tf.keras.Input((224, 224, 3)), layer, chain()])
        assert vgg16.match(model, "test").preprocesses is preprocesses


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tf.keras.Sequential([tf.keras.Input((9,)), layers.Dense(4)]), "0 convolutions"),
        (
            lambda: tf.keras.applications.ResNet50(
                weights=None, input_shape=(32, 32, 3), classes=4
            ),
            "7x7x3x64",
        ),
        (
            lambda: tf.keras.applications.VGG19(weights=None, include_top=False),
            "should be followed by a 2x2 max pooling, not by layer 'block3_conv4'",
        ),
        (lambda: chain(between=[layers.BatchNormalization]), "BatchNormalization"),
        (lambda: chain(activation="linear"), "no ReLU"),
        (lambda: chain(activation="tanh"), "tanh"),
        (lambda: chain(padding="valid"), "'valid'"),
        (lambda: chain(pooling=layers.AveragePooling2D), "max pooling"),
    ],
)
def test_what_is_not_vgg16_is_refused_with_the_place(build, message):
    with pytest.raises(UserError) as caught:
        vgg16.match(build(), "test")

    assert message in caught.value.message
    assert caught.value.exit_code == 2


def chain(
    activation: str = "relu", padding: str = "same", between=(), pooling=layers.MaxPooling2D
) -> tf.keras.Sequential:
    """VGG-16's convolutions one after the other, varied."""
    model = tf.keras.Sequential([tf.keras.Input((224, 224, 3))])
    for block, (count, filters) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for _ in range(count):
            model.add(layers.Conv2D(filters, 3, padding=padding, activation=activation))
            for build in between:
                model.add(build())
        if block < 5:
            model.add(pooling(2))
    return model
