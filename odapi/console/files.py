"""Writing files so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from odapi.console.terminal import is_obeyed

MOST_NAME_BYTES = 150
"""Of a file name made from one of somebody else's: file systems take 255, and some is added."""


def safe_name(text: str) -> str:
    """A file name, or the part of one, from a name in a file: it stays in its folder.

    Letters of all scripts stay; separators, what Windows forbids, and control characters become
    `_`, dots in front go, and what is beyond MOST_NAME_BYTES. Two texts may give the same name: the
    caller adds a number.
    """
    kept = "".join("_" if one in '/\\:*?"<>|' or is_obeyed(one) else one for one in text[:1000])
    encoded = kept.lstrip(". ").encode()[:MOST_NAME_BYTES]
    return encoded.decode(errors="ignore").rstrip(". ") or "_"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the path to write to instead; what is there in the end takes the place of `path`.

    Makes the folder if that is missing. After an exception `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    yield partial
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Replaces a file's content in one step, and makes its folder if that is missing."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def drop_steps_after(log: Path, step: int) -> None:
    """Drops lines of a JSON lines file whose "step" is higher, and what a kill left of a line.

    They would be there twice otherwise: a run that died after its last checkpoint repeats them.
    """
    if log.is_file():
        kept = [entry for entry in read_lines(log) if entry["step"] <= step]
        write_text(log, "".join(json.dumps(entry) + "\n" for entry in kept))


def read_lines(log: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, without what a kill left of a line; none of no file."""
    found = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        with suppress(ValueError):
            found.append(json.loads(line))
    return found
