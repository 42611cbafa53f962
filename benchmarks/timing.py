"""Times what takes turns in one process, and whole commands."""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
RUNS = 7
"""Of each side, or fewer, but three, so that one measurement ends in about LONGEST."""
LONGEST = 20.0
"""Seconds."""
Figures = dict[str, Any]


def alternate(*sides: Callable[[], object]) -> list[float]:
    """Median seconds of each side, after one run that is not counted."""
    times: list[list[float]] = [[] for _ in sides]
    for side in sides:
        side()
    began = time.perf_counter()
    for run in range(RUNS):
        for side, seconds in zip(sides, times, strict=True):
            start = time.perf_counter()
            side()
            seconds.append(time.perf_counter() - start)
        if run >= 2 and time.perf_counter() - began > LONGEST:
            break
    return [round(statistics.median(seconds), 4) for seconds in times]


def in_folder(measure: Callable[[Path], Figures]) -> Callable[[], Figures]:
    """Gives a measurement an empty folder, and removes it afterwards."""

    @functools.wraps(measure)
    def measure_there() -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            return measure(Path(folder))

    return measure_there


def run_command(*command: object) -> Figures:
    """Seconds, seconds of CPU and peak memory of a command, run from the project's root."""
    # A file, because a full pipe would stop the command.
    with tempfile.TemporaryFile("w+") as output:
        return _watch([str(word) for word in command], output)


def _watch(command: list[str], output: IO[str]) -> Figures:
    began, before = time.monotonic(), os.times()
    process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    peak = 0
    while process.poll() is None:
        # Its own peak: what wait4 tells is at least the memory of the process that started it.
        peak = max(peak, peak_memory(process.pid))
        time.sleep(0.05)
    if process.returncode:
        output.seek(0)
        raise SystemExit(f"error: {' '.join(command)}: {output.read()}")
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    return {
        "seconds": round(time.monotonic() - began, 1),
        "CPU seconds": round(cpu, 1),
        "peak MB": peak,
    }


def peak_memory(process: int | str = "self") -> int:
    """The most MB that a process has had in memory; 0 if it has ended."""
    return _status(process, "VmHWM")


def memory() -> int:
    """The MB that this process has in memory."""
    return _status("self", "VmRSS")


def _status(process: int | str, name: str) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return sum(
        round(int(line.split()[1]) * 1024 / 1e6) for line in lines if line.startswith(f"{name}:")
    )


class Worker:
    """A module in a process of its own, that does one piece of work for each line it is sent."""

    def __init__(self, process: subprocess.Popen[str], log: IO[str]) -> None:
        self._process = process
        self._log = log

    @property
    def peak_memory(self) -> int:
        """The most MB that the process has had in memory."""
        return peak_memory(self._process.pid)

    def __call__(self) -> None:
        """Has it done once, and waits until it is."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write("once\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        if not self._process.stdout.readline():
            self._process.wait()
            self._log.seek(0)
            raise SystemExit(f"error: {self._process.args}: {self._log.read()[-3000:]}")


@contextmanager
def worker(*command: object) -> Iterator[Worker]:
    """Starts `python COMMAND` from the project's root, which calls `serve`; ends it at the end."""
    words = [sys.executable, *(str(word) for word in command)]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield Worker(process, log)
        finally:
            process.kill()


def serve(work: Callable[[], object]) -> None:
    """Does a piece of work for each line of standard input, and answers it."""
    for _ in sys.stdin:
        work()
        print("done", flush=True)
