"""File operations that leave the old state or the new one, whenever they are interrupted."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchqueue.errors import ExitCode, QueueError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_held: list[int] = []
_TEMPORARY = ".patchqueue-tmp"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under another name, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def staging_beside(target: Path) -> Iterator[Path]:
    """Make an empty folder on the file system of ``target``; delete what is left of it after."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=_staging_prefix(target), dir=target.parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def swap_into_place(new: Path, target: Path, keep: Path | None = None) -> None:
    """Put folder ``new`` where ``target`` is, and delete the old ``target`` or move it to ``keep``.

    With ``keep`` there is a moment without a target; the old one is never where ``recover`` would
    delete it. Without, a reader sees the old folder or the new one. Where the kernel or the file
    system cannot exchange two names in one step, the old folder rests beside it between two
    renames; ``recover`` finishes or undoes what was interrupted there, and deletes what could not
    be deleted here: the new folder being in place, that is no reason to report a failure.
    """
    if keep is not None:
        target.rename(keep)
        new.rename(target)
    elif not target.exists():
        new.rename(target)
    elif _exchange(new, target):
        shutil.rmtree(new, ignore_errors=True)
    else:
        previous = _previous(target)
        target.rename(previous)
        new.rename(target)
        shutil.rmtree(previous, ignore_errors=True)


def recover(target: Path) -> bool:
    """Clear what dead runs left beside ``target``; return whether there was anything.

    Call it under the lock only: whatever is found then belongs to nobody.
    """
    previous = _previous(target)
    found = previous.exists()
    if found and not target.exists():
        previous.rename(target)
    elif found:
        shutil.rmtree(previous)
    if target.parent.is_dir():
        for leftover in target.parent.glob(_staging_prefix(target) + "*"):
            found = True
            shutil.rmtree(leftover)
    return found


def clear_temporary(folder: Path) -> bool:
    """Delete what killed runs of ``write_atomic`` left in a folder; return whether there was any.

    Call it under the lock only.
    """
    leftovers = list(folder.glob(f".*{_TEMPORARY}"))
    for leftover in leftovers:
        leftover.unlink()
    return bool(leftovers)


@contextmanager
def exclusive(mutex: Path, *, wait: bool) -> Iterator[None]:
    """Hold the advisory lock on a file; the kernel drops it when the process dies.

    Raises:
      QueueError: exit code 5 if another process holds it and ``wait`` is false.
    """
    mutex.parent.mkdir(parents=True, exist_ok=True)
    with mutex.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise QueueError(
                ExitCode.LOCKED,
                "another run is at work on this tree",
                at=str(mutex),
                hint="wait for it to end, or give --wait",
            ) from error
        with _handed_down(file.fileno()):
            yield


@contextmanager
def _handed_down(lock: int) -> Iterator[None]:
    """Let the programs that are started meanwhile hold the lock, too.

    A git that outlives a killed run goes on writing; the next run has to wait for its end.
    """
    _held.append(lock)
    try:
        yield
    finally:
        _held.remove(lock)


def held_locks() -> tuple[int, ...]:
    """Return the file descriptors that a child process has to inherit."""
    return tuple(_held)


def _staging_prefix(target: Path) -> str:
    return f".{target.name}.staging-"


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; return False where that is not supported."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    renameat2.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    ]
    names = os.fsencode(first), os.fsencode(second)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(second))
