"""`python -m odapi` and the `odapi` script."""

from __future__ import annotations

import sys

from odapi import cli


def main() -> int:
    """Runs the command line of this process and returns its exit code."""
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
