"""The hook that shows what a run does, and writes it down."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from object_detection.training import trainable_variables
from object_detection.training.hook import Hook, Outcome
from object_detection.utils.nonfinite_steps import Recorder

from odapi.console.progress import Progress, duration
from odapi.console.terminal import say
from odapi.train.folder import LEARNING_RATE, TOTAL_LOSS
from odapi.train.plan import Plan


class Monitor(Hook):
    """Writes `train_log.jsonl`, and prints progress and the number of parameters.

    Attributes:
        seen: number of steps of this run so far.
    """

    def __init__(self, plan: Plan, log: Path, recorder: Recorder) -> None:
        """Args: log: a file to append to; recorder: which steps were not finite."""
        self._plan = plan
        self._log = log
        self._stream: Any = None
        self._recorder = recorder
        self._batch = plan.config.train_config.batch_size
        self._progress = Progress(plan.last_step, plan.first_step)
        self._seconds: list[float] = []
        self._clock = 0.0

    @property
    def seen(self) -> int:
        return len(self._seconds)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Holds the log open; the progress of a run that was cut short ends, too."""
        self._clock = time.monotonic()
        try:
            with self._log.open("a", encoding="utf-8") as self._stream:
                yield
        finally:
            self._progress.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """For work between two steps that prints lines, and counts as the time of neither."""
        self._progress.make_room()
        yield
        self._clock = time.monotonic()

    def after_step(self, outcome: Outcome) -> None:
        """Writes down and shows what the step did."""
        values = {name: float(value) for name, value in outcome.values.items()}
        now = time.monotonic()
        self._seconds.append(now - self._clock)
        self._clock = now
        rate = values.pop(LEARNING_RATE)
        entry = {
            "step": outcome.step,
            # JSON has no infinity.
            "losses": {
                name: value if math.isfinite(value) else None for name, value in values.items()
            },
            LEARNING_RATE: rate,
            "seconds": round(self._seconds[-1], 4),
        }
        self._stream.write(json.dumps(entry) + "\n")
        self._stream.flush()
        if self.seen == 1:
            self._progress.make_room()
            say(_parameters(self.trainer.model, self.trainer.config.train))
        self._progress.show(outcome.step, self._status(outcome.step, values[TOTAL_LOSS]))

    def _status(self, step: int, loss: float) -> str:
        text = f"step {step}/{self._plan.last_step}  loss {loss:.4g}"
        if self._recorder.records:
            text += f"  left out {steps_in_words(count_steps(self._recorder))}"
        if self.seen == 1:
            return f"{text}  start-up {duration(self._seconds[0])}, time left from the next step on"
        # The first step traces and compiles the graph, and may take a minute.
        typical = statistics.median(self._seconds[1:][-100:])
        left = duration(typical * (self._plan.last_step - step))
        return f"{text}  {self._batch / typical:.1f} images/s  time left {left}"


def count_steps(recorder: Recorder) -> int:
    """Number of steps that were not finite; with several replicas one has several records."""
    return len({record["step"] for record in recorder.records})


def steps_in_words(number: int) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {'step' if number == 1 else 'steps'}"


def _parameters(model: Any, train_config: Any) -> str:
    def count(variables: Any) -> int:
        return sum(math.prod(variable.shape) for variable in variables)

    trainable = model.trainable_variables
    trained = count(trainable_variables.select(trainable, train_config))
    text = f"{count(model.variables):,} parameters, {trained:,} of them trained"
    frozen = count(trainable) - trained
    return f"{text}, {frozen:,} frozen by train_config" if frozen else text
