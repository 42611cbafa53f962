"""Sees what reading a file does besides: files written, programs run, code, time, memory."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_SECONDS = 60
"""Of computing, on all cores, for one input: no network here takes two."""
MAX_GROWTH = 2 << 20
"""Kilobytes by which the largest size of the process may grow with one input."""
_HANGS_AFTER = 300

_NEVER = {
    "ctypes.dlopen",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.system",
    "pickle.find_class",
    "pty.spawn",
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "urllib.Request",
}
_ON_PATHS = {
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
    "shutil.copyfile",
    "shutil.move",
    "shutil.rmtree",
}
_PROBE = [sys.executable, "-P", "-m", "odapi.convert.reading.probe"]
"""The one program that the door runs, which reads the file that follows."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Oracle:
    """What was seen.

    Attributes:
        canary: a folder that nothing may touch.
        effects: what was done that reading a file does not do.
        seen: inputs by kind and outcome.
        seconds: by kind.
    """

    canary: Path
    effects: list[str] = field(default_factory=list)
    seen: Counter = field(default_factory=Counter)
    seconds: Counter = field(default_factory=Counter)

    @contextlib.contextmanager
    def watching(self, kind: str) -> Iterator[None]:
        """Sees what the block does.

        Args:
            kind: of the input.

        Raises:
            AssertionError: it had an effect, or took too long, or too much memory.
        """
        before, size = listing(self.canary), _largest()
        start = time.process_time()
        faulthandler.dump_traceback_later(_HANGS_AFTER, exit=True)
        self.effects.clear()
        _watch(self)
        try:
            yield
        finally:
            _watch(None)
            faulthandler.cancel_dump_traceback_later()
            took = time.process_time() - start
            self.seconds[kind] += took
        assert not self.effects, self.effects
        assert listing(self.canary) == before, "the canary was touched"
        assert took < MAX_SECONDS, f"{took:.0f} s"
        assert _largest() - size < MAX_GROWTH, f"{_largest() - size:,} kB more"

    def event(self, name: str, arguments: tuple) -> None:
        """Takes note of an event of Python's audit hooks."""
        if name == "open":
            path, _, flags = arguments
            if isinstance(path, int):
                return
            path = os.fsdecode(path)
            if path.startswith(str(self.canary)) or (flags & _WRITING and not _own(path)):
                self.effects.append(f"{name} {path}")
        elif name in _ON_PATHS:
            path = _path(name, arguments)
            if not _own(path):
                self.effects.append(f"{name} {path}")
        elif name == "subprocess.Popen" and list(arguments[1][:-1]) == _PROBE:
            return
        elif name in _NEVER or (name == "marshal.loads" and not _importing()):
            self.effects.append(f"{name} {arguments!r:.200}")


_watching: Oracle | None = None


def _watch(oracle: Oracle | None) -> None:
    global _watching
    _watching = oracle


def _hook(name: str, arguments: tuple) -> None:
    if _watching is not None:
        _watching.event(name, arguments)


sys.addaudithook(_hook)  # for ever: Python has no way to take one back


def _path(name: str, arguments: tuple) -> str:
    """What an event changes."""
    if name in ("os.link", "os.rename", "os.symlink", "shutil.move"):
        return os.fsdecode(arguments[1])
    path = os.fsdecode(arguments[0])
    if name in ("os.remove", "os.rmdir") and arguments[1] != -1:  # relative to an open folder
        path = str(Path(f"/proc/self/fd/{arguments[1]}").readlink() / path)
    return path


def _own(path: str) -> bool:
    """Whether a path is where odapi unpacks weights, or where Python keeps what it compiled."""
    return f"{tempfile.gettempdir()}/odapi-weights-" in path or (
        "__pycache__" in path or path == os.devnull
    )


def _importing() -> bool:
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("importlib"):
            return True
        frame = frame.f_back
    return False


def _largest() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def listing(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, with the contents of its files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
