"""The order of a test run, and what it says of a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.selection import plugin
from tests.selection.repository import REPOSITORY, Repository

MARKER = "markers =\n  sampled(one_in, of_file): many alike\n"
PASSES = "def test_one():\n    pass\n\n\ndef test_two():\n    pass\n"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.write("pytest.ini", "[pytest]\npythonpath = .\naddopts = --import-mode=importlib\n")
    made.write(".gitignore", "__pycache__\n.pytest_cache\n")
    made.write("own/low.py", "ONE = 1\n")
    made.write("own/high.py", "from own.low import ONE\n")
    made.write("tests/test_a.py", PASSES)
    made.write("tests/test_b.py", "import own.high\n" + PASSES)
    made.write("tests/test_c.py", "import own.low\n" + PASSES)
    made.write("tests/test_d.py", PASSES)
    made.commit()
    return made


def run(repository: Repository, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.selection.plugin", *arguments],
        cwd=repository.root,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PYTEST_ADDOPTS": "",
            "ODAPI_CHANGED_SINCE": "HEAD",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout.splitlines()


def order(lines: list[str]) -> str:
    """The letters of the test files, in the order in which they ran."""
    ran = [line.partition("test_")[2][0] for line in lines if "::test_" in line]
    return "".join(dict.fromkeys(ran))


def test_what_a_change_can_break_runs_first(repository: Repository) -> None:
    assert order(run(repository, "-v")) == "abcd"  # The control.
    repository.write("own/low.py", "ONE = 2\n")
    repository.write("tests/test_d.py", PASSES + "# changed\n")
    lines = run(repository, "-v")
    assert order(lines) == "cdba"
    [header] = [line for line in lines if line.startswith("order: ")]
    assert header.startswith("order: 2 files that import what changed since ")
    assert header.endswith("then 0 long ones, 1 that need it indirectly, 1 others")


def test_every_process_has_the_same_order(repository: Repository) -> None:
    repository.write("tests/test_d.py", PASSES + "# changed\n")
    arguments = ("-v", "-n", "1", "--dist", "loadfile", "--no-loadscope-reorder")
    assert order(run(repository, *arguments)) == "dabc"


def test_a_failure_is_told_before_the_next_test_runs(repository: Repository) -> None:
    repository.write("tests/test_d.py", "def test_x():\n    assert 1 == 2, 'one'\n" + PASSES)
    lines = run(repository, "-v")
    [told] = [line for line in lines if line.startswith("call of ")]
    assert told == "call of tests/test_d.py::test_x failed: AssertionError: one"
    assert lines.index(told) < next(i for i, line in enumerate(lines) if "::test_one" in line)


SAMPLED = """import pytest

@pytest.mark.sampled
@pytest.mark.parametrize("case", range(7))
def test_many(case):
    assert case < 7

@pytest.mark.sampled(one_in=5)
@pytest.mark.parametrize("case", range(5))
def test_more(case):
    assert case < 5

@pytest.mark.sampled(one_in=4, of_file=True)
class TestLong:
    def test_one(self):
        pass

    def test_two(self):
        pass

def test_other():
    pass
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_sample_of_the_cases_runs_and_the_rest_is_counted(
    repository: Repository, processes: str
) -> None:
    repository.write("pytest.ini", (repository.root / "pytest.ini").read_text() + MARKER)
    repository.write("tests/test_d.py", SAMPLED)
    arguments = ["-n", processes, "tests/test_d.py"]
    assert "15 passed" in run(repository, *arguments)[-1]  # The control: all without --sample.
    lines = run(repository, "--sample", *arguments)
    assert "6 passed" in lines[-1]
    assert "   4  tests/test_d.py::test_many" in lines
    assert "   4  tests/test_d.py::test_more" in lines
    assert any("9 cases left out by --sample" in line for line in lines)


def test_long_files_are_there() -> None:
    for file in plugin.LONG_FILES:
        assert (REPOSITORY / file).is_file(), file
