"""The validation must not take silence, or a skipped suite, for success."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap.validate import run_builder_tests

ROOT = Path(__file__).resolve().parents[2]

# Real absl test programs, as the builder tests are, without TensorFlow's start-up time.
PROGRAM = """
import os, unittest
from absl.testing import absltest

TF1 = os.environ.get("ODAPI_TF_BEHAVIOR") == "1"

class BuilderTest(absltest.TestCase):
{body}

if __name__ == "__main__":
    absltest.main()
"""
PASSES = """
    def test_one(self): pass
    def test_two(self): pass
    @unittest.skipIf(TF1, "TF2 only")
    def test_three(self): pass
    def test_session(self): self.skipTest("Not a test.")
"""
FAILS_IN_TF1 = """
    def test_one(self): self.assertEqual("TF1" if TF1 else "TF2", "TF2")
    def test_two(self): pass
"""
ALL_SKIPPED = """
    @unittest.skip("nothing here yet")
    def test_one(self): pass
"""
NONE = """
    pass
"""
DIES = """
    def test_one(self): os._exit(0)
"""


def research_with(tmp_path: Path, body: str) -> Path:
    test = tmp_path / "research/object_detection/builders/model_builder_test.py"
    test.parent.mkdir(parents=True)
    test.write_text(PROGRAM.replace("{body}", body), encoding="utf-8")
    return tmp_path / "research"


def validate(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    research = research_with(tmp_path, body)
    command = [sys.executable, "-m", "bootstrap.validate"]
    where = ["--research", str(research), "--logs", str(tmp_path / "logs")]
    return subprocess.run(command + where, cwd=ROOT, capture_output=True, text=True, check=False)


def test_counts_what_passed_in_each_behaviour_and_names_what_did_not_run(tmp_path: Path) -> None:
    done = validate(tmp_path, PASSES)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "OK: 3 builder tests in TF2 behaviour, 2 in TF1 behaviour"
    assert lines[:-1] == ["skipped in TF1 behaviour: BuilderTest.test_three - TF2 only"]


def test_the_callers_own_switch_does_not_leak_into_the_tf2_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODAPI_TF_BEHAVIOR", "1")
    outcomes = run_builder_tests(research_with(tmp_path, PASSES), tmp_path / "logs")
    assert (outcomes["TF2"].passed, outcomes["TF1"].passed) == (3, 2)


def test_a_failure_shows_the_test_and_how_to_run_it_alone(tmp_path: Path) -> None:
    done = validate(tmp_path, FAILS_IN_TF1)
    assert done.returncode == 1
    assert "FAIL: test_one (__main__.BuilderTest" in done.stderr
    assert "--- TF1 behaviour: 2 tests ran" in done.stderr
    assert "error: the builder tests failed in TF1 behaviour" in done.stderr
    assert f"hint: ODAPI_TF_BEHAVIOR=1 {sys.executable}" in done.stderr
    assert "OK" not in done.stdout


@pytest.mark.parametrize("body", [ALL_SKIPPED, NONE, DIES], ids=["skipped", "none", "dies"])
def test_nothing_run_is_a_failure(tmp_path: Path, body: str) -> None:
    done = validate(tmp_path, body)
    assert done.returncode == 1
    assert "OK" not in done.stdout


def test_a_program_that_does_not_import_shows_its_traceback(tmp_path: Path) -> None:
    done = validate(tmp_path, "    import no_such_module\n")
    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stderr
    assert "failed in TF2 and in TF1 behaviour" in done.stderr


def test_a_missing_test_file_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "research").mkdir()
    where = ["--research", str(tmp_path / "research"), "--logs", str(tmp_path / "logs")]
    done = subprocess.run(
        [sys.executable, "-m", "bootstrap.validate", *where],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "hint: python apply_patches.py apply" in done.stderr
