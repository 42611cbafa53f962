"""Several workers, as processes on this machine, and several devices: they train as one does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from odapi import cli
from tests.small.scenes import make_scene
from tests.small.training import variables

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

ROOT = Path(__file__).parents[3]
PROCESS = Path(__file__).with_name("training_process.py")
STEPS = 4
"""Of the runs that are compared; the workers go on."""

COMPARABLE = """
model {{
  ssd {{
    freeze_batchnorm: true
    box_predictor {{ convolutional_box_predictor {{ dropout_keep_probability: 1 }} }}
  }}
}}
train_config {{
  fine_tune_checkpoint: "{start}"
  fine_tune_checkpoint_type: "full"
  fine_tune_checkpoint_version: V2
  optimizer {{
    momentum_optimizer {{
      learning_rate {{ constant_learning_rate {{ learning_rate: 0.001 }} }}
      momentum_optimizer_value: 0.5
    }}
  }}
}}
train_input_reader {{ shuffle: false }}
"""
"""What a step does depends on which images its batch has, and on nothing else.

Statistics of batches, for one, are of each replica's own images.
"""


def write_alike(path: Path, seeds: Iterable[int]) -> Path:
    """Writes records of images that differ in all but their boxes.

    Losses are divided by the number of matches, of each replica's own images: it has to be the
    same for all.
    """
    from tests.small.records import scene_features, write_records

    alike = make_scene(0)
    scenes = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        image = alike.image * random.uniform(0.3, 1.0, alike.image.shape)
        labels = random.integers(1, 3, len(alike.labels)).tolist()
        scenes.append(
            replace(alike, image=image.astype(np.uint8), labels=labels, source_id=str(seed))
        )
    return write_records(path, map(scene_features, scenes))


def arguments(config: Path, model_dir: Path, steps: int, start: str, *more: str) -> list[str]:
    return [
        f"--pipeline_config_path={config}",
        f"--model_dir={model_dir}",
        f"--num_train_steps={steps}",
        "--checkpoint_every_n=2",
        "--checkpoint_max_to_keep=10000",
        f"--config_override={COMPARABLE.format(start=start)}",
        *more,
    ]


class Process:
    """A Python program in a process of its own."""

    def __init__(self, folder: Path, command: list[object], cluster: dict | None = None):
        self.kept = folder / "kept"
        self._files = folder / "out", folder / "err"
        folder.mkdir(parents=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if cluster:
            environment["TF_CONFIG"] = json.dumps(cluster)
        with self._files[0].open("w") as out, self._files[1].open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, command)], env=environment, stdout=out, stderr=err
            )

    @classmethod
    def training(cls, folder: Path, kind: str, args: list[str], cluster: dict | None = None):
        """`odapi train`; `kept` has its checkpoints."""
        return cls(folder, [PROCESS, kind, folder / "kept", *args], cluster)

    @property
    def out(self) -> str:
        return self._files[0].read_text()

    @property
    def err(self) -> str:
        return self._files[1].read_text()

    def code(self) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(timeout=600)


def two_workers() -> list[dict]:
    """What TF_CONFIG is for each."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("localhost", 0))
        other.bind(("localhost", 0))
        addresses = [f"localhost:{port.getsockname()[1]}" for port in (one, other)]
    return [
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        for index in range(2)
    ]


def start_workers(folder: Path, args: list[str]) -> list[Process]:
    return [
        Process.training(folder / f"worker_{index}", "worker", [*args, "--num_workers=2"], cluster)
        for index, cluster in enumerate(two_workers())
    ]


def steps_in(model_dir: Path) -> list[int]:
    """Those of train_log.jsonl."""
    log = model_dir / "train_log.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def wait_for_step(model_dir: Path, step: int, processes: list[Process]) -> None:
    deadline = time.monotonic() + 600
    while not any(found >= step for found in steps_in(model_dir)):
        alive = all(process.process.poll() is None for process in processes)
        assert alive and time.monotonic() < deadline, [process.err for process in processes]
        time.sleep(0.2)


def losses(model_dir: Path) -> np.ndarray:
    """The losses of the first steps, [STEPS, kinds of losses]."""
    lines = (model_dir / "train_log.jsonl").read_text().splitlines()[:STEPS]
    return np.array([list(json.loads(line)["losses"].values()) for line in lines])


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The largest difference between the values of variables."""
    assert one.keys() == other.keys()
    return max(float(np.abs(one[key] - other[key]).max()) for key in one)


@dataclass(frozen=True)
class Runs:
    """What the module's runs left behind.

    Attributes:
        start: the checkpoint that all of them start from.
        one: model_dir of a run in one process.
        workers: model_dir of two workers, who were started three times: SIGTERM ended the first
            run, a kill of the second worker the second run, the last step the third one.
        sessions: their processes each time.
        codes: their exit codes each time.
        last: the last step in the log after each.
        devices: the process of a run on two devices.
        devices_dir: its model_dir.
    """

    start: str
    one: Path
    workers: Path
    sessions: list[list[Process]]
    codes: list[list[int]]
    last: list[int]
    devices: Process
    devices_dir: Path


@pytest.fixture(scope="module")
def runs(project, trained, tmp_path_factory) -> Runs:
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("runs")
    start = tf.train.latest_checkpoint(str(trained))
    one, many, devices_dir = folder / "one", folder / "many", folder / "devices"
    records = write_alike(folder / "train.record", range(16))
    config = project.variant("workers", train_records=records)
    started = []
    codes, last = [], []

    def session(steps: int) -> list[Process]:
        args = arguments(config, many, steps, start)
        started.extend(start_workers(folder / f"session_{len(codes)}", args))
        return started[-2:]

    def end() -> None:
        codes.append([process.code() for process in started[-2:]])
        last.append(max(steps_in(many), default=0))

    args = arguments(config, devices_dir, STEPS, start)
    devices = Process.training(folder / "process", "devices", args)
    try:
        first = session(100_000)
        assert cli.main(["train", *arguments(config, one, STEPS, start)]) == 0
        wait_for_step(many, STEPS + 1, first)
        first[1].process.send_signal(signal.SIGTERM)
        end()

        second = session(100_000)
        wait_for_step(many, last[0] + 5, second)
        second[1].process.kill()
        end()

        third = session(last[1] + 3)
        end()
        assert devices.code() == 0, devices.err
    finally:
        for process in [devices, *started]:
            process.process.kill()
    return Runs(start, one, many, [first, second, third], codes, last, devices, devices_dir)


class TestTwoWorkers:
    def test_both_start_from_the_checkpoint(self, runs):
        expected = variables(Path(runs.start))
        for process in runs.sessions[0]:
            found = variables(process.kept / "ckpt-1")
            assert distance(found, expected) == 0

    def test_their_variables_stay_the_same(self, runs):
        chief, other = (variables(process.kept / "ckpt-3") for process in runs.sessions[0])
        assert distance(chief, other) == 0
        assert distance(chief, variables(Path(runs.start))) > 1e-4, "nothing was trained"

    def test_they_train_as_one_process_does(self, runs):
        found = variables(runs.sessions[0][0].kept / "ckpt-3")
        assert distance(found, variables(runs.one / "ckpt-3")) < 1e-7
        np.testing.assert_allclose(losses(runs.workers), losses(runs.one), rtol=1e-4)

    def test_other_images_for_one_of_them_would_show(self, runs, project, tmp_path):
        """The second of each two images, which are one worker's, in another order."""
        seeds = list(range(16))
        seeds[1::2] = seeds[1::2][::-1]
        records = write_alike(tmp_path / "train.record", seeds)
        config = project.variant("other", train_records=records)
        assert cli.main(["train", *arguments(config, tmp_path / "o", STEPS, runs.start)]) == 0
        other = variables(tmp_path / "o/ckpt-3")
        assert distance(other, variables(runs.one / "ckpt-3")) > 1e-6

    def test_only_the_chief_prints_and_writes(self, runs):
        chief, other = runs.sessions[0]
        assert "2 of them for each of 2 replicas" in chief.out
        assert f"step {STEPS}/" in chief.out or "step 2/" in chief.out
        assert other.out.startswith("worker 1 of localhost:")
        assert len(other.out.splitlines()) == 1
        assert steps_in(runs.workers) == list(range(1, runs.last[2] + 1)), "each step once"
        names = {entry.name for entry in runs.workers.iterdir() if "ckpt-" not in entry.name}
        assert names == {"checkpoint", "train", "train_log.jsonl"}
        assert all(entry.is_file() for entry in (runs.workers / "train").iterdir())

    def test_sigterm_to_one_ends_both_after_the_same_step(self, runs):
        assert runs.codes[0] == [143, 143]
        chief, other = runs.sessions[0]
        assert chief.err.splitlines()[-1] == other.err.splitlines()[-1] == "ended by SIGTERM"
        assert f"checkpoint of step {runs.last[0]}:" in chief.out
        # Both resumed from there.
        assert f"resuming from step {runs.last[0]}:" in runs.sessions[1][0].out

    def test_a_kill_of_one_ends_the_other_with_an_error(self, runs):
        chief = runs.sessions[1][0]
        assert runs.codes[1] == [1, -signal.SIGKILL]
        assert "error: another worker is gone" in chief.err
        assert "at: worker 1, localhost:" in chief.err
        assert "Traceback" not in chief.err

    def test_started_again_they_go_on_to_the_end(self, runs):
        assert runs.codes[2] == [0, 0]
        resumed = int(runs.sessions[2][0].out.split("resuming from step ")[1].split(":")[0])
        assert runs.last[1] - 2 <= resumed <= runs.last[1]
        assert f"checkpoint of step {runs.last[1] + 3}:" in runs.sessions[2][0].out
        chief, other = (max(process.kept.glob("*.index"), key=lambda path: path.stat().st_mtime)
                        for process in runs.sessions[2])  # fmt: skip
        assert chief.name == other.name
        assert distance(variables(chief.with_suffix("")), variables(other.with_suffix(""))) == 0


PROGRAM = """
import sys
import object_detection
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
from object_detection import inputs
from object_detection.utils import nonfinite_steps

folder, index, bad = sys.argv[1], strategy.cluster_resolver.task_id, int(sys.argv[2])
recorder = nonfinite_steps.Recorder(f"{folder}/{index}")
with strategy.scope():
    weight, step = tf.Variable([1.0, 4.0]), tf.Variable(0, dtype=tf.int64)
    optimizer = tf.keras.optimizers.SGD(0.1)
    checkpoint = tf.train.Checkpoint(step=step, weight=weight)

def replica_step():
    x = tf.where(tf.logical_and(tf.equal(step, bad), index == 1), float("inf"), 1.0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weight * x)
    gradients = tape.gradient(loss, [weight])
    finite = nonfinite_steps.are_finite(gradients)
    on_nonfinite = recorder.for_batch(step, {inputs.HASH_KEY: tf.constant([7 + index])}, {})
    nonfinite_steps.call_unless(finite, lambda: on_nonfinite({"Loss/a": loss}, finite))
    nonfinite_steps.apply_gradients_if(finite, optimizer, gradients, [weight])
    step.assign_add(1)

train_step = tf.function(lambda: strategy.run(replica_step))
try:
    for _ in range(3):
        train_step()
        recorder.raise_if_any_stopped(strategy, checkpoint)
    print("went on", [round(float(value), 3) for value in weight.numpy()])
except nonfinite_steps.NonfiniteStepError as error:
    kept = tf.train.load_checkpoint(error.folder + "/variables")
    print(error.record["step"], error.record["nonfinite"], error.record["images"],
          [round(float(value), 3)
           for value in kept.get_tensor("weight/.ATTRIBUTES/VARIABLE_VALUE")])
"""


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (1, ["2 [] [] [0.8, 3.8]\n", "2 ['Loss/a'] [8] [0.8, 3.8]\n"]),
        (9, ["went on [0.4, 3.4]\n"] * 2),
    ],
)
def test_a_step_that_is_not_finite_for_one_worker_ends_both(tmp_path, bad, expected):
    commands = [["-c", PROGRAM, tmp_path, str(bad)]] * 2
    processes = [
        Process(tmp_path / f"worker_{index}", command, cluster)
        for index, (command, cluster) in enumerate(zip(commands, two_workers(), strict=True))
    ]
    assert [process.code() for process in processes] == [0, 0], processes[1].err
    assert [process.out for process in processes] == expected


def test_two_devices_train_as_one_does(runs):
    found = variables(runs.devices.kept / "ckpt-3")
    assert distance(found, variables(runs.one / "ckpt-3")) < 1e-7
    np.testing.assert_allclose(losses(runs.devices_dir), losses(runs.one), rtol=1e-4)
    assert distance(variables(runs.devices.kept / "ckpt-1"), variables(Path(runs.start))) == 0
