"""Writing files so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    if not log.is_file():
        return
    kept = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry["step"] <= step:
            kept.append(line + "\n")
    write_text(log, "".join(kept))


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder beside `path` that takes its place when the block ends well.

    Otherwise it disappears, and `path` is as it was.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        content = staging / "new"
        content.mkdir()
        yield content
        if path.exists():
            os.replace(path, staging / "old")
        try:
            os.replace(content, path)
        except OSError:
            if (staging / "old").exists():
                os.replace(staging / "old", path)
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
