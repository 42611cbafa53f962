"""`odapi train`: the command line of it."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from odapi.console import arguments
from odapi.console.arguments import add_config, add_flag, natural, positive, require_folder, size
from odapi.console.errors import UserError
from odapi.evaluate.result import MASK_METRICS, METRICS
from odapi.pipeline.config import require_file
from odapi.train import workers
from odapi.train.options import TrainOptions
from odapi.train.run import STEPS_BETWEEN_SUMMARIES, train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `model_main_tf2.py` that concern training, under their names."""
    add_config(parser)
    add_flag(
        parser,
        "--model_dir",
        also=["--output_dir"],
        required=True,
        metavar="DIR",
        help="where checkpoints, train_log.jsonl and TensorBoard events go; a folder that holds "
        "a checkpoint is resumed from",
    )
    parser.add_argument(
        "--num_train_steps",
        type=positive,
        metavar="N",
        help="the step to end at; default: train_config.num_steps",
    )
    parser.add_argument(
        "--checkpoint_every_n",
        type=positive,
        default=1000,
        metavar="N",
        help="steps between checkpoints (default 1000); the last step always gets one",
    )
    parser.add_argument(
        "--checkpoint_max_to_keep",
        type=positive,
        default=7,
        metavar="N",
        help="number of most recent checkpoints to keep (default 7)",
    )
    parser.add_argument(
        "--record_summaries",
        type=_boolean,
        nargs="?",
        const=True,
        default=True,
        metavar="BOOL",
        help="write training images to TensorBoard beside the losses, every "
        f"{STEPS_BETWEEN_SUMMARIES} steps (default true)",
    )
    _add_evaluation(parser)
    _add_computation(parser)


def _add_evaluation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--eval_every_n",
        type=positive,
        metavar="N",
        help="evaluate on the eval_input_reader's records at a checkpoint every N steps, and keep "
        "the best checkpoint in model_dir/best",
    )
    parser.add_argument(
        "--best_metric",
        type=_metric,
        metavar="NAME",
        help="with --eval_every_n: what makes a checkpoint the best "
        f"(default {METRICS[0]}); names are those of the table that odapi evaluate prints",
    )
    parser.add_argument(
        "--early_stopping_patience",
        type=positive,
        metavar="N",
        help="with --eval_every_n: end after N evaluations without a new best",
    )


def _add_computation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--on_nonfinite",
        choices=("stop", "skip"),
        default="stop",
        help="at a loss or gradient that is infinite or not a number: stop, and keep the batch and "
        "the variables in model_dir/nonfinite (default); or leave the batch out, count it, go on",
    )
    parser.add_argument(
        "--max_input_memory",
        type=size,
        metavar="SIZE",
        help="hold what is read ahead, shuffled and prefetched to this much memory, as 500MB or "
        "1.5GB (default: what the config's train_input_reader asks for)",
    )
    parser.add_argument(
        "--seed",
        type=natural,
        metavar="N",
        help="make initial variables, the order of the records, augmentation, sampling and dropout "
        "follow from this number, from 0: a run that is interrupted and resumed ends with the "
        "variables of one that was not; resumed runs take it from model_dir",
    )
    parser.add_argument(
        "--mixed_precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default="float32",
        help="what layers compute in (default float32); variables, losses and checkpoints are "
        "float32 in any case",
    )
    parser.add_argument(
        "--num_workers",
        type=positive,
        default=1,
        metavar="N",
        help="processes that train together, each started with this command and a "
        f"{workers.VARIABLE} of its own, which says where they are (default 1)",
    )


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where a path is wrong at first sight."""
    require_file(args.config, "--config")
    require_folder(Path(args.model_dir), "--model_dir")
    workers.read_task(args.num_workers)
    for name in ("early_stopping_patience", "best_metric"):
        if getattr(args, name) and not args.eval_every_n:
            raise UserError(
                f"--{name} is about evaluations, and there are none",
                at="--eval_every_n",
                hint="give it as well: the number of steps between evaluations",
            )


def run(args: argparse.Namespace) -> int:
    """The command."""
    train(options(args))
    return 0


def options(args: argparse.Namespace) -> TrainOptions:
    """What the flags ask for."""
    return arguments.options(
        TrainOptions,
        args,
        # Its default is not that of the flag: --best_metric without evaluations is a mistake.
        best_metric=args.best_metric or METRICS[0],
    )


def _metric(text: str) -> str:
    names = METRICS + MASK_METRICS
    if text not in names:
        nearest = difflib.get_close_matches(text, names, n=3, cutoff=0.0)
        raise argparse.ArgumentTypeError(f"{text!r} is no metric; nearest: {', '.join(nearest)}")
    return text


def _boolean(text: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]
