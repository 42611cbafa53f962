"""`odapi export`: its flags."""

from __future__ import annotations

import argparse

from odapi.console.arguments import add_config, add_flag, add_output_dir, options
from odapi.export import formats
from odapi.export.options import FORMATS, INPUT_TYPES, ExportOptions
from odapi.export.run import check_output, export
from odapi.pipeline.config import require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, what to write of it, and where."""
    parser.add_argument(
        "--input_type",
        choices=INPUT_TYPES,
        default="image_tensor",
        metavar="TYPE",
        help="what the SavedModel takes: " + ", ".join(INPUT_TYPES) + " (default image_tensor)",
    )
    parser.add_argument(
        "--format",
        dest="formats",
        action="extend",
        type=_formats,
        default=[],
        metavar="FORMAT[,FORMAT]",
        help="what to write: " + ", ".join(FORMATS) + "; may be given more than once. The "
        "SavedModel is always written; the others take one image, RGB uint8",
    )
    add_config(parser)
    add_flag(
        parser,
        "--checkpoint",
        required=True,
        metavar="DIR",
        help="a model_dir of odapi train (its latest checkpoint is taken), or one checkpoint, "
        "DIR/ckpt-7",
    )
    add_output_dir(
        parser,
        help="where saved_model/, the other formats' files, checkpoint/, pipeline.config and the "
        "label map go",
    )
    add_flag(
        parser,
        "--force",
        action="store_true",
        help="replace an earlier export",
    )


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where a path is wrong at first sight, or a package is missing."""
    formats.require_packages(args.formats)
    require_file(args.config, "--config")
    check_output(args.output_dir, force=args.force)


def run(args: argparse.Namespace) -> int:
    """The command."""
    export(options(ExportOptions, args))
    return 0


def _formats(text: str) -> list[str]:
    """Names of formats, separated by commas, for `type=` of an argument."""
    names = text.split(",")
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return names
