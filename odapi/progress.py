"""Progress of a long run: one line that rewrites itself on a terminal, spaced lines elsewhere."""

from __future__ import annotations

import sys
import time

SECONDS_BETWEEN_LINES = 10.0
SHARE_BETWEEN_LINES = 0.02


class Progress:
    """Decides when a status text is worth a line, and writes it to standard output."""

    def __init__(self, total: int, done: int = 0) -> None:
        """Args: total: number of units of work; done: units finished before this run."""
        self._total = total
        self._terminal = sys.stdout.isatty()
        self._line_at = done
        self._line_time = 0.0
        self._lines = 0
        self._first_done = 0.0

    def show_images(self, done: int, decimals: int = 1) -> None:
        """Shows that `done` images are done, from the second on with speed and time left.

        What has to start, readers, a model or processes, falls to the first: it tells no speed.

        Args:
            decimals: of the speed.
        """
        text = f"image {done}/{self._total}"
        if done == 1:
            self._first_done = time.monotonic()
        else:
            rate = (done - 1) / (time.monotonic() - self._first_done)
            left = duration((self._total - done) / rate)
            text += f"  {rate:.{decimals}f} images/s  time left {left}"
        self.show(done, text)

    def show(self, done: int, text: str) -> None:
        """Shows the status after `done` units.

        On a terminal every text replaces the one before. Elsewhere (a log file, a pipe) the first
        two and the last are written, and in between one every 10 s or every 2 % of the work,
        whichever comes later: neither a long run nor a fast one fills the log.
        """
        last = done >= self._total
        if self._terminal:
            print(f"\r{text}\x1b[K", end="\n" if last else "", flush=True)
        elif last or self._due(done):
            print(text, flush=True)
            self._line_at, self._line_time = done, time.monotonic()
            self._lines += 1

    def _due(self, done: int) -> bool:
        if self._lines < 2:
            return True
        waited = time.monotonic() - self._line_time >= SECONDS_BETWEEN_LINES
        return waited and done - self._line_at >= SHARE_BETWEEN_LINES * self._total

    def interrupt(self) -> None:
        """Ends a half-written terminal line, so that what follows starts on its own line."""
        if self._terminal:
            print(flush=True)


def duration(seconds: float) -> str:
    """A time span as people say it: `8 s`, `5 min 10 s`, `2 h 3 min`."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
