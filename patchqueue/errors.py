"""The one exception users see, and the exit codes of the command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns; documented in ``apply_patches.py --help``."""

    OK = 0
    FAILED = 1
    USAGE = 2
    HASH_MISMATCH = 3
    EDITS = 4
    LOCKED = 5


class QueueError(Exception):
    """An error a user can act on: what happened, where, and what to do next."""

    def __init__(self, code: ExitCode, what: str, *, at: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.at = at
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        if self.at:
            lines.append("  at: " + self.at.replace("\n", "\n      "))
        if self.hint:
            lines.append("hint: " + self.hint.replace("\n", "\n      "))
        return "\n".join(lines)
