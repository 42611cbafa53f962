"""What is addressed to the user instead of the programmer."""

from __future__ import annotations

from typing import Any


class UserError(Exception):
    """Something the user can mend: wrong input, a missing file, a check that failed.

    Attributes:
        message: what happened, in one sentence without a full stop.
        at: where: a file, a record, a variable, a field of a config; or None.
        hint: the next command or edit; or None.
        exit_code: 1 where a check failed, 2 for wrong usage or bad input.
    """

    def __init__(
        self, message: str, at: str | None = None, hint: str | None = None, exit_code: int = 2
    ) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        """The `error:`, `at:` and `hint:` lines as they go to standard error."""
        lines = [f"error: {self.message}"]
        if self.at:
            lines.append(f"  at: {self.at}")
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


def op_reason(error: Any) -> str:
    """What a `tf.errors.OpError` of an eager op says, without the names of its node and op."""
    return error.message.split("}} ")[-1].split(" [Op:")[0]
