"""`python -m odapi` and the `odapi` script."""

from __future__ import annotations

import sys

from odapi import cli
from odapi.console import terminal, termination


def main() -> int:
    """Runs the command line of this process and returns its exit code."""
    termination.raise_on_sigterm()
    sys.excepthook = terminal.print_traceback
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
