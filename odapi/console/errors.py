"""What is addressed to the user instead of the programmer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odapi.console.terminal import shown


class UserError(Exception):
    """Something the user can mend: wrong input, a missing file, a check that failed.

    Attributes:
        message: what happened, in one sentence without a full stop.
        at: where: a file, a record, a variable, a field of a config; or None. Several places are
            joined to one text; `str` of the error gives each a line.
        hint: the next command or edit; or None.
        exit_code: 1 where a check failed, 2 for wrong usage or bad input.
    """

    def __init__(
        self,
        message: str,
        at: str | Sequence[str] | None = None,
        hint: str | None = None,
        exit_code: int = 2,
    ) -> None:
        super().__init__(message)
        self.message = message
        self._places = [at] if isinstance(at, str) else list(at or ())
        self.at = "; ".join(self._places) or None
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        """The `error:`, `at:` and `hint:` lines as they go to standard error.

        Names from files are in all of them: what would move the cursor or begin a line is escaped.
        """
        lines = [f"error: {shown(self.message)}"]
        if self.at:
            lines += [f"{lead}{shown(place)}" for lead, place in _leads("  at: ", self._places)]
        if self.hint:
            lines.append(f"hint: {shown(self.hint)}")
        return "\n".join(lines)


def _leads(first: str, places: Sequence[str]) -> list[tuple[str, str]]:
    """Each place with what stands before it: `first`, or as many spaces."""
    return [(" " * len(first) if index else first, place) for index, place in enumerate(places)]


def op_reason(error: Any) -> str:
    """What a `tf.errors.OpError` of an eager op says, without the names of its node and op."""
    message = error.message
    # What a graph says begins with the way to its node.
    failed = message.rfind("assertion failed: ")
    message = message[failed:] if failed >= 0 else message
    return message.removeprefix("Graph execution error:").strip().split("}} ")[-1].split(" [Op:")[0]
