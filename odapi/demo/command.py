"""`odapi demo`: its flags."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `odapi demo` to `parser`."""
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=Path("runs/demo"),
        metavar="DIR",
        help="where everything goes; an earlier demo there is replaced (default: runs/demo)",
    )
    parser.add_argument(
        "--from_scratch",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also train a detector from a random backbone, for comparison (default: yes)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of digits, scenes and initial weights (default: 0)"
    )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="a few steps of every phase, to see that all of it works; detects nothing",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the demo and returns the exit code."""
    from odapi.demo.run import FULL, TINY, run_demo

    run_demo(
        args.output_dir, TINY if args.tiny else FULL, seed=args.seed, from_scratch=args.from_scratch
    )
    return 0
