"""`odapi evaluate`: its flags."""

from __future__ import annotations

import argparse
from pathlib import Path

from odapi.console.arguments import (
    add_config,
    add_flag,
    options,
    positive,
    require_folder,
    share,
)
from odapi.evaluate.coco import BOXES_NAME, MASKS_NAME, TRUTH_NAME
from odapi.evaluate.mistakes import MIN_SCORE, WORST_IMAGES
from odapi.evaluate.options import EvaluateOptions
from odapi.evaluate.result import CLASSES_NAME, PAGE_NAME, REPORT_NAME
from odapi.evaluate.run import evaluate
from odapi.pipeline.config import require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, on which records, and where the results go."""
    add_config(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    add_flag(
        source,
        "--checkpoint",
        metavar="DIR",
        help="a model_dir of odapi train (its latest checkpoint is taken), or one checkpoint, "
        "DIR/ckpt-7",
    )
    source.add_argument("--saved_model", metavar="DIR", help="evaluate an exported model instead")
    parser.add_argument(
        "--model_dir",
        type=Path,
        metavar="DIR",
        help=f"where {REPORT_NAME} goes; default: beside the checkpoint or SavedModel, or to "
        "--output_dir alone where that is given",
    )
    add_flag(
        parser,
        "--output_dir",
        type=Path,
        metavar="DIR",
        help=f"gets {REPORT_NAME}, {CLASSES_NAME}, the page {PAGE_NAME} with curves, confusion "
        f"matrix and the {WORST_IMAGES} worst images, and {TRUTH_NAME}, {BOXES_NAME} and "
        f"{MASKS_NAME} in COCO's format",
    )
    parser.add_argument(
        "--min_score",
        type=share,
        default=MIN_SCORE,
        metavar="SCORE",
        help="confusion matrix and worst images leave out detections with a lower score (default "
        f"{MIN_SCORE:g}); AP and AR count all",
    )
    parser.add_argument(
        "--sample_1_of_n_eval_examples",
        type=positive,
        metavar="N",
        help="take every Nth record; default: the eval_input_reader's sample_1_of_n_examples",
    )


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where a path is wrong at first sight."""
    require_file(args.config, "--config")
    for flag in ("output_dir", "model_dir"):
        if getattr(args, flag):
            require_folder(getattr(args, flag), f"--{flag}")


def run(args: argparse.Namespace) -> int:
    """The command."""
    evaluate(options(EvaluateOptions, args))
    return 0
