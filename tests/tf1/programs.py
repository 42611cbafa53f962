"""Runs the programs of the TF1 training path, and reads what they write."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import object_detection  # (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf

from tests.small.process import run_program

TREE = Path(object_detection.__file__).parent
DETECT = Path(__file__).with_name("detect_from_checkpoint.py")


def run(program: Path, *arguments: object, behavior: str | None = "1") -> str:
    """Runs a Python program in TF1 behaviour, and returns what it logged."""
    return run_program(program, *arguments, behavior=behavior)


def losses(log: str) -> list[float]:
    """The loss of every step that legacy/train.py logged, once each."""
    steps = dict(re.findall(r"global step (\d+): loss = (\S+)", log))
    return [float(loss) for loss in steps.values()]


def summaries(folder: Path) -> dict[str, float]:
    """The scalars in the event files of a folder."""
    values = {}
    for path in folder.glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
                if value.HasField("simple_value"):
                    values[value.tag] = value.simple_value
    return values


def evaluate(
    config: Path, train_dir: Path, behavior: str | None = "1"
) -> tuple[str, dict[str, float]]:
    """Evaluates the last checkpoint with legacy/eval.py; returns its log and its scalars."""
    folder = config.parent / "eval"
    log = run(
        TREE / "legacy" / "eval.py",
        "--logtostderr",
        "--run_once",
        f"--checkpoint_dir={train_dir}",
        f"--eval_dir={folder}",
        f"--pipeline_config_path={config}",
        behavior=behavior,
    )
    return log, summaries(folder)


def detect_with_frozen_graph(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """Runs a frozen_inference_graph.pb as its users do, by the names of its tensors."""
    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    names = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(definition, name="")
        return session.run(
            {name: f"{name}:0" for name in names}, {"image_tensor:0": image[np.newaxis]}
        )


def assert_frozen_graph_detects_as_the_checkpoint(
    frozen: Path, config: Path, checkpoint: Path, image: np.ndarray, scratch: Path
) -> None:
    """Compares the detections of a frozen graph and of a detector built without the exporter."""
    np.save(scratch / "image.npy", image)
    run(DETECT, config, checkpoint, scratch / "image.npy", scratch / "expected.npz")
    found = detect_with_frozen_graph(frozen, image)
    with np.load(scratch / "expected.npz") as expected:
        assert expected["num_detections"][0] > 0
        for name in expected.files:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
