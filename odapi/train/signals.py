"""The hook that ends a run, with a checkpoint, when a signal asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from object_detection.training.hook import Hook, Outcome

from odapi.console import termination
from odapi.train import workers


class Signals(Hook):
    """Ends training after the step under way at the first SIGTERM or SIGINT.

    All workers end after the same step, whichever of them it was sent to: one alone would leave
    the others waiting.

    Attributes:
        stopped_by: the number of the signal that ended training; 0: none did.
    """

    def __init__(self, team: workers.Workers) -> None:
        self._team = team
        self._asked = 0
        self._ends_at_once = True  # During the first step, which may take a minute.
        self.stopped_by = 0

    @contextmanager
    def scope(self) -> Iterator[None]:
        with termination.first_signal_calls(self._ask):
            yield

    def after_step(self, outcome: Outcome) -> None:
        self._ends_at_once = False
        if self.agree():
            self.trainer.stop()

    def agree(self) -> int:
        """Tells the other workers of a signal that came, and is told of theirs.

        Returns:
            `stopped_by`.
        """
        self.stopped_by = max(self._team.gather(self._asked))
        return self.stopped_by

    @contextmanager
    def end_at_once(self) -> Iterator[None]:
        """For work with which nothing is lost: a signal interrupts it.

        Not with several workers: the others wait for the end of that work.
        """
        self._ends_at_once = self._team.count == 1
        yield
        self._ends_at_once = False

    def _ask(self, number: int) -> bool:
        if self._ends_at_once:
            return False
        self._asked = number
        return True
