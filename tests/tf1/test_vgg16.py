"""Faster R-CNN on a Keras VGG-16 classifier, trained the way of the tutorials for TensorFlow 1."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from object_detection.utils import config_util

from odapi.cli import main
from odapi.convert import checkpoint, vgg16
from tests.tf1.programs import (
    TREE,
    assert_frozen_graph_detects_as_the_checkpoint,
    evaluate,
    losses,
    run,
)

LAYERS = [*vgg16.CONVOLUTIONS, "fc1", "fc2"]


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """Values of the classifier's variables, as `block1_conv1/kernel`; `converted` fills it."""
    return {}


@pytest.fixture(scope="module")
def converted(records, weights, tmp_path_factory) -> Iterator[Path]:
    """What `odapi convert --format tf1` wrote for a whole VGG-16, its fc1 and fc2 included."""
    folder = tmp_path_factory.mktemp("vgg16")
    tf.keras.utils.set_random_seed(7)
    classifier = tf.keras.applications.VGG16(weights=None)
    random = np.random.default_rng(7)
    for name in LAYERS:
        layer = classifier.get_layer(name)
        # Keras' own biases start at zero, which a variable that was never restored has too.
        layer.bias.assign(random.normal(0, 0.1, layer.bias.shape))
        weights[f"{name}/kernel"], weights[f"{name}/bias"] = layer.get_weights()
    (folder / "model.json").write_text(classifier.to_json())
    classifier.save_weights(folder / "weights.h5")
    del classifier
    tf.keras.backend.clear_session()

    output = folder / "converted"
    arguments = {
        "--weights": folder / "weights.h5",
        "--format": "tf1",
        "--output_dir": output,
        "--label_map": records.label_map,
        "--train_records": records.train,
        "--eval_records": records.evaluation,
    }
    command = ["convert", str(folder / "model.json"), "--image_size", "96", "128"]
    assert main([*command, *(str(part) for pair in arguments.items() for part in pair)]) == 0
    (folder / "weights.h5").unlink()
    yield output
    shutil.rmtree(folder)  # gigabytes, which pytest would keep for three runs


def write_config(converted: Path, path: Path, steps: int, frozen: str, start: Path) -> Path:
    """The converted config, shrunk; `frozen` is a pattern of variables that do not train."""
    pipeline = config_util.get_configs_from_pipeline_file(str(converted / "pipeline.config"))
    model, train = pipeline["model"].faster_rcnn, pipeline["train_config"]
    model.first_stage_minibatch_size = 16
    model.first_stage_max_proposals = 16
    model.second_stage_batch_size = 8
    train.num_steps = steps
    train.fine_tune_checkpoint = str(start)
    train.freeze_variables.append(frozen)
    assert model.feature_extractor.type == "faster_rcnn_vgg16"
    assert not train.from_detection_checkpoint
    config_util.save_pipeline_config(
        config_util.create_pipeline_proto_from_configs(pipeline), str(path.parent)
    )
    return path.parent.joinpath("pipeline.config").rename(path)


def train(config: Path, folder: Path) -> str:
    """Runs legacy/train.py, and returns its log."""
    return run(
        TREE / "legacy" / "train.py",
        "--logtostderr",
        f"--train_dir={folder}",
        f"--pipeline_config_path={config}",
    )


def detectors_variables(prefix: Path) -> dict[str, np.ndarray]:
    """Values of a training checkpoint's VGG-16, named as the classifier's."""
    reader = tf.train.load_checkpoint(str(prefix))
    found = {}
    for name in reader.get_variable_to_shape_map():
        stage, _, variable = name.partition("/")
        layer, _, kind = variable.partition("/")
        if stage.endswith("FeatureExtractor") and layer in LAYERS and "/" not in kind:
            found[variable] = reader.get_tensor(name)  # none of the optimizer's
    return found


def differing(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> list[str]:
    """Names of the expected variables that are absent, or of which any value differs."""
    return [
        name
        for name, value in expected.items()
        if name not in found or not np.array_equal(found[name], value)
    ]


@pytest.fixture(scope="module")
def config(converted) -> Path:
    """All of VGG-16 is frozen: what training writes last is then what it restored at first."""
    path = converted.parent / "train.config"
    return write_config(converted, path, 2, ".*/(block|fc)", converted / checkpoint.NAME)


@pytest.fixture(scope="module")
def trained(config) -> tuple[Path, str]:
    """The train_dir after two steps, and what training logged."""
    folder = config.parent / "train"
    return folder, train(config, folder)


def test_training_starts_from_the_classifiers_weights(trained, weights):
    folder, log = trained

    assert len(weights) == 2 * (13 + 2)
    assert differing(detectors_variables(folder / "model.ckpt-2"), weights) == []
    assert len(losses(log)) == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in losses(log))
    head = "FirstStageBoxPredictor/ClassPredictor/weights"
    start, end = (
        tf.train.load_checkpoint(str(folder / f"model.ckpt-{step}")).get_tensor(head)
        for step in (0, 2)
    )
    assert np.abs(end - start).max() > 0


def test_a_checkpoint_that_lacks_a_variable_or_differs_is_seen(converted, weights, tmp_path):
    faulty = {name: value for name, value in weights.items() if name.startswith("block")}
    del faulty["block2_conv2/kernel"]
    faulty["block1_conv1/bias"] = faulty["block1_conv1/bias"] + np.float32(1e-3)
    checkpoint.write_tf1(tmp_path, faulty)
    frozen = ".*/(block[1-4]|fc)"
    start = tmp_path / checkpoint.NAME
    config = write_config(converted, tmp_path / "faulty.config", 1, frozen, start)

    log = train(config, tmp_path / "train")

    found = detectors_variables(tmp_path / "train" / "model.ckpt-1")
    shutil.rmtree(tmp_path / "train")
    wrong = set(differing(found, weights))
    fully_connected = {name for name in weights if name.startswith("fc")}  # lacking, too
    assert {"block1_conv1/bias", "block2_conv2/kernel"} | fully_connected <= wrong
    assert "block2_conv2/kernel] is not available in checkpoint" in log
    # Not frozen here, block5 trains; the rest is the classifier's still.
    assert {name for name in wrong if name.startswith("block5")}
    assert not {name for name in wrong if name.startswith(("block3", "block4"))}


def test_evaluation_writes_the_mean_average_precision(config, trained):
    log, written = evaluate(config, trained[0])

    assert 0 <= written["DetectionBoxes_Precision/mAP"] <= 1
    assert math.isfinite(written["Losses/Loss/BoxClassifierLoss/classification_loss"])
    # The config names no num_examples: the records' end ends the evaluation.
    assert "# success: 4" in log and "# skipped: 0" in log


def test_the_frozen_graph_detects_as_the_checkpoint(config, trained, records, tmp_path):
    exported = config.parent / "exported"

    run(
        TREE / "export_inference_graph.py",
        "--input_type=image_tensor",
        f"--pipeline_config_path={config}",
        f"--trained_checkpoint_prefix={trained[0] / 'model.ckpt-2'}",
        f"--output_directory={exported}",
    )

    assert_frozen_graph_detects_as_the_checkpoint(
        exported / "frozen_inference_graph.pb",
        config,
        trained[0] / "model.ckpt-2",
        records.image,
        tmp_path,
    )
