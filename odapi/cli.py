"""The command line: which commands there are, and how each one ends."""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from odapi.console import runtime, terminal, termination
from odapi.console.errors import UserError

COMMANDS = {
    "data": "labelled images to records; what records hold",
    "convert": "a Keras classifier to a checkpoint and a config",
    "doctor": "what is wrong with records, label map or config",
    "train": "train a detector from a pipeline config",
    "evaluate": "COCO metrics of a checkpoint or SavedModel on eval records",
    "export": "a checkpoint to SavedModel, TensorFlow Lite, ONNX; each checked",
    "predict": "detections in images and videos: JSON and drawings",
    "demo": "the whole way on handwritten digits, with a report page",
}
"""Command to one-line summary.

A command has a room of its name, whose `command.py` has `add_arguments(parser)` and
`run(args) -> int`. It may have `check_paths(args)`, which is called before TensorFlow is loaded: a
mistyped path is reported at once, not after ten seconds.
"""

EXIT_CODES = (
    "exit codes: 0 done, 1 a check failed, 2 wrong usage or bad input, 130 interrupted, "
    "143 ended by SIGTERM"
)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints have the form of every other error."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message, hint=f"{self.prog} --help")


def main(argv: Sequence[str]) -> int:
    """Runs one command and returns the exit code of the process.

    Only `UserError`, and what the model builder says of a config, is turned into a message: any
    other exception is a bug and keeps its traceback.
    """
    with terminal.escaping():
        return _main(argv)


def _main(argv: Sequence[str]) -> int:
    try:
        args = _parse(argv)
        if args.command is None:
            _build_parser(None).print_help()
            return 2
        module = _module(args.command)
        if hasattr(module, "check_paths"):
            module.check_paths(args)
        runtime.start(args.verbose)
        return module.run(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (UnicodeEncodeError, OSError) as error:
        refused = _refused_path(error)
        if refused is None:
            raise
        print(refused, file=sys.stderr)
        return refused.exit_code
    except ValueError as error:
        if not _refuses_config(error):
            raise
        reason = UserError(f"the model cannot be built: {error}", at="config: model")
        print(reason, file=sys.stderr)
        return reason.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except termination.Terminated:
        print("ended by SIGTERM", file=sys.stderr)
        return termination.EXIT_CODE


def _refused_path(error: UnicodeEncodeError | OSError) -> UserError | None:
    """What to say of a path that no file can have, or that TensorFlow cannot take; None: a bug.

    It may come from a config or a label file, and is met wherever it is first looked at.
    """
    if isinstance(error, OSError):
        if error.errno != errno.ENAMETOOLONG:
            return None
        return UserError("a file name is too long", at=str(error.filename), hint="mend the path")
    text = str(error.object)
    if not any("\udc80" <= one <= "\udcff" for one in text):
        return None
    return UserError(
        "the path is no Unicode text, which TensorFlow needs", at=text, hint="rename it"
    )


def _refuses_config(error: ValueError) -> bool:
    """Whether it is what the model builder, or an extractor it built, says of a config."""
    # Not imported here: what raised it is, and nothing else may load TensorFlow.
    builder = sys.modules.get("object_detection.builders.model_builder")
    return builder is not None and isinstance(error, builder.CONFIG_ERRORS)


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"odapi.{command}.command")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    chosen = next((argument for argument in argv if argument in COMMANDS), None)
    return _build_parser(chosen).parse_args(argv)


def _build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser, with the arguments of `chosen` only.

    The other commands' modules stay unimported, so that `odapi --help` answers at once.
    """
    parser = _Parser(
        prog="odapi",
        description="Object detection on a current TensorFlow, from any Keras classifier.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=EXIT_CODES,
            allow_abbrev=False,
        )
        command.add_argument(
            "--verbose", action="store_true", help="show TensorFlow's own log lines and warnings"
        )
        if name == chosen:
            _module(name).add_arguments(command)
    return parser
