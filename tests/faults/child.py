"""Runs one command of the engine in a process of its own, and strikes at a chosen step.

A step is an operation that changes something on disk: Python reports each of them, just before it
happens, as an audit event. So the steps are those that the engine really takes, none can be
forgotten when the engine changes, and the engine itself holds no code for these tests.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import FunctionType

from patchqueue.cli import main
from patchqueue.project import Project
from tests.faults import mutations

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_REMOVALS = ("os.remove", "os.rmdir")
_SPACE = ("open", "os.mkdir", "os.rename", "os.link")


class Fault(StrEnum):
    """What happens at a step."""

    KILL = "killed before"
    TORN = "killed with the file still empty"
    NO_SPACE = "no space left"


class Trace:
    """The steps of a run: records them, or strikes at one of them."""

    def __init__(self, root: Path, strike: tuple[Fault, int] | None) -> None:
        self.steps: list[tuple[str, str]] = []
        """Event and what it is about, with names that change from run to run as ``*``."""
        self._root = str(root)
        self._strike = strike
        self._busy = False

    def hook(self, event: str, arguments: tuple) -> None:
        """Look at one audit event."""
        if self._busy or (about := self._about(event, arguments)) is None:
            return
        self.step(event, about, arguments)

    def step(self, event: str, about: str, arguments: tuple = ()) -> None:
        """Count a step, and strike if it is the one."""
        number = len(self.steps)
        self.steps.append((event, about))
        if self._strike is None or self._strike[1] != number:
            return
        self._busy = True
        fault = self._strike[0]
        if fault is Fault.NO_SPACE:
            self._busy = False
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))
        if fault is Fault.TORN:
            os.close(os.open(arguments[0], os.O_CREAT | os.O_TRUNC | os.O_WRONLY))
        os.kill(os.getpid(), signal.SIGKILL)

    def _about(self, event: str, arguments: tuple) -> str | None:
        if event == "subprocess.Popen":
            words = [str(word) for word in arguments[1]]
            options = {at + 1 for at, word in enumerate(words) if word == "-c"}
            plain = [w for at, w in enumerate(words[1:], 1) if at not in options and w != "-c"]
            return f"{Path(words[0]).name} {plain[0]}"
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, str | bytes | os.PathLike) or not flags & _WRITES:
                return None
            return self._inside(path)
        if event in ("os.rename", "os.link"):
            source, target = (self._inside(path) for path in arguments[:2])
            return f"{source} -> {target}" if source and target else None
        if event in _REMOVALS and arguments[1] != -1:
            return "inside a folder that goes"  # By a handle on its folder, as shutil.rmtree does.
        if event in (*_REMOVALS, "os.mkdir", "os.chmod", "os.truncate"):
            return self._inside(arguments[0])
        if event == "ctypes.dlsym":
            return f"before {arguments[1]}"
        return None

    def _inside(self, path: str | bytes | os.PathLike) -> str | None:
        name = os.fsdecode(path)
        if not name.startswith(self._root + "/"):
            return None
        name = name.removeprefix(self._root + "/")
        name = re.sub(r"(\.staging-)\w+", r"\1*", name)
        name = re.sub(r"\.\d+(\.patchqueue-tmp)$", r".*\1", name)
        return re.sub(r"(\.saved/)[^/]+", r"\1*", name)


def run(
    root: Path,
    arguments: list[str],
    log: Path,
    *,
    strike: tuple[Fault, int] | None = None,
    mutation: str | None = None,
    steps: Callable[[list[tuple[str, str]]], None] | None = None,
) -> None:
    """Run a command as a process's whole life; its output goes to ``log``."""
    file = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if mutation is not None:
        change: FunctionType = getattr(mutations, mutation)
        change()
    trace = Trace(root, strike)
    sys.addaudithook(trace.hook)
    try:
        code = int(main(Project.at(root), arguments))
    except SystemExit as error:
        code = int(error.code or 0)
    trace.step("end", "all done, before the process ends")
    sys.stdout.flush()
    if steps is not None:
        steps(trace.steps)
    os._exit(code)
