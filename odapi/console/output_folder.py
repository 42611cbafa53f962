"""Where commands write: what may be replaced, and how, whatever the folder is.

A folder that is written as a whole is written beside its place and then renamed, so that the old
content or the new is there. What cannot be renamed stays, and its entries are: a mount point, as
`docker -v` makes it, a folder in one that takes no new folders, and the current folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from odapi.console.arguments import require_folder
from odapi.console.errors import UserError

FLAG = "--output_dir"
NAMED = 3
"""So many of the files that would be lost are named."""
_LOST_AND_FOUND = "lost+found"
_MOUNTS = Path("/proc/self/mountinfo")
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV)


def check(
    folder: Path,
    *,
    force: bool,
    kind: str,
    foreign: Callable[[Path], Sequence[str]],
) -> None:
    """Checks that a folder may be written as a whole.

    Args:
        folder: the folder to be.
        force: its content may go.
        kind: what writes it, for the message: "import".
        foreign: gives the names in the folder, which is not empty, that no earlier run wrote. They
            are not replaced even with `force`.

    Raises:
        UserError: it is a file, or holds what must not be replaced.
    """
    require_folder(folder, FLAG)
    if not folder.is_dir() or not content(folder):
        return
    names = list(foreign(folder))
    if not force:
        way = "take another one" if names else "take another one, or replace it with --force"
        raise UserError("the output directory is not empty", at=f"{FLAG} {folder}", hint=way)
    if names:
        raise UserError(
            f"replacing the output directory would remove {', '.join(names[:NAMED])}, "
            f"which no {kind} wrote",
            at=f"{FLAG} {folder}",
            hint="take another one, or move them",
        )


def content(folder: Path) -> list[Path]:
    """What is in a folder, by name; not what a killed run, or the file system of a disk, left."""
    ignored = {_staging(folder, in_place=True).name}
    if _is_mount(folder):
        ignored.add(_LOST_AND_FOUND)
    return sorted(entry for entry in folder.iterdir() if entry.name not in ignored)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Gives an empty folder whose content is that of `folder` when the block ends well.

    Otherwise it disappears, and `folder` is as it was. What a killed run left is removed first.

    Raises:
        UserError: `folder` cannot be replaced, another run is writing to it, or the disk is full
            or read-only.
    """
    # A link stays; what it leads to is replaced.
    folder = folder.resolve()
    in_place = _stays(folder)
    staging = _staging(folder, in_place)
    new, old = staging / "new", staging / "old"
    with _own(staging, folder):
        with _explained(folder, _DISK):
            if old.is_dir() and not folder.exists():
                os.replace(old, folder)  # A run was killed between the two renames.
            for left in (new, old):
                shutil.rmtree(left, ignore_errors=True)
            new.mkdir()
            yield new
        with _explained(folder, _DISK + _REFUSALS):
            if in_place:
                _exchange_entries(new, folder, old)
            else:
                _exchange(new, folder, old)


def empty(folder: Path) -> None:
    """Makes a folder, or removes all that is in it.

    Raises:
        UserError: something cannot be removed, or nothing can be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for entry in content(folder):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        _try(folder)
    except OSError as error:
        raise _refused(error, folder) from None


@contextmanager
def keeping(*folders: Path) -> Iterator[None]:
    """For a block that writes single files into folders, which keep what else they hold.

    They are made if they are missing, and tried: what takes an hour does not fail at its end.

    Raises:
        UserError: nothing can be written there, or no longer.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _try(folder)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise
            raise _refused(error, folder) from None
    with _explained(folders[0], _DISK):
        yield


def _try(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def _own(staging: Path, folder: Path) -> Iterator[None]:
    """Makes a folder that is this process's alone while the block runs, and removes it.

    The system lets go of it when the process ends, however it ends.

    Raises:
        UserError: it cannot be made, or another process has it.
    """
    try:
        staging.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(staging, os.O_RDONLY)
    except OSError as error:
        raise _refused(error, staging.parent) from None
    try:
        if not _locked(descriptor, staging):
            raise UserError(
                "another run is writing to the output directory",
                at=f"{FLAG} {folder}",
                hint="wait for its end, or take another one",
            )
        try:
            yield
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, staging: Path) -> bool:
    """Locks an open folder, and says whether it is still the one that has the name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # A file system without locks.
    try:
        return os.path.samestat(os.fstat(descriptor), staging.stat())
    except FileNotFoundError:
        return False


def _stays(folder: Path) -> bool:
    """Whether a folder is there that cannot be renamed, or should not be."""
    if not folder.is_dir():
        return False
    # A shell whose folder is replaced shows an empty one.
    current = folder.samefile(os.curdir)
    return current or _is_mount(folder) or not os.access(folder.parent, os.W_OK)


def _is_mount(folder: Path) -> bool:
    """Also a folder of the same file system, of which `Path.is_mount` does not see it."""
    if folder.is_mount():
        return True
    try:
        mounts = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return False
    return os.fsencode(folder.resolve()) in (_unescaped(mount.split()[4]) for mount in mounts)


def _unescaped(path: bytes) -> bytes:
    """A path of the list of mounts, where a space is written as backslash and 040."""
    return re.sub(rb"\\(\d{3})", lambda code: bytes([int(code[1], 8)]), path)


def _staging(folder: Path, in_place: bool) -> Path:
    """Where the new content is made: on the file system of the old."""
    return folder / ".odapi.partial" if in_place else folder.with_name(f".{folder.name}.partial")


def _exchange(new: Path, folder: Path, old: Path) -> None:
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(new, folder)
    finally:
        # Whatever came between the two, a signal as well as a full disk.
        if old.exists() and not folder.exists():
            os.replace(old, folder)


def _exchange_entries(new: Path, folder: Path, old: Path) -> None:
    """As `_exchange`, entry by entry; after a failure all of the old ones are back."""
    old.mkdir()
    names = [entry.name for entry in new.iterdir()]
    try:
        for entry in content(folder):
            os.replace(entry, old / entry.name)
        for name in names:
            os.replace(new / name, folder / name)
    except BaseException:
        for name in names:
            if not os.path.lexists(new / name):
                os.replace(folder / name, new / name)
        for entry in old.iterdir():
            os.replace(entry, folder / entry.name)
        raise


@contextmanager
def _explained(folder: Path, numbers: Sequence[int]) -> Iterator[None]:
    """Makes a UserError of what the system says of the disk that a folder is on."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise
        raise _refused(error, folder) from None
    except Exception as error:
        # TensorFlow's errors have the system's words; nothing else may load it.
        words = [os.strerror(number) for number in numbers if os.strerror(number) in str(error)]
        if not words or not type(error).__module__.startswith("tensorflow."):
            raise
        raise _refused(OSError(0, words[0]), folder) from None


def _refused(error: OSError, folder: Path) -> UserError:
    return UserError(
        f"nothing can be written: {error.strerror or error}",
        at=str(error.filename or folder),
        hint="make room, or name another folder"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "name a folder that can be written to",
    )
