"""What upstream's tests are expected to do here, and how a run differs from it.

`expected_tf1.json` and `expected_tf2.json` hold an entry per test file:

    tests    number of tests
    skipped  number of tests by the reason upstream gives for skipping them
    needs    tests by what they need beyond this project, `upstream data` or `network`;
             each is skipped by name where that is not at hand
    failed   reason by name of the tests that cannot pass on this stack
    gone     why the file as a whole cannot run on this stack

Everything else passes. A run differs by a regression, and as much by a test that passes where
none was expected to: the entry that excused it must go.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from odapi.console.files import write_text
from tests.conformance.suite import FileResult

REASONS = {
    "upstream data": "needs upstream data: --data with a checkout of tensorflow/models",
    "network": "needs network: --network, where tests may fetch ImageNet weights",
}


@dataclass
class Expected:
    """The entry of one file; the module says what the fields mean."""

    tests: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    needs: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    gone: str = ""

    def to_json(self) -> dict:
        return {name: value for name, value in vars(self).items() if value}


def path_for(behaviour: str) -> Path:
    return Path(__file__).with_name(f"expected_{behaviour}.json")


def load(path: Path) -> dict[str, Expected]:
    return parse(path.read_text(encoding="utf-8")) if path.exists() else {}


def parse(text: str) -> dict[str, Expected]:
    return {file: Expected(**entry) for file, entry in json.loads(text).items()}


def save(path: Path, expected: Mapping[str, Expected]) -> None:
    entries = {file: expected[file].to_json() for file in sorted(expected)}
    write_text(path, json.dumps(entries, indent=1) + "\n")


def skips(expected: Mapping[str, Expected], at_hand: Collection[str]) -> dict[str, dict[str, str]]:
    """Tests to skip, by file, with the reason: what they need is not among `at_hand`."""
    return {
        file: {
            test: REASONS[need]
            for need, tests in entry.needs.items()
            if need not in at_hand
            for test in tests
        }
        for file, entry in expected.items()
    }


def _upstream_skips(result: FileResult, skipped_here: Mapping[str, str]) -> dict[str, int]:
    reasons = (reason for test, reason in result.skipped.items() if test not in skipped_here)
    return dict(sorted(Counter(reasons).items()))


def differences(
    file: str, result: FileResult, expected: Expected | None, skipped_here: Mapping[str, str]
) -> list[str]:
    """How the result of one file differs from its entry, one line each.

    Args:
      file: for the messages.
      result: of the run.
      expected: the entry; None if there is none.
      skipped_here: tests of the file that this run skipped for a missing need.
    """
    if expected is None:
        return [f"new file: {file} is not among the expected"]
    failing = bool(result.broken or result.failed)
    if expected.gone:
        return [] if failing else [f"unexpected pass: {file} was said to be gone"]
    found = []
    if result.broken:
        found.append(f"regression: {file}: {result.broken}")
    for test, error in result.failed.items():
        if test not in expected.failed:
            found.append(f"regression: {file}: {test}: {error}")
    for test in sorted(expected.failed.keys() & set(result.passed)):
        found.append(f"unexpected pass: {file}: {test}")
    if not result.broken:
        tests = len(result.passed) + len(result.failed) + len(result.skipped)
        if tests != expected.tests:
            found.append(f"changed: {file}: {tests} tests, not {expected.tests}")
        skipped = _upstream_skips(result, skipped_here)
        if skipped != dict(sorted(expected.skipped.items())):
            found.append(f"changed: {file}: skipped {skipped}, not {expected.skipped}")
    return found


def updated(
    result: FileResult, expected: Expected | None, skipped_here: Mapping[str, str]
) -> Expected:
    """The entry that the result of a run asks for. Reasons already given are kept."""
    old = expected or Expected()
    if result.broken:
        return Expected(needs=old.needs, gone=old.gone or result.broken)
    return Expected(
        tests=len(result.passed) + len(result.failed) + len(result.skipped),
        skipped=_upstream_skips(result, skipped_here),
        needs=old.needs,
        failed={test: old.failed.get(test, error) for test, error in result.failed.items()},
    )
