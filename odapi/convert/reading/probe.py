"""Reads an HDF5 file to its end in a process of its own, which may hang or crash.

libhdf5 is native code. On bytes that contradict each other it can go round for ever (seen: one byte
of an attribute's heap) or end the process, and nothing in Python can stop it. What this process has
read to the end, ours reads as well: the same bytes, by the same code.

    python -P -m odapi.convert.reading.probe FILE
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import h5py

from odapi.console.errors import UserError
from odapi.convert.reading import hdf5

SECONDS = 60
"""For a file of any size, and one more for each 20 MB: a disk's pace."""
_BYTES_A_SECOND = 20 << 20
_SPARE_MEMORY = 4 << 30
_ROWS = 1 << 22
_readable_files: dict[Path, tuple[int, int]] = {}
"""Files that were read to the end: their size and when they were changed."""


def require_readable(path: Path, display_name: str) -> None:
    """Reads a file elsewhere first, unless that was done.

    Args:
        path: of the file.
        display_name: its name in messages.

    Raises:
        UserError: the other process did not come to the end.
    """
    state = path.stat()
    key = (state.st_size, state.st_mtime_ns)
    if _readable_files.get(path.resolve()) == key:
        return
    seconds = SECONDS + state.st_size // _BYTES_A_SECOND
    try:
        ended = subprocess.run(
            # -P: or an h5py.py in the current folder, beside the model perhaps, would be imported.
            [sys.executable, "-P", "-m", "odapi.convert.reading.probe", path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
        ).returncode
    except subprocess.TimeoutExpired:
        raise _unreadable(display_name, f"was not at the end of it after {seconds} s") from None
    if ended:
        ending = f"signal {-ended}" if ended < 0 else f"exit code {ended}"
        raise _unreadable(display_name, f"ended with {ending} on it")
    _readable_files[path.resolve()] = key


def _unreadable(display_name: str, what: str) -> UserError:
    return UserError(
        f"the file is damaged: a process that read it {what}", at=display_name, hint="copy it again"
    )


def main(path: Path) -> None:
    """Reads structure, attributes and values; what is wrong with them is for the door to say."""
    memory = path.stat().st_size + _SPARE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        with hdf5.open_checked(path) as file:
            file.visititems(_read_all)
            _read_all("/", file)
    except UserError:
        return
    except Exception:  # whatever h5py raises: the door meets it too, and names it
        return


def _read_all(name: str, item: h5py.Group | h5py.Dataset) -> None:
    for key in item.attrs:
        item.attrs[key]
    if isinstance(item, h5py.Dataset) and item.shape:
        rows = max(1, _ROWS * item.shape[0] // max(1, item.size))
        for start in range(0, item.shape[0], rows):
            item[start : start + rows]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
