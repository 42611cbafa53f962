"""Progress of a long run: a bar that moves on a terminal, spaced lines elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from odapi.console.terminal import raw, say, shown

SECONDS_BETWEEN_LINES = 10.0
SHARE_BETWEEN_LINES = 0.02


class Progress:
    """Decides when a status text is worth a line, and writes it to standard output."""

    def __init__(self, total: int, done: int = 0) -> None:
        """Args: total: number of units of work; done: units finished before this run."""
        self._total = total
        self._first = done
        self._terminal = sys.stdout.isatty()
        self._bar: tqdm | None = None
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

        On a terminal the text stands behind a bar. Elsewhere (a log file, a pipe) the first
        two and the last are written, and in between one every 10 s or every 2 % of the work,
        whichever comes later: neither a long run nor a fast one fills the log.
        """
        last = done >= self._total
        if self._terminal:
            self._show_bar(done, text)
            if last:
                self.close()
        elif last or self._due(done):
            say(text, flush=True)
            self._line_at, self._line_time = done, time.monotonic()
            self._lines += 1

    def _show_bar(self, done: int, text: str) -> None:
        if self._bar is None:
            # Speed and time left are in the text: the first unit, which starts things up, would
            # spoil tqdm's own.
            self._bar = tqdm(
                desc=shown(text),
                total=self._total,
                initial=self._first,
                bar_format="{percentage:3.0f}%|{bar:20}| {desc}",
                file=raw(sys.stdout),
                dynamic_ncols=True,
                miniters=1,
            )
        self._bar.set_description_str(shown(text), refresh=False)
        self._bar.update(done - self._bar.n)

    def _due(self, done: int) -> bool:
        if self._lines < 2:
            return True
        waited = time.monotonic() - self._line_time >= SECONDS_BETWEEN_LINES
        return waited and done - self._line_at >= SHARE_BETWEEN_LINES * self._total

    def make_room(self) -> None:
        """Takes the bar away until the next text, so that lines can be printed."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Leaves the bar as it is, for work that ended early."""
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """A time span as people say it: `8 s`, `5 min 10 s`, `2 h 3 min`."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
