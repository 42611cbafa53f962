"""Runs upstream's tests on the patched tree.

    python -m tests.conformance [--behaviour tf1|tf2] [options] [FILE ...]

Each file runs in a process of its own. Exit codes: 0 all as expected, 1 a regression or an
unexpected pass, 2 wrong usage. `./build.sh conformance` builds first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path

from odapi.console.errors import UserError
from odapi.console.files import write_text
from odapi.console.progress import duration
from tests.conformance import expectation, selection, suite
from tests.selection import base as bases

_ROOT = Path(__file__).resolve().parents[2]
_RESEARCH = _ROOT / "third_party/models/research"
_RUNS = _ROOT / "runs/conformance"
_PACKAGES = ("tensorflow-cpu", "tensorflow", "tf-keras", "numpy", "protobuf", "tf-slim")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description="Runs upstream's tests on the patched tree, each file in its own process.",
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="test files below research/, or parts of their paths; default: all",
    )
    parser.add_argument(
        "--behaviour",
        choices=("tf1", "tf2"),
        default="tf2",
        help="behaviour of TensorFlow (default: tf2)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="processes at a time (default: one a core)",
    )
    parser.add_argument(
        "--selected",
        action="store_true",
        help="only the files that what changed since the last landed commit can break, and "
        f"one in {selection.SHARE} of the others, by the tree's id",
    )
    parser.add_argument(
        "--changed-since",
        metavar="REVISION",
        default=os.environ.get(bases.VARIABLE) or None,
        help=f"the last landed commit, for --selected (default: ${bases.VARIABLE}, or where HEAD "
        f"left {bases.LANDED}, or what {bases.NOTED} says)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("ODAPI_UPSTREAM_DATA") or None,
        help="a checkout of tensorflow/models, or a folder with its data files: runs the tests "
        "that need them (default: $ODAPI_UPSTREAM_DATA)",
    )
    parser.add_argument(
        "--network", action="store_true", help="run the tests that fetch ImageNet weights"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where the results go (default: runs/conformance/BEHAVIOUR.json)",
    )
    parser.add_argument(
        "--update", action="store_true", help="write what was found as what is expected"
    )
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    return options


def choose(files: list[str], wanted: list[str]) -> list[str]:
    """The files that contain one of the wanted parts; all if nothing is wanted.

    Raises:
      UserError: a part matches no file.
    """
    for part in wanted:
        if not any(part in file for file in files):
            raise UserError("no such test file", part, "./build.sh conformance --help")
    return [file for file in files if not wanted or any(part in file for part in wanted)]


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def run(options: argparse.Namespace) -> int:
    data = _upstream_data(options)
    all_files = suite.test_files(_RESEARCH, options.behaviour)
    files = choose(all_files, options.files)
    selected = None
    if options.selected:
        base = bases.find(_ROOT, options.changed_since)
        selected = selection.select(_ROOT, files, options.behaviour, base)
        files = selected.files
        print(f"selected: {selected.why}")
    expected_path = expectation.path_for(options.behaviour)
    expected = expectation.load(expected_path)
    at_hand = ["upstream data"] * bool(data) + ["network"] * options.network
    skips = expectation.skips(expected, at_hand)

    logs = _RUNS / options.behaviour
    logs.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    results: dict[str, suite.FileResult] = {}
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch_name:
        scratch = Path(scratch_name)
        research = scratch / "research"
        suite.overlay(_RESEARCH, data, research)
        print(f"{len(files)} files, {options.behaviour} behaviour, {options.jobs} at a time")
        print("  passed  failed skipped seconds  file", flush=True)
        for file, result in suite.run_files(
            files, research, options.behaviour, skips, scratch / "rooms", logs, options.jobs
        ):
            results[file] = result
            found = expectation.differences(file, result, expected.get(file), skips.get(file, {}))
            problems += found
            print(_row(file, result), flush=True)
            for line in found:
                print(f"          {line}", flush=True)
            if options.update:  # at once: an interrupted run has found out this much
                expected[file] = expectation.updated(
                    result, expected.get(file), skips.get(file, {})
                )
                expectation.save(expected_path, expected)

    for file in sorted(expected.keys() - set(all_files)):
        problems.append(f"regression: {file} is gone from the tree")
    _summary(results, skips, time.monotonic() - began)
    report = {
        "behaviour": options.behaviour,
        "complete": len(files) == len(all_files),
        "upstream_data": bool(data),
        "versions": versions(),
        "problems": problems,
        "files": {file: results[file].to_json() for file in sorted(results)},
    }
    write_text(options.json or _RUNS / f"{options.behaviour}.json", json.dumps(report, indent=1))
    if selected:
        print(
            f"left out: {selected.left_out} of {len(files) + selected.left_out} files; ran ", end=""
        )
        print(selected.why)
    return _verdict(options, problems, expected_path, logs)


def _upstream_data(options: argparse.Namespace) -> Path | None:
    """The research/ of `--data`; UserError where it, or the tree, is missing."""
    if not (_RESEARCH / "object_detection").is_dir():
        raise UserError("the patched tree is missing", str(_RESEARCH), "./build.sh")
    data = options.data / "research" if options.data else None
    if data and not data.is_dir():
        raise UserError("no folder research/ in the upstream data", str(options.data))
    return data


def _verdict(
    options: argparse.Namespace, problems: list[str], expected_path: Path, logs: Path
) -> int:
    if options.update:
        print(f"written: {expected_path.relative_to(_ROOT)}")
        return 0
    if problems:
        print(f"\n{len(problems)} differences from {expected_path.relative_to(_ROOT)}:")
        print("\n".join(problems))
        print(f"hint: the output of each file is in {logs.relative_to(_ROOT)}/")
        return 1
    print(f"OK: as expected in {expected_path.relative_to(_ROOT)}")
    return 0


def _row(file: str, result: suite.FileResult) -> str:
    counts = f"{len(result.passed):8d}{len(result.failed):8d}{len(result.skipped):8d}"
    mark = f"   ({result.broken})" if result.broken else ""
    return f"{counts}{result.seconds:8.0f}  {file}{mark}"


def _summary(
    results: dict[str, suite.FileResult], skips: dict[str, dict[str, str]], seconds: float
) -> None:
    clean = sum(not (result.broken or result.failed) for result in results.values())
    passed = sum(len(result.passed) for result in results.values())
    failed = sum(len(result.failed) for result in results.values())
    reasons = Counter(r for result in results.values() for r in result.skipped.values())
    print(f"\nskipped: {reasons.total()}")
    for reason, count in reasons.most_common():
        print(f"{count:8d}  {reason}")
    for file in sorted(skips.keys() & results.keys()):
        for test, reason in skips[file].items():
            print(f"          {file}: {test} ({reason.partition(':')[0]})")
    print(f"\n{clean} of {len(results)} files without failure; {passed} tests passed, ", end="")
    print(f"{failed} failed, {reasons.total()} skipped, in {duration(seconds)}")


def main() -> int:
    try:
        return run(parse_arguments())
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
