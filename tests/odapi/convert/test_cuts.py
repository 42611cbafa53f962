"""Where the networks of keras.applications are cut, and what `--list_cuts` prints."""

from __future__ import annotations

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf
from object_detection.models.keras_models.classifier_cut import CutError, LayerGraph

from odapi.cli import main

# Where blocks of stride 8, 16 and 32 end. Upstream's extractors written by hand for ResNet,
# Inception-ResNet and MobileNet V1 end their first stages at the same layers.
ENDS = {
    "VGG16": ("block4_conv3", "block4_pool", "block5_pool"),
    "VGG19": ("block4_conv4", "block4_pool", "block5_pool"),
    "ResNet50": ("conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
    "ResNet50V2": ("conv3_block3_out", "conv4_block5_out", "post_relu"),
    "ResNetRS50": tuple(
        f"BlockGroup{group}__block_{block}__output_act" for group, block in ((3, 3), (4, 5), (5, 2))
    ),
    "InceptionV3": ("mixed2", "mixed7", "mixed10"),
    "InceptionResNetV2": ("block35_10_ac", "block17_20_ac", "conv_7b_ac"),
    "Xception": ("add", "add", "block14_sepconv2_act"),
    "MobileNet": ("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"),
    "MobileNetV2": ("block_5_add", "block_12_add", "out_relu"),
    "MobileNetV3Small": ("expanded_conv_2/Add", "expanded_conv_7/Add", "multiply"),
    "DenseNet121": ("pool3_relu", "pool4_relu", "relu"),
    "EfficientNetB0": ("block3b_add", "block5c_add", "top_activation"),
    "EfficientNetV2B0": ("block3b_add", "block5e_add", "top_activation"),
    "ConvNeXtTiny": (
        "convnext_tiny_downsampling_layernorm_1",
        "convnext_tiny_downsampling_layernorm_2",
        "tf.__operators__.add",
    ),
    "RegNetX002": tuple(
        f"regnetx002_Stage_{stage}_XBlock_{block}_exit_relu"
        for stage, block in ((1, 0), (2, 3), (3, 6))
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_blocks_of_the_applications(name):
    graph = LayerGraph(getattr(tf.keras.applications, name)(weights=None))
    for stride, tail, expected in zip((8, 16, 32), (False, True, False), ENDS[name], strict=True):
        cut = graph.best_cut(stride, weighted_tail=tail)
        # Keras counts layers without a name of their own up over the whole process.
        found = cut.name if expected[-1].isdigit() else cut.name.rstrip("0123456789").rstrip("_")
        assert found == expected.rstrip("_")
        assert (cut.parameters_after > 0) or not tail


def test_nasnets_cells_skip_over_each_other():
    graph = LayerGraph(tf.keras.applications.NASNetMobile(weights=None))
    with pytest.raises(CutError, match=r"cannot be cut at stride 16: .*'reduction_.* skip over"):
        graph.best_cut(16, weighted_tail=True)


def test_the_table_of_cuts(capsys):
    assert main(["convert", "MobileNet", "--weights", "none", "--list_cuts"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["conv_pw_11_relu", "16", "512", "1,627,840", "1,601,024", "*"] in rows
    assert rows[-1][-1] == "conv_pw_11_relu"
    assert rows[-2] == ["SSD:", "conv_pw_5_relu,", "conv_pw_11_relu,", "conv_pw_13_relu"]


def test_a_classifier_without_cuts(capsys):
    assert main(["convert", "NASNetMobile", "--weights", "none", "--list_cuts"]) == 0
    printed = capsys.readouterr().out
    assert "no first stage of Faster R-CNN" in printed and "no SSD" in printed
    assert "skip over each other" in printed


def test_convert_needs_a_place_to_write_to(capsys):
    assert main(["convert", "VGG16", "--weights", "none"]) == 2
    assert "--output_dir" in capsys.readouterr().err
