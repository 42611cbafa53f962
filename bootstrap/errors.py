"""The one way a build step tells its user that it cannot go on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False)
class BuildError(Exception):
    """A build step stopped.

    Attributes:
      what: what happened, in one line.
      at: the file, descriptor or command concerned.
      hint: the next command or edit.
      exit_code: 1 for a failed check, 2 for bad input.
    """

    what: str
    at: str
    hint: str
    exit_code: int = 1

    def __str__(self) -> str:
        return f"error: {self.what}\n  at: {self.at}\nhint: {self.hint}"


def run(main: Callable[[], int]) -> None:
    """Runs a step's `main` and exits with its code; a `BuildError` goes to stderr."""
    try:
        code = main()
    except BuildError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
