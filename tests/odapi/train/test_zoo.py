"""Training from a checkpoint in the layout of an archive of upstream's model zoo."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.small import ssd, training
from tests.small.scenes import NAMES, write_label_map

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

import tensorflow as tf
from google.protobuf import text_format
from object_detection.protos import pipeline_pb2

PAGE = (Path(__file__).parents[3] / "docs" / "zoo.md").read_text()
CLASSES = 3
"""Of the zoo's model. The project has two."""
HEADS = "model/_box_predictor/"
OF_THE_ZOO = """
train_config {
  batch_size: 128
  sync_replicas: true
  startup_delay_steps: 0
  replicas_to_aggregate: 8
  use_bfloat16: true
  fine_tune_checkpoint: "PATH_TO_BE_CONFIGURED"
  fine_tune_checkpoint_type: "classification"
  fine_tune_checkpoint_version: V2
}
"""
Change = Callable[[Any], None]


def fill_with_noise(model: Any, seed: int = 3) -> None:
    """Gives every variable values that no initializer gives."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign(random.uniform(0.1, 0.2, variable.shape))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """What upstream's exporter writes of a detector of three classes."""
    from object_detection import exporter_lib_v2
    from object_detection.builders import model_builder

    folder = tmp_path_factory.mktemp("zoo")
    config = text_format.Parse(
        ssd.config(Path("PATH_TO_BE_CONFIGURED"), num_classes=CLASSES, learning_rate=0.0),
        pipeline_pb2.TrainEvalPipelineConfig(),
    )
    text_format.Merge(OF_THE_ZOO, config)
    model = model_builder.build(config.model, is_training=False)
    model.predict(*model.preprocess(tf.zeros([1, 96, 96, 3])))
    fill_with_noise(model)
    tf.train.Checkpoint(model=model).save(str(folder / "trained" / "ckpt"))
    exporter_lib_v2.export_inference_graph(
        "image_tensor", config, str(folder / "trained"), str(folder / "model")
    )
    return folder / "model"


@pytest.fixture
def configure(zoo, project, tmp_path) -> Callable[..., Path]:
    """Writes a copy of the zoo's config with what docs/zoo.md says to change."""

    def write(classes: int = 2, kind: str = "detection", change: Change | None = None) -> Path:
        names = NAMES | {3: "green"} if classes == CLASSES else NAMES
        config = text_format.Parse(
            (zoo / "pipeline.config").read_text(), pipeline_pb2.TrainEvalPipelineConfig()
        )
        config.model.ssd.num_classes = classes
        config.train_config.fine_tune_checkpoint = str(zoo / "checkpoint" / "ckpt-0")
        config.train_config.fine_tune_checkpoint_type = kind
        config.train_config.batch_size = 4
        readers = {"train": config.train_input_reader, "eval": config.eval_input_reader[0]}
        for name, reader in readers.items():
            reader.label_map_path = str(write_label_map(tmp_path / "label_map.pbtxt", names))
            records = str(project.folder / f"{name}.record")
            reader.tf_record_input_reader.input_path[:] = [records]
        if change:
            change(config)
        path = tmp_path / "my.config"
        path.write_text(text_format.MessageToString(config))
        return path

    return write


def test_the_exporter_writes_the_layout_of_the_zoo(zoo):
    found = {str(file.relative_to(zoo)) for file in zoo.rglob("*") if file.is_file()}
    assert found >= {
        "checkpoint/checkpoint",
        "checkpoint/ckpt-0.index",
        "checkpoint/ckpt-0.data-00000-of-00001",
        "pipeline.config",
        "saved_model/saved_model.pb",
    }


@pytest.mark.parametrize(("kind", "classes"), [("detection", 2), ("full", CLASSES)])
def test_training_starts_from_the_checkpoints_values(zoo, configure, tmp_path, kind, classes):
    assert training.train(configure(classes, kind), tmp_path / "model", 1) == 0

    given = training.variables(zoo / "checkpoint" / "ckpt-0")
    start = training.variables(tmp_path / "model" / "ckpt-1")
    assert start.keys() == given.keys()
    equal = {key for key in given if np.array_equal(given[key], start[key])}
    heads = {key for key in given if key.startswith(HEADS)}
    # 'detection' leaves out the boxes' head as well, whose shapes are the same.
    assert equal == (given.keys() if kind == "full" else given.keys() - heads)
    assert len(heads) == 12 and len(given) > 150

    # At a learning rate of 0 a step moves nothing but the statistics of batch normalization.
    end = training.variables(tmp_path / "model" / "ckpt-2")
    moved = {key for key in start if not np.array_equal(start[key], end[key])}
    assert moved and all("/moving_" in key for key in moved)


def set_start(path: Path | str) -> Change:
    def change(config: Any) -> None:
        config.train_config.fine_tune_checkpoint = str(path)

    return change


def more_layers(config: Any) -> None:
    """An extractor with a feature map that the checkpoint's does not have."""
    config.model.ssd.feature_extractor.num_layers = 4
    config.model.ssd.anchor_generator.ssd_anchor_generator.num_layers = 4


def more_layers_unbuilt(config: Any) -> None:
    more_layers(config)
    config.train_config.run_fine_tune_checkpoint_dummy_computation = False


def wider(config: Any) -> None:
    config.model.ssd.feature_extractor.depth_multiplier = 0.5


@pytest.mark.parametrize(
    ("kind", "change", "what", "hint"),
    [
        ("full", None, "incompatible tensor with shape (12,)", "'detection' takes the feature"),
        ("detection", wider, "incompatible tensor", "feature_extractor has to be the same"),
        ("detection", more_layers, "variables not in the checkpoint: ", "that of the checkpoint"),
        ("detection", more_layers_unbuilt, "variables not in the checkpoint: ", "has to be the"),
    ],
)
def test_a_model_that_is_not_the_checkpoints(
    zoo, configure, tmp_path, capsys, kind, change, what, hint
):
    assert training.train(configure(2, kind, change), tmp_path / "model", 1) == 2
    error = capsys.readouterr().err
    assert "error: the checkpoint does not fit the model: " in error
    assert f"at: {zoo}/checkpoint/ckpt-0\n" in error and "Traceback" not in error
    assert what in error and hint in error and what in PAGE
    assert f"that of the checkpoint is {zoo / 'pipeline.config'}\n" in error
    assert not (tmp_path / "model" / "checkpoint").exists()


def refusal(config: Path, model_dir: Path, capsys) -> str:
    """What training says, having built and written nothing."""
    assert training.train(config, model_dir, 1) == 2
    output, error = capsys.readouterr()
    assert "building the model" not in output and "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("kind", "said", "hint"),
    [
        ("classification", "looks for feature_extractor/", "'detection'"),
        ("", "'classification' looks for feature_extractor/", "'detection'"),
        ("fine_tune", "'fine_tune' is none of classification, detection, full", "'detection'"),
    ],
)
def test_another_type(configure, tmp_path, capsys, kind, said, hint):
    error = refusal(configure(kind=kind), tmp_path / "model", capsys)
    assert said in error and said in PAGE
    assert f"hint: set fine_tune_checkpoint_type: {hint}\n" in error


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ("checkpoint/ckpt-0.index", "there is no checkpoint", "give the prefix of its files: "),
        ("checkpoint/ckpt-0.data-00000-of-00001", "there is no checkpoint", "give the prefix"),
        ("checkpoint/ckpt-1", "there is no checkpoint", "there is "),
        ("ckpt-0", "there is no checkpoint", "there is "),
        ("checkpoint", "it is a folder", "give the checkpoint in it: "),
        ("checkpoint/checkpoint", "this is not a TF2 checkpoint", "there is "),
        ("", "the folder holds no checkpoint", "there is "),
        ("saved_model", "the folder holds no checkpoint", "there is "),
        ("saved_model/saved_model.pb", "this is not a TF2 checkpoint", "there is "),
    ],
)
def test_another_path(zoo, configure, tmp_path, capsys, given, said, hint):
    config = configure(change=set_start(zoo / given))
    error = refusal(config, tmp_path / "model", capsys)
    assert said in error
    [line] = [line for line in error.splitlines() if line.startswith("hint: ")]
    assert line.startswith(f"hint: {hint}") and line.endswith(f"{zoo}/checkpoint/ckpt-0")


def test_the_path_of_the_zoos_own_config(configure, tmp_path, capsys):
    config = configure(change=set_start("PATH_TO_BE_CONFIGURED"))
    error = refusal(config, tmp_path / "model", capsys)
    assert "there is no checkpoint PATH_TO_BE_CONFIGURED" in error
    assert "hint: a model of the zoo has one, checkpoint/ckpt-0" in error


def test_a_checkpoint_of_the_zoo_of_tf1(configure, tmp_path, capsys):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("FeatureExtractor/MobilenetV1/Conv2d_0/weights", [4])
        session.run(tf.compat.v1.global_variables_initializer())
        prefix = tf.compat.v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    error = refusal(configure(change=set_start(prefix)), tmp_path / "model", capsys)
    assert "the checkpoint was written in TF1 behaviour" in error
    assert "hint: take a TF2 model of the zoo" in error


@pytest.mark.parametrize("model_dir", ["", "checkpoint"])
def test_training_does_not_write_into_the_archive(zoo, configure, tmp_path, capsys, model_dir):
    """It would end at its first checkpoint, or resume from the zoo's with the heads of COCO."""
    unpacked = tmp_path / "unpacked"
    shutil.copytree(zoo, unpacked)
    before = sorted(unpacked.rglob("*"))
    error = refusal(configure(CLASSES), unpacked / model_dir, capsys)
    assert "[model_dir_foreign]" in error and "hint: take another --model_dir" in error
    assert sorted(unpacked.rglob("*")) == before


def test_other_commands_take_the_checkpoint_as_it_is(zoo):
    from odapi.console.errors import UserError
    from odapi.detector.loading import load_detector
    from odapi.pipeline.config import Pipeline

    pipeline = Pipeline.load(str(zoo / "pipeline.config"))
    with pytest.raises(UserError) as refused:
        load_detector(pipeline, str(zoo))
    assert refused.value.hint == f"there is {zoo}/checkpoint/ckpt-0"
    detector = load_detector(pipeline, str(zoo / "checkpoint"))
    given = training.variables(zoo / "checkpoint" / "ckpt-0")
    assert len(detector.variables) == len(given)
    sums = sorted(float(variable.numpy().sum()) for variable in detector.variables)
    assert sums == sorted(float(value.sum()) for value in given.values())


RESTORED = {
    "ssd": {"detection": ("model/_feature_extractor/",), "full": ("model/",)},
    "faster_rcnn": {
        "detection": (
            "model/_feature_extractor_for_proposal_features/",
            "model/_feature_extractor_for_box_classifier_features/",
        ),
        "full": ("model/",),
    },
    "center_net": {"detection": ("model/_feature_extractor/",), "full": ("model/",)},
}
"""Model to fine_tune_checkpoint_type to where the names of the variables that it takes begin."""


def build(name: str, classes: int) -> Any:
    """A detector with its variables.

    Args:
        name: of RESTORED.
    """
    from object_detection.builders import model_builder

    from tests.architectures import catalogue, centernet

    make, extractor = {
        "ssd": (catalogue.ssd, "ssd_mobilenet_v2_keras"),
        "faster_rcnn": (catalogue.faster_rcnn, "faster_rcnn_resnet50_keras"),
        "center_net": (centernet.centernet, "mobilenet_v2"),
    }[name]
    config = make(extractor).config(Path("nowhere")).model
    getattr(config, name).num_classes = classes
    model = model_builder.build(config, is_training=False)
    model.predict(*model.preprocess(tf.zeros([1, catalogue.SIDE, catalogue.SIDE, 3])))
    return model


@pytest.mark.sampled
@pytest.mark.parametrize("name", RESTORED)
def test_what_each_type_takes(tmp_path, name):
    from object_detection import model_lib_v2
    from object_detection.protos import train_pb2
    from object_detection.utils.restored_values import RestoreError

    def save(model: Any, prefix: str) -> Path:
        return Path(tf.train.Checkpoint(model=model).save(str(tmp_path / prefix)))

    def load(model: Any, kind: str) -> None:
        load_checkpoint = model_lib_v2.load_fine_tune_checkpoint
        load_checkpoint(model, str(start), kind, train_pb2.V2, False, None, False)

    model, other = build(name, CLASSES), build(name, 2)
    fill_with_noise(model, seed=3)
    start = save(model, "start")
    given = training.variables(start)
    for target, kind in ((other, "detection"), (model, "detection"), (model, "full")):
        fill_with_noise(target, seed=4)
        load(target, kind)
        found = training.variables(save(target, "found"))
        assert found.keys() == given.keys()
        equal = {key for key in given if np.array_equal(given[key], found[key])}
        assert equal == {key for key in given if key.startswith(RESTORED[name][kind])}
    with pytest.raises(RestoreError, match="incompatible tensor"):
        load(other, "full")
