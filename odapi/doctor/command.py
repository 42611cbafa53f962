"""`odapi doctor`: looks at all that training would read, and lists what is wrong with it."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from odapi.console.arguments import add_config_override, add_flag
from odapi.console.errors import UserError
from odapi.console.files import replacing
from odapi.console.progress import SECONDS_BETWEEN_LINES, duration
from odapi.console.terminal import say
from odapi.doctor import config as examinations
from odapi.doctor.config import OnRecords
from odapi.doctor.findings import Finding, Kind, Severity, Summary
from odapi.doctor.record_files import Counts
from odapi.pipeline.config import Pipeline, require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A config, or record files without one."""
    parser.add_argument(
        "records", nargs="*", metavar="RECORD", help="TFRecord files or patterns, without a config"
    )
    add_flag(
        parser,
        "--config",
        metavar="FILE",
        help="check this pipeline config and all that it refers to",
    )
    add_config_override(parser)
    parser.add_argument(
        "--model_dir", metavar="DIR", help="with --config: where training will write or resume"
    )
    add_flag(
        parser,
        "--label_map",
        default="",
        metavar="FILE",
        help="with RECORD: the label map of the classes",
    )
    parser.add_argument(
        "--masks", action="store_true", help="with RECORD: each box must have a PNG mask"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every finding here")


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where a path is wrong at first sight."""
    if bool(args.config) == bool(args.records):
        raise UserError(
            "give a config or record files",
            at="--config, RECORD",
            hint="odapi doctor --config pipeline.config, or: odapi doctor data/train.record*",
        )
    refused = ("label_map", "masks") if args.config else ("model_dir", "config_override")
    for name in refused:
        if getattr(args, name):
            other = "RECORD" if args.config else "--config"
            raise UserError(f"--{name} goes with {other} only", at=f"--{name}")
    if args.config:
        require_file(args.config, "--config")
    if args.json and args.json.is_dir():
        raise UserError("this is a folder; name a file in it", at=f"--json {args.json}")


def run(args: argparse.Namespace) -> int:
    """The command. 1 where there are errors, 0 where there are warnings at most.

    2 where a backbone may not be read: what it would do, no check of the rest makes good.
    """
    started = time.monotonic()
    counts, summary, refused = Counts(), Summary(), False
    with _json_writer(args.json, counts) as write:
        for finding in _findings(args, counts):
            summary.add(finding)
            write(finding)
            refused = refused or finding.kind is Kind.CONFIG_BACKBONE
    for block in summary.blocks():
        print(block)  # of several lines, escaped
    say(
        f"looked at in {duration(time.monotonic() - started)}: "
        + ", ".join(f"{name} {count:,}" for name, count in asdict(counts).items())
    )
    if args.json:
        say(f"every finding: {args.json}")
    errors, warnings = summary.count(Severity.ERROR), summary.count(Severity.WARNING)
    totals = f"errors: {errors:,}, warnings: {warnings:,}"
    say(totals if errors or warnings else "nothing is wrong")
    return 2 if refused else 1 if errors else 0


def _findings(args: argparse.Namespace, counts: Counts) -> Iterator[Finding]:
    if not args.config:
        yield from examinations.examine_records(
            args.records,
            counts,
            label_map_path=args.label_map,
            masks=args.masks,
            on_records=_progress_callback(),
        )
        return
    try:
        pipeline = Pipeline.load(args.config, args.config_override)
    except UserError as error:
        yield Finding.of(Kind.CONFIG_UNREADABLE, error)
        return
    found = examinations.examine(
        pipeline, counts, model_dir=args.model_dir, on_records=_progress_callback()
    )
    for finding, _ in found:
        yield finding


def _progress_callback() -> OnRecords:
    """A callback that says every now and then how far the reading is."""
    last = time.monotonic()

    def show(count: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{count:,} records so far", flush=True)

    return show


@contextlib.contextmanager
def _json_writer(path: Path | None, counts: Counts) -> Iterator[Callable[[Finding], None]]:
    """Gives a function that writes a finding; the file appears when all of them are in it.

    They are written one by one: there may be more than memory holds.
    """
    if path is None:
        yield lambda finding: None
        return
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as stream:
        separator = "\n"

        def write(finding: Finding) -> None:
            nonlocal separator
            stream.write(separator + json.dumps(finding.as_json()))
            separator = ",\n"

        stream.write('{"findings": [')
        yield write
        stream.write(f'\n], "checked": {json.dumps(asdict(counts))}}}\n')
