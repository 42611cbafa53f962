"""Upstream's scripts, run as a user runs them: a process, a script's path, flags."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import object_detection

TREE = Path(object_detection.__file__).parent

# What importing the package set for this process; a script has to do without.
_SET_BY_THE_PACKAGE = ("TF_USE_LEGACY_KERAS", "ODAPI_TF_BEHAVIOR")


def run_script(script: str, folder: Path, **flags: object) -> str:
    """Runs `TREE / script` in `folder` and returns what it wrote, standard output first.

    Fails the test when the script does not exit with 0. A flag whose value is a `bool` becomes
    `--name` or `--noname`, any other one `--name=value`.
    """
    done = subprocess.run(
        [sys.executable, str(TREE / script), *(_flag(*item) for item in flags.items())],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key not in _SET_BY_THE_PACKAGE},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{script} exited with {done.returncode}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def _flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value}"
