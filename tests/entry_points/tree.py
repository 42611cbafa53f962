"""Upstream's scripts, run as a user runs them: a process, a script's path, flags."""

from __future__ import annotations

from pathlib import Path

import object_detection

from tests.small.process import run_program

TREE = Path(object_detection.__file__).parent


def run_script(script: str, folder: Path, **flags: object) -> str:
    """Runs `TREE / script` in `folder` and returns what it wrote, standard output first.

    Fails the test when the script does not exit with 0. A flag whose value is a `bool` becomes
    `--name` or `--noname`, any other one `--name=value`.
    """
    return run_program(TREE / script, *(_flag(*item) for item in flags.items()), folder=folder)


def _flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value}"
