"""Command-line arguments that several commands share."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from odapi.console.errors import UserError


def positive(text: str) -> int:
    """A whole number above 0, for `type=` of an argument."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def share(text: str) -> float:
    """A number from 0 to 1, for `type=` of an argument."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def natural(text: str) -> int:
    """A whole number from 0 on that fits 31 bits, for `type=` of an argument."""
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**31 - 1}")
    return int(text)


def size(text: str) -> int:
    """A number of bytes, `500MB` or `1.5GB`, for `type=` of an argument."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(MB|GB)", text, re.IGNORECASE)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size, as 500MB or 1.5GB are")
    return round(float(found[1]) * {"MB": 1e6, "GB": 1e9}[found[2].upper()])


def require_folder(path: Path, flag: str) -> None:
    """Raises UserError where `path`, given as `flag`, is there and no folder."""
    if path.exists() and not path.is_dir():
        raise UserError("the output directory is a file", at=f"{flag} {path}")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declares `--pipeline_config_path` and `--config_override`."""
    parser.add_argument(
        "--pipeline_config_path", required=True, metavar="FILE", help="the pipeline config"
    )
    parser.add_argument(
        "--config_override",
        default="",
        metavar="TEXT",
        help="a pipeline config as text, merged over the file",
    )
