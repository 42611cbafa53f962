"""Runs a program of the patched tree as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# What importing the package set for this process; a program has to do without.
_SET_BY_THE_PACKAGE = ("TF_USE_LEGACY_KERAS", "ODAPI_TF_BEHAVIOR")


def run_program(
    program: Path, *arguments: object, folder: Path | None = None, behavior: str | None = None
) -> str:
    """Runs a Python program and returns what it wrote, standard output first.

    Fails the test when the program does not exit with 0.

    Args:
        folder: where it runs; by default here.
        behavior: `ODAPI_TF_BEHAVIOR`, if it is to be set.
    """
    environment = {key: os.environ[key] for key in os.environ if key not in _SET_BY_THE_PACKAGE}
    if behavior:
        environment["ODAPI_TF_BEHAVIOR"] = behavior
    done = subprocess.run(
        [sys.executable, str(program), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{program} exited with {done.returncode}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr
