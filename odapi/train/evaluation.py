"""The hook that evaluates checkpoints as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from object_detection.training.hook import Hook

from odapi.train import workers
from odapi.train.monitor import Monitor
from odapi.train.signals import Signals

if TYPE_CHECKING:  # It loads pycocotools and matplotlib, which a run may not need.
    from odapi.train.validation import Validation


class Evaluation(Hook):
    """Has the chief evaluate, while other workers wait, and ends training with no better result."""

    def __init__(
        self,
        validation: Validation | None,
        team: workers.Workers,
        monitor: Monitor,
        signals: Signals,
    ) -> None:
        """Args: validation: None where this worker does not evaluate."""
        self._validation = validation
        self._team = team
        self._monitor = monitor
        self._signals = signals

    def after_save(self, path: str) -> None:
        """Evaluates the checkpoint if it is time to, unless a signal has ended training."""
        if self._signals.stopped_by:
            return
        ends = False
        validation, step = self._validation, self.trainer.saved_step
        if validation is not None:
            with self._monitor.paused(), self._signals.end_at_once():
                ends = self._team.on_this_worker(lambda: validation.checkpoint(step, path))
        if any(self._team.gather(ends)):
            self.trainer.stop()
