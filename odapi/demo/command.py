"""`odapi demo`: its flags."""

from __future__ import annotations

import argparse
from pathlib import Path

from odapi.console.arguments import add_flag
from odapi.console.errors import UserError
from odapi.demo.classifier import RECIPES

TASKS = {"faster_rcnn": "boxes", "ssd": "boxes", "mask_rcnn": "masks"}
"""Architecture to what it finds; the first of each task is the one to take by default."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `odapi demo` to `parser`."""
    add_flag(
        parser,
        "--output_dir",
        type=Path,
        default=Path("runs/demo"),
        metavar="DIR",
        help="where everything goes; an earlier demo there is replaced (default: runs/demo)",
    )
    parser.add_argument(
        "--backbone",
        default="small",
        metavar=f"{'|'.join(RECIPES)}|PATH",
        help="the classifier to train and to convert, or a file of your own classifier, which is "
        "only converted (default: small)",
    )
    parser.add_argument(
        "--task",
        choices=tuple(dict.fromkeys(TASKS.values())),
        help="what the detector finds (default: boxes, or what --architecture finds)",
    )
    parser.add_argument(
        "--architecture",
        choices=tuple(TASKS),
        help="the detector (default: faster_rcnn for boxes, mask_rcnn for masks)",
    )
    parser.add_argument(
        "--preprocessing",
        metavar="MODE",
        help="of your own classifier, where its file does not tell; see odapi convert --help",
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


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where flags contradict each other, or the classifier does not exist."""
    _architecture(args)
    if args.backbone in RECIPES:
        if args.preprocessing:
            raise UserError(
                f"the demo trains {args.backbone} itself, and knows how it is preprocessed",
                at=f"--preprocessing {args.preprocessing}",
                hint="leave it out, or name a file of your own with --backbone",
            )
        return
    path = Path(args.backbone)
    if not path.exists():
        raise UserError(
            f"there is no classifier {args.backbone}",
            at="--backbone",
            hint=f"one of {', '.join(RECIPES)}, or a file",
        )
    if path.resolve().is_relative_to(args.output_dir.resolve()):
        raise UserError(
            "the classifier lies in the output folder, and would be deleted with what is there",
            at=f"--backbone {args.backbone}; --output_dir {args.output_dir}",
            hint="name another --output_dir",
        )


def run(args: argparse.Namespace) -> int:
    """Runs the demo and returns the exit code."""
    from odapi.convert.request import Architecture
    from odapi.demo.run import FULL, TINY, Choice, run_demo

    choice = Choice(args.backbone, Architecture(_architecture(args)), args.preprocessing)
    size = TINY if args.tiny else FULL
    run_demo(args.output_dir, choice, size, seed=args.seed, from_scratch=args.from_scratch)
    return 0


def _architecture(args: argparse.Namespace) -> str:
    """The detector that the flags ask for.

    Raises:
        UserError: it does not do the task.
    """
    if args.architecture is None:
        task = args.task or "boxes"
        return next(name for name, found in TASKS.items() if found == task)
    found = TASKS[args.architecture]
    if args.task not in (None, found):
        raise UserError(
            f"{args.architecture} finds {found}, not {args.task}",
            at=f"--task {args.task} --architecture {args.architecture}",
            hint="leave one of the two out",
        )
    return args.architecture
