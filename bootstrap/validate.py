"""Runs upstream's builder tests in TF2 and in TF1 behaviour and says what they said.

    python -m bootstrap.validate [--research DIR] [--logs DIR]

Exit codes: 0 every test passed, 1 a test failed or none ran, 2 the test file is missing.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import BuildError, run

_ROOT = Path(__file__).resolve().parent.parent
_RESEARCH = _ROOT / "third_party/models/research"
_LOGS = _ROOT / "third_party/logs"
_TEST = Path("object_detection/builders/model_builder_test.py")
# The patched package's own switch: TensorFlow overwrites its TF2_BEHAVIOR when imported.
_SWITCH = "ODAPI_TF_BEHAVIOR"
_MOST_FAILURE_LINES = 80
# tf.test.TestCase has a method test_session, which unittest takes for a test; it skips itself so.
_NOT_A_TEST = "Not a test."


@dataclass(frozen=True)
class Outcome:
    """What one run of a unittest program came to.

    Attributes:
      ran: tests that unittest counted, the skipped ones included; 0 if it never got so far.
        TensorFlow's placeholder `test_session` is none.
      skipped: the skipped tests, each with its reason where it gave one.
      succeeded: unittest's verdict was OK and the process ended with 0.
      excerpt: the part of the output that tells why it failed; empty after a success.
    """

    ran: int
    skipped: tuple[str, ...]
    succeeded: bool
    excerpt: str

    @property
    def passed(self) -> int:
        return self.ran - len(self.skipped)


def parse_unittest(output: str, exit_code: int) -> Outcome:
    """Reads the output of a unittest (absl) program.

    A process that ends with 0 without unittest's closing lines has run nothing: a failure.
    """
    summaries = re.findall(r"^Ran (\d+) tests? in ", output, re.MULTILINE)
    verdict = re.search(r"^OK(?: \(skipped=(\d+)\))?$", output, re.MULTILINE)
    ran = int(summaries[-1]) if summaries else 0
    named = re.findall(r"^\[ +SKIPPED +\] (.+)$", output, re.MULTILINE)
    skipped = [name for name in named if not name.endswith(_NOT_A_TEST)]
    ran -= len(named) - len(skipped)
    # A runner that prints no line a test still counts what it skipped.
    skipped += ["(unnamed)"] * ((int(verdict[1] or 0) if verdict else 0) - len(named))
    succeeded = exit_code == 0 and verdict is not None and ran > len(skipped)
    return Outcome(ran, tuple(skipped), succeeded, "" if succeeded else _excerpt(output))


def _excerpt(output: str) -> str:
    """From unittest's first failure on, or a traceback that ended the program, or the end."""
    lines = output.splitlines()
    for start in (r"={70}$", r"Traceback \(most recent call last\):"):
        found = [index for index, line in enumerate(lines) if re.match(start, line)]
        if found:
            return "\n".join(lines[found[0] :][:_MOST_FAILURE_LINES])
    return "\n".join(lines[-_MOST_FAILURE_LINES:])


def run_builder_tests(research: Path, logs: Path) -> dict[str, Outcome]:
    """Runs the builder tests in both behaviours at once; returns the outcomes by behaviour.

    Args:
      research: the directory with the patched `object_detection` in it.
      logs: directory for `builders-tf2.log` and `builders-tf1.log`; made if need be.

    Raises:
      BuildError: there is no builder test file below `research`.
    """
    test = research / _TEST
    if not test.is_file():
        what = "the builder tests are not there"
        raise BuildError(what, str(test), "python apply_patches.py apply", 2)
    logs.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if key != _SWITCH}
    settings = {"TF2": environment, "TF1": {**environment, _SWITCH: "1"}}
    processes = {}
    try:
        for behaviour, variables in settings.items():
            with _log(logs, behaviour).open("wb") as log:
                processes[behaviour] = subprocess.Popen(
                    [sys.executable, str(test)],
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        codes = {behaviour: process.wait() for behaviour, process in processes.items()}
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
    return {
        behaviour: parse_unittest(_log(logs, behaviour).read_text(errors="replace"), code)
        for behaviour, code in codes.items()
    }


def _log(logs: Path, behaviour: str) -> Path:
    return logs / f"builders-{behaviour.lower()}.log"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bootstrap.validate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--research", type=Path, default=_RESEARCH)
    parser.add_argument("--logs", type=Path, default=_LOGS)
    arguments = parser.parse_args()
    outcomes = run_builder_tests(arguments.research, arguments.logs)
    for behaviour, outcome in outcomes.items():
        for name in outcome.skipped:
            print(f"skipped in {behaviour} behaviour: {name}")
    failed = {b: outcome for b, outcome in outcomes.items() if not outcome.succeeded}
    for behaviour, outcome in failed.items():
        print(f"--- {behaviour} behaviour: {outcome.ran} tests ran", file=sys.stderr)
        print(outcome.excerpt, file=sys.stderr)
    if failed:
        what = f"the builder tests failed in {' and in '.join(failed)} behaviour"
        switch = "" if "TF2" in failed else f"{_SWITCH}=1 "
        hint = f"{switch}{sys.executable} {arguments.research / _TEST} runs them alone"
        raise BuildError(what, ", ".join(str(_log(arguments.logs, b)) for b in failed), hint)
    tf2, tf1 = outcomes["TF2"].passed, outcomes["TF1"].passed
    print(f"OK: {tf2} builder tests in TF2 behaviour, {tf1} in TF1 behaviour")
    return 0


if __name__ == "__main__":
    run(main)
