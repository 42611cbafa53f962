"""Writes docs/what-works.md from what the tests reported.

    python -m tests.conformance.page [--runs DIR] [--junit FILE] [--output FILE]

Takes `tf1.json` and `tf2.json`, which `./build.sh conformance` writes for a full run in either
behaviour, and the report of `./build.sh test --junitxml=runs/junit.xml`. Exit codes: 0 written,
2 a report is missing, incomplete, or holds a failure that is not among the expected.
"""

from __future__ import annotations

import argparse
import json
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from odapi.console.errors import UserError
from odapi.console.files import write_text
from tests.conformance import expectation
from tests.conformance.suite import FileResult

_ROOT = Path(__file__).resolve().parents[2]
_NAMES = {"tf1": "TF1", "tf2": "TF2"}
# What the pages of our own tests are about, by their folder.
_PROGRAMS = {"tests.entry_points": "TF2", "tests.tf1": "TF1"}
_ARCHITECTURES = "tests.architectures"


@dataclass(frozen=True)
class Case:
    """One test of pytest's report."""

    module: str
    name: str
    passed: bool
    properties: dict[str, str]


def read_run(path: Path) -> dict:
    """Reads the report of a full conformance run.

    Raises:
      UserError: it is missing, covers only some files, or differs from what is expected.
    """
    behaviour = path.stem
    hint = f"./build.sh conformance --behaviour {behaviour}"
    if not path.is_file():
        raise UserError(f"no report of a run in {behaviour} behaviour", str(path), hint)
    run = json.loads(path.read_text(encoding="utf-8"))
    if not run["complete"]:
        raise UserError("the run covers only some of the files", str(path), hint)
    expected = expectation.load(expectation.path_for(behaviour))
    for file, result in run["files"].items():
        here = {t: r for t, r in result["skipped"].items() if r in expectation.REASONS.values()}
        found = expectation.differences(file, FileResult(**result), expected.get(file), here)
        if found:
            raise UserError("the run differs from what is expected", str(path), found[0])
    return run


def read_junit(path: Path) -> list[Case]:
    """Reads pytest's report.

    Raises:
      UserError: it is missing, or holds a test of a program or an architecture that failed.
    """
    hint = "./build.sh test --junitxml=runs/junit.xml"
    if not path.is_file():
        raise UserError("no report of the project's tests", str(path), hint)
    cases = []
    for case in ElementTree.parse(path).iter("testcase"):
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        properties = {
            item.attrib["name"]: item.attrib["value"] for item in case.iterfind("properties/*")
        }
        cases.append(Case(case.attrib["classname"], case.attrib["name"], not bad, properties))
    shown = [case for case in cases if case.module.startswith((*_PROGRAMS, _ARCHITECTURES))]
    if not shown:
        raise UserError("no test of a program or an architecture in the report", str(path), hint)
    for case in shown:
        if not case.passed:
            raise UserError(f"{case.module}::{case.name} did not pass", str(path), hint)
    return shown


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _counts(files: Iterable[dict]) -> Counter:
    total: Counter = Counter()
    for result in files:
        total["files"] += 1
        total["clean"] += not (result["broken"] or result["failed"])
        for outcome in ("passed", "failed", "skipped"):
            total[outcome] += len(result[outcome])
    return total


def _summary(runs: dict[str, dict]) -> str:
    rows = []
    for behaviour, run in runs.items():
        count = _counts(run["files"].values())
        rows.append(
            [
                _NAMES[behaviour],
                f"{count['clean']} of {count['files']}",
                *(count[outcome] for outcome in ("passed", "failed", "skipped")),
            ]
        )
    heads = ["behaviour", "files without failure", "tests passed", "failed", "skipped"]
    return table(heads, rows)


def _folders(runs: dict[str, dict]) -> str:
    by_folder: dict[str, dict[str, Counter]] = defaultdict(dict)
    for behaviour, run in runs.items():
        files = defaultdict(list)
        for file, result in run["files"].items():
            files[str(Path(file).parent)].append(result)
        for folder, results in files.items():
            by_folder[folder][behaviour] = _counts(results)
    rows = []
    for folder, counts in sorted(by_folder.items()):
        row: list[object] = [f"`{folder}`"]
        for behaviour in runs:
            count = counts.get(behaviour)
            row += (
                [f"{count['clean']} of {count['files']}", count["passed"], count["skipped"]]
                if count
                else ["", "", ""]
            )
        rows.append(row)
    heads = ["folder"]
    for behaviour in runs:
        heads += [f"{_NAMES[behaviour]}: files", "passed", "skipped"]
    return table(heads, rows)


def _gone(expected: dict[str, expectation.Expected]) -> str:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for file, entry in expected.items():
        if entry.gone:
            by_reason[entry.gone].append(f"`{file}`, all of it")
        for test, reason in entry.failed.items():
            by_reason[reason].append(f"`{file}`: {test}")
    rows = ([reason, "<br>".join(tests)] for reason, tests in sorted(by_reason.items()))
    return table(["reason", "tests"], rows)


def _needs(runs: dict[str, dict]) -> str:
    rows = []
    for behaviour, run in runs.items():
        for file, entry in expectation.load(expectation.path_for(behaviour)).items():
            for need, tests in entry.needs.items():
                done = all(test in run["files"][file]["passed"] for test in tests)
                ran = "passed" if done else "skipped"
                rows.append([need, _NAMES[behaviour], f"`{file}`", len(tests), ran])
    return table(["needs", "behaviour", "file", "tests", "in this run"], sorted(rows))


def _architectures(cases: list[Case]) -> str:
    rows = []
    for case in cases:
        got = case.properties
        if case.module.startswith(_ARCHITECTURES) and "meta_architecture" in got:
            variant = got.get("variant", "")
            rows.append([got["meta_architecture"], f"`{got['extractor']}`", variant, got["done"]])
    return table(["meta-architecture", "feature extractor", "variant", "shown"], sorted(rows))


def _programs(cases: list[Case]) -> str:
    checks: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in cases:
        for folder, behaviour in _PROGRAMS.items():
            if case.module.startswith(folder + "."):
                test = case.name.removeprefix("test_").partition("[")[0].replace("_", " ")
                key = (behaviour, case.module.replace(".", "/") + ".py")
                if test not in checks[key]:
                    checks[key].append(test)
    rows = (
        [behaviour, f"[`{Path(file).stem}`](../{file})", "; ".join(tests)]
        for (behaviour, file), tests in sorted(checks.items(), reverse=True)
    )
    return table(["behaviour", "test", "what it saw"], rows)


def page(runs: dict[str, dict], cases: list[Case]) -> str:
    """The page's text."""
    versions = ", ".join(f"{name} {version}" for name, version in runs["tf2"]["versions"].items())
    return f"""# What works

<!-- Written by `python -m tests.conformance.page`; do not edit. -->

Measured on {versions}.

## Upstream's own tests

Each file of upstream's tests, run on the patched tree in a process of its own. A skipped test
is one that upstream skips itself, mostly because it is for the other behaviour, or one whose
need is named below. Run them with `./build.sh conformance`, and in TF1 behaviour with
`--behaviour tf1`.

{_summary(runs)}

{_folders(runs)}

### What cannot work in TF1 behaviour

{_gone(expectation.load(expectation.path_for("tf1")))}

### What needs more than this project

`--data` names a checkout of tensorflow/models, from which the label maps, sample configs and
records are taken that the registry's snapshot lacks; `--network` lets tests fetch weights.

{_needs(runs)}

## Meta-architectures and feature extractors in TF2 behaviour

Each is built from a pipeline config shrunk to small images, fed by the input pipeline from
TFRecords.

{_architectures(cases)}

## Programs

{_programs(cases)}
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=Path, default=_ROOT / "runs/conformance")
    parser.add_argument("--junit", type=Path, default=_ROOT / "runs/junit.xml")
    parser.add_argument("--output", type=Path, default=_ROOT / "docs/what-works.md")
    options = parser.parse_args()
    try:
        runs = {behaviour: read_run(options.runs / f"{behaviour}.json") for behaviour in _NAMES}
        write_text(options.output, page(runs, read_junit(options.junit)))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
