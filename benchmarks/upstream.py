"""Upstream's Faster R-CNN on ResNet-50, in a tree without our patches and in ours.

    python -m benchmarks.upstream ours|TREE train|detect PIPELINE_CONFIG

serves one step, or the detections of one batch, for each line it is sent. Of a tree without patches
the model can be imported, with an empty module for `tensorflow_io`, but not the train loop, which
needs `tf.estimator`. What `model_lib_v2.eager_train_step` does there is therefore written down
here, and traced with AutoGraph, as it is there.
"""

from __future__ import annotations

import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import ROOT, Figures, alternate, in_folder, serve, worker

CASE = ("resnet50_keras", 320, 320, 2, 64)
"""Backbone, height, width, batch, RoIs: a `detectors.Case`."""
OBJECTS = 8
"""In each image."""
PARTS = ("train", "detect")
OURS = "ours"
TREE = ROOT / "third_party/models"


@in_folder
def compare(folder: Path) -> Figures:
    """Seconds of steps and detections, ours beside upstream's, and of the first of each.

    Args:
        folder: for the tree without patches and the config.
    """
    from benchmarks import detectors
    from odapi.convert import recipes

    case = detectors.Case(*CASE)
    config = folder / "pipeline.config"
    recipes.write(case.config(), config)
    trees = OURS, _without_patches(folder / "models")
    figures: Figures = {"case": str(case)}
    for part in PARTS:
        module = ["-m", "benchmarks.upstream"]
        with worker(*module, trees[0], part, config) as ours:
            first = [_seconds(ours)]
            with worker(*module, trees[1], part, config) as theirs:
                first.append(_seconds(theirs))
                here, there = alternate(ours, theirs)
        figures[part] = {
            "ours": here,
            "upstream": there,
            "ratio": round(here / there, 3),
            "first of ours": first[0],
            "first of upstream": first[1],
        }
    return figures


def _seconds(side: Callable[[], object]) -> float:
    began = time.monotonic()
    side()
    return round(time.monotonic() - began, 1)


def _without_patches(folder: Path) -> Path:
    """The snapshot as it was before the first patch."""
    folder.mkdir()
    git = ["git", "-C", str(TREE)]
    root = subprocess.run(
        [*git, "rev-list", "--max-parents=0", "HEAD"], check=True, capture_output=True, text=True
    )
    archive = subprocess.run(
        [*git, "archive", root.stdout.split()[0]], check=True, capture_output=True
    )
    subprocess.run(["tar", "x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def _work(tree: str, part: str, config_path: str) -> Callable[[], object]:
    if tree != OURS:
        research = Path(tree) / "research"
        sys.path[:0] = [str(research), str(research / "slim")]
        # Upstream wants one function of it, for images of another colour space.
        sys.modules["tensorflow_io"] = types.ModuleType("tensorflow_io")
    elif part == "train":
        from benchmarks import detectors

        return detectors.training(detectors.Case(*CASE)).detector
    import tensorflow as tf
    from google.protobuf import text_format
    from object_detection.builders import model_builder
    from object_detection.protos import pipeline_pb2

    assert Path(model_builder.__file__).is_relative_to(TREE if tree == OURS else tree)
    text = Path(config_path).read_text("utf-8")
    config = text_format.Parse(text, pipeline_pb2.TrainEvalPipelineConfig())
    model = model_builder.build(config.model, is_training=part == "train")
    _, height, width, batch, _ = CASE
    random = np.random.default_rng(1)
    pixels = tf.constant(random.integers(0, 256, (batch, height, width, 3), np.uint8))
    if part == "train":
        images, shapes = model.preprocess(tf.cast(pixels, tf.float32))
        step = _their_step(model, config.train_config, random)
        return lambda: step(images, shapes).numpy()
    tf.keras.backend.set_learning_phase(0)

    # Its exporter traces with AutoGraph, ours without.
    @tf.function(autograph=tree != OURS)
    def detect(pixels: tf.Tensor) -> Any:
        images, shapes = model.preprocess(tf.cast(pixels, tf.float32))
        return model.postprocess(model.predict(images, shapes), shapes)

    return lambda: [output.numpy() for output in tf.nest.flatten(detect(pixels))]


def _their_step(model: Any, train_config: Any, random: np.random.Generator) -> Any:
    import tensorflow as tf
    from object_detection.builders import optimizer_builder

    batch = CASE[3]
    corners = random.uniform(0, 0.7, (batch, OBJECTS, 2))
    sizes = random.uniform(0.1, 0.3, corners.shape)
    boxes = tf.constant(np.concatenate([corners, corners + sizes], -1), tf.float32)
    classes = tf.one_hot(random.integers(0, model.num_classes, (batch, OBJECTS)), model.num_classes)
    weights = tf.ones([batch, OBJECTS])
    optimizer, _ = optimizer_builder.build(train_config.optimizer)

    @tf.function
    def step(images: tf.Tensor, shapes: tf.Tensor) -> tf.Tensor:
        tf.keras.backend.set_learning_phase(True)
        model.provide_groundtruth(
            tf.unstack(boxes), tf.unstack(classes), groundtruth_weights_list=tf.unstack(weights)
        )
        with tf.GradientTape() as tape:
            losses = list(model.loss(model.predict(images, shapes), shapes).values())
            loss = tf.add_n([*losses, tf.add_n(model.regularization_losses())])
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        gradients, _ = tf.clip_by_global_norm(gradients, train_config.gradient_clipping_by_norm)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    return step


def main(tree: str, part: str, config: str) -> None:
    """Serve."""
    serve(_work(tree, part, config))


if __name__ == "__main__":
    main(*sys.argv[1:])
