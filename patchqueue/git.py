"""Git, cut off from the user's configuration and from any repository around the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from patchqueue.errors import ExitCode, QueueError
from patchqueue.files import held_locks

MINIMUM = (2, 30)
_LITTLE = 1 << 20  # bytes

_CONFIG = {
    "core.autocrlf": "false",
    "diff.suppressBlankEmpty": "false",
    "core.quotePath": "false",
    "core.hooksPath": os.devnull,
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    "core.fsmonitor": "false",
    "commit.gpgSign": "false",
    "gc.auto": "0",
}


class Git:
    """Runs git on exactly one repository, whatever lies around it.

    ``GIT_DIR`` and ``GIT_WORK_TREE`` are always set: left to itself git would walk up and find the
    project's own repository when the tree has none, and would refuse a tree that belongs to
    another user, as in a container.
    """

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.dir = tree / ".git"
        self._environment = {
            key: value for key, value in os.environ.items() if not key.startswith("GIT_")
        }
        self._environment |= {
            "GIT_DIR": str(self.dir),
            "GIT_WORK_TREE": str(tree),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "LC_ALL": "C",
        }
        self._options = [word for item in _CONFIG.items() for word in ("-c", "=".join(item))]

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> bytes:
        """Run one git command and return its standard output.

        Raises:
          QueueError: if git is missing (exit code 2) or fails (exit code 1).
        """
        try:
            done = subprocess.run(
                ["git", *self._options, *arguments],
                input=stdin,
                capture_output=True,
                env=self._environment | dict(environment or {}),
                cwd=self.tree,
                pass_fds=held_locks(),
            )
        except FileNotFoundError as error:
            raise _missing() from error
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
            raise QueueError(
                ExitCode.FAILED,
                f"git {arguments[0]} failed: {reason}",
                at=str(self.tree),
                # Git says that it cannot write a file, but rarely why.
                hint="the disk is full" if _disk_is_full(self.tree) else "",
            )
        return done.stdout

    def lines(self, *arguments: str) -> list[str]:
        """Run one git command and return the lines it prints."""
        return self(*arguments).decode(errors="surrogateescape").splitlines()


def require_git() -> None:
    """Check that git is there and new enough.

    Raises:
      QueueError: exit code 2 if it is not.
    """
    try:
        text = subprocess.run(["git", "--version"], capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise _missing() from error
    match = re.search(r"(\d+)\.(\d+)", text)
    if not match or (int(match[1]), int(match[2])) < MINIMUM:
        raise QueueError(
            ExitCode.USAGE,
            f"git is too old: {text.strip()}",
            hint=f"install git {MINIMUM[0]}.{MINIMUM[1]} or later",
        )


def _disk_is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _LITTLE
    except OSError:
        return False


def _missing() -> QueueError:
    return QueueError(ExitCode.USAGE, "git is not installed", hint="install git and try again")
