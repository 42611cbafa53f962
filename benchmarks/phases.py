"""What `odapi train` does before its second step, with the seconds and the memory of each part.

    python -m benchmarks.phases PIPELINE_CONFIG MODEL_DIR OUTPUT

writes to OUTPUT a JSON list of [part, seconds, MB at its end], of a run of two steps.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.timing import memory


class Clock:
    """Notes what ends when, from the start of the process."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, float, int]] = []
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
        self._last = time.monotonic() - age

    def note(self, part: str) -> None:
        """What was done since the last note is `part`."""
        now = time.monotonic()
        self.parts.append((part, round(now - self._last, 2), memory()))
        self._last = now

    def around(self, owner: Any, name: str, before: str, part: str) -> None:
        """Has a function note what came before it, and itself, when it is first called."""
        function: Callable[..., Any] = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            setattr(owner, name, function)
            self.note(before)
            result = function(*args, **kwargs)
            self.note(part)
            return result

        setattr(owner, name, noted)


def main(config: str, model_dir: str, output: str) -> None:
    """Train two steps."""
    clock = Clock()
    from odapi import cli
    from odapi.console import runtime

    runtime.start()
    import tensorflow as tf

    clock.note("import TensorFlow")
    from object_detection import model_lib_v2
    from object_detection.training.trainer import Trainer

    clock.note("import the Object Detection API")
    model, variables = "build the model and the input", "make the model's variables, random"
    clock.around(model_lib_v2, "_ensure_model_is_built", model, variables)
    slots, graph = "start the input, make the optimizer's variables", "build the step's graph"
    clock.around(model_lib_v2, "eager_train_step", slots, graph)
    manager = tf.compat.v2.train.CheckpointManager
    clock.around(manager, "save", "end the graph", "save the checkpoint of step 0")
    steps = ["optimise the graph, take step 1", "take step 2"]
    step = Trainer.step

    def step_and_note(*args: Any) -> Any:
        losses = step(*args)
        clock.note(steps.pop(0))
        return losses

    Trainer.step = step_and_note
    paths = ["--config", config, "--model_dir", model_dir]
    if status := cli.main(["train", *paths, "--num_train_steps", "2"]):
        raise SystemExit(status)
    Path(output).write_text(json.dumps(clock.parts), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
