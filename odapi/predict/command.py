"""`odapi predict`: its flags."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from odapi.console import output_folder
from odapi.console.arguments import (
    add_flag,
    add_output_dir,
    options,
    positive,
    require_folder,
    share,
)
from odapi.console.errors import UserError
from odapi.pipeline.config import require_file
from odapi.predict import videos
from odapi.predict.options import MIN_SCORE, PredictOptions
from odapi.predict.results import RESULTS_NAME
from odapi.predict.run import predict
from odapi.predict.sources import find_images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the model comes from, what it looks at, and where the results go."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="PATH",
        help="an image, a video, a folder, of which all images and videos are taken, or a pattern "
        "such as 'pictures/**/*.jpg'",
    )
    parser.add_argument("--saved_model", metavar="DIR", help="a model that odapi export wrote")
    add_flag(parser, "--config", metavar="FILE", help="with --checkpoint: the pipeline config")
    add_flag(
        parser,
        "--checkpoint",
        metavar="DIR",
        help="with --config: a model_dir of odapi train, or one checkpoint",
    )
    add_output_dir(
        parser,
        help=f"gets {RESULTS_NAME} (COCO results with file and class names, for videos with frame "
        "and time) and the drawn pictures and videos",
    )
    add_flag(
        parser,
        "--label_map",
        metavar="FILE",
        help="class names; default: those of the model's config",
    )
    parser.add_argument(
        "--min_score",
        type=share,
        default=MIN_SCORE,
        metavar="SCORE",
        help=f"leave out detections with a lower score (default {MIN_SCORE:g})",
    )
    parser.add_argument(
        "--batch_size",
        type=positive,
        default=1,
        metavar="N",
        help="run the model on up to N images at once, where images that follow each other are of "
        "equal size, as a video's are (default 1)",
    )


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where the flags do not name a model, or a path is wrong at first sight."""
    given = bool(args.config), bool(args.checkpoint)
    if args.saved_model:
        if any(given):
            raise UserError(
                "two models are given", hint="give --saved_model alone, or the other two flags"
            )
    elif not all(given):
        raise UserError(
            "no model is given",
            hint="give --saved_model DIR, or --config FILE --checkpoint DIR",
        )
    else:
        require_file(args.config, "--config")
    _check_output(find_images(args.images), args.output_dir)


def run(args: argparse.Namespace) -> int:
    """The command. Exit code 1 if an image or video could not be read."""
    failures = predict(options(PredictOptions, args))
    if not failures:
        return 0
    first = failures[0].path
    what = "a video" if videos.is_video(first) else "an image"
    raise UserError(
        f"{len(failures)} of the images could not be read; the others are done",
        at=[f"{failure.path}: {failure.reason}" for failure in failures],
        hint=f"is {first.name} {what}, and whole?",
        exit_code=1,
    )


def _check_output(images: Iterable[Path], output: Path) -> None:
    """Raises UserError where a drawing could take the place of what it is drawn from."""
    require_folder(output, output_folder.FLAG)
    for path in images:
        # As the path says, and where a link leads.
        if output.resolve() in (path.parent.resolve(), path.resolve().parent):
            raise UserError(
                f"drawings could replace what lies beside {path}",
                at=f"{output_folder.FLAG} {output}",
                hint="name another folder",
            )
