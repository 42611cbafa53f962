"""Command-line arguments that several commands share."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from odapi.console.errors import UserError

Options = TypeVar("Options")

ALIASES = {
    "--config": ("--pipeline_config_path",),
    "--checkpoint": ("--checkpoint_dir", "--trained_checkpoint_dir"),
    "--label_map": ("--label_map_path",),
    "--output_dir": ("--output_directory", "--output"),
    "--force": ("--overwrite",),
}
"""Flag to its other names: those of upstream's programs, and of earlier versions of odapi."""


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


def options(kind: type[Options], args: argparse.Namespace, **changed: Any) -> Options:
    """A command's options from its flags, which have the names of the fields.

    Args:
        kind: a dataclass.
        args: the flags.
        **changed: fields that are not as a flag says.
    """
    flags = vars(args) | changed
    return kind(**{field.name: flags[field.name] for field in dataclasses.fields(kind)})


def require_folder(path: Path, flag: str) -> None:
    """Raises UserError where `path`, given as `flag`, is there and no folder."""
    if path.exists() and not path.is_dir():
        raise UserError("the output directory is a file", at=f"{flag} {path}")


def add_flag(
    parser: argparse._ActionsContainer, name: str, *, also: Sequence[str] = (), **options: Any
) -> None:
    """Declares a flag under its one name, and has the parser take its other names for it.

    Help, usage and complaints of the parser show the one name; `help` ends with the others.

    Args:
        parser: or a group of one.
        name: a key of `ALIASES`, or another flag.
        also: other names of it, in this command alone.
        **options: of `add_argument`.
    """
    others = (*ALIASES.get(name, ()), *also)
    if others:
        options["help"] += f" (also {', '.join(others)})"
    action = parser.add_argument(name, *others, dest=name.removeprefix("--"), **options)
    # The parser has noted all of them; what it prints is made from these.
    action.option_strings = [name]


def add_output_dir(parser: argparse.ArgumentParser, help: str) -> None:
    """Declares `--output_dir`, which a command cannot do without, as a `Path`."""
    add_flag(parser, "--output_dir", required=True, type=Path, metavar="DIR", help=help)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declares `--config` and `--config_override`."""
    add_flag(parser, "--config", required=True, metavar="FILE", help="the pipeline config")
    add_config_override(parser)


def add_config_override(parser: argparse.ArgumentParser) -> None:
    """Declares `--config_override`."""
    parser.add_argument(
        "--config_override",
        default="",
        metavar="TEXT",
        help="a pipeline config as text, merged over the file",
    )
