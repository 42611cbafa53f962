"""The conformance runner itself: what it sees in a test file, and which differences it reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from odapi.console.errors import UserError
from tests.conformance import expectation, suite
from tests.conformance.__main__ import choose
from tests.conformance.expectation import Expected
from tests.conformance.suite import FileResult

TESTS = """
import os, unittest, warnings
from absl.testing import absltest, parameterized

class OneTest(parameterized.TestCase):
    def test_passes(self): pass
    def test_fails(self): self.assertEqual(1, 2, "told you")
    def test_raises(self): {}["missing"]
    def test_skips(self): self.skipTest("not here")
    @unittest.skip("never")
    def test_skipped(self): pass
    def test_session(self): self.skipTest("Not a test.")
    def test_subtests(self):
        for number in (1, 2):
            with self.subTest(number=number):
                self.assertEqual(number, 1)
    @parameterized.parameters(1, 2)
    def test_parameter(self, number): self.assertGreater(number, 0)
    def test_behaviour(self): self.assertEqual(os.environ["ODAPI_TF_BEHAVIOR"], "1")
    def test_finds_its_data(self):
        with open(os.path.join(os.path.dirname(__file__), "data/map.pbtxt")): pass

if __name__ == "__main__":
    absltest.main()
"""


def run(
    tmp_path: Path,
    source: str,
    skips: Mapping[str, str] | None = None,
    data: Path | None = None,
) -> FileResult:
    tree = tmp_path / "tree"
    (tree / "object_detection").mkdir(parents=True)
    (tree / "object_detection/a_test.py").write_text(source, encoding="utf-8")
    research = tmp_path / "overlay"
    suite.overlay(tree, data, research)
    files = suite.test_files(research, "tf1")
    assert files == ["object_detection/a_test.py"]
    logs = tmp_path / "logs"
    logs.mkdir()
    [(file, result)] = suite.run_files(
        files, research, "tf1", {files[0]: skips or {}}, tmp_path / "rooms", logs, jobs=1
    )
    assert file == files[0]
    assert list(logs.iterdir())
    return result


def test_every_outcome_is_told_by_name(tmp_path: Path) -> None:
    data = tmp_path / "given/object_detection/data"
    data.mkdir(parents=True)
    (data / "map.pbtxt").touch()
    result = run(tmp_path, TESTS, data=tmp_path / "given")
    assert result.broken == ""
    assert result.passed == [
        "OneTest.test_behaviour",
        "OneTest.test_finds_its_data",
        "OneTest.test_parameter0 (1)",
        "OneTest.test_parameter1 (2)",
        "OneTest.test_passes",
    ]
    assert result.skipped == {"OneTest.test_skips": "not here", "OneTest.test_skipped": "never"}
    assert sorted(result.failed) == [
        "OneTest.test_fails",
        "OneTest.test_raises",
        "OneTest.test_subtests",
    ]
    assert result.failed["OneTest.test_fails"] == "AssertionError: 1 != 2 : told you"


def test_a_test_whose_need_is_not_met_is_skipped_by_name(tmp_path: Path) -> None:
    result = run(tmp_path, TESTS, skips={"OneTest.test_finds_its_data": "needs upstream data"})
    assert result.skipped["OneTest.test_finds_its_data"] == "needs upstream data"
    assert "OneTest.test_finds_its_data" not in result.failed


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        (
            TESTS.replace('{}["missing"]', "os._exit(3)"),
            "the process ended with 3 in the middle of the tests",
        ),
        ("raise SystemExit(0)", "ran no test"),
        (TESTS.replace("absltest.main()", "absltest.main(argv=['x', '--no_such_flag'])"), "ran no"),
    ],
)
def test_a_file_that_does_not_run_to_its_end_is_broken(
    tmp_path: Path, source: str, why: str
) -> None:
    assert run(tmp_path, source).broken.startswith(why)


def test_a_file_without_a_main_block_is_run_all_the_same(tmp_path: Path) -> None:
    source = TESTS[: TESTS.index("if __name__")]
    assert "OneTest.test_passes" in run(tmp_path, source).passed


def test_a_file_with_a_base_class_only_has_no_tests_and_is_not_broken(tmp_path: Path) -> None:
    result = run(tmp_path, "import unittest\nclass Base(unittest.TestCase):\n  x = 1\n")
    assert (result.broken, result.passed) == ("", [])


def test_a_file_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "SECONDS_A_FILE", 2)
    assert run(tmp_path, "import time; time.sleep(60)").broken == "took longer than 2 s"


def test_the_overlay_adds_data_and_never_source(tmp_path: Path) -> None:
    for path in ("tree/pkg/code.py", "tree/other/more.py", "data/pkg/code.py", "data/pkg/new.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path, encoding="utf-8")
    for path in ("data/pkg/maps/a.pbtxt", "data/extra/b.record"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    suite.overlay(tmp_path / "tree", tmp_path / "data", tmp_path / "both")
    assert (tmp_path / "both/pkg/code.py").read_text() == "tree/pkg/code.py"
    assert (tmp_path / "both/pkg/maps/a.pbtxt").is_file()
    assert (tmp_path / "both/extra/b.record").is_file()
    assert not (tmp_path / "both/pkg/new.py").exists()
    assert (tmp_path / "both/other/more.py").is_file()


RESULT = FileResult(passed=["T.a", "T.b"], skipped={"T.c": "TF1 only", "T.d": "needs network: x"})
ENTRY = Expected(tests=4, skipped={"TF1 only": 1}, needs={"network": ["T.d"]})
HERE = {"T.d": "needs network: x"}


def test_a_run_as_expected_has_no_differences() -> None:
    assert expectation.differences("f", RESULT, ENTRY, HERE) == []


@pytest.mark.parametrize(
    ("result", "entry", "difference"),
    [
        (RESULT, None, "new file: f is not among"),
        (
            FileResult(["T.a"], RESULT.skipped, {"T.b": "ValueError: x"}),
            ENTRY,
            "regression: f: T.b: ValueError: x",
        ),
        (
            RESULT,
            Expected(4, {"TF1 only": 1}, failed={"T.a": "gone"}),
            "unexpected pass: f: T.a",
        ),
        (FileResult(["T.a"], RESULT.skipped), ENTRY, "changed: f: 3 tests, not 4"),
        (
            FileResult(["T.a"], {**RESULT.skipped, "T.b": "new"}),
            ENTRY,
            "changed: f: skipped {'TF1 only': 1, 'new': 1}",
        ),
        (FileResult(broken="ran no test"), ENTRY, "regression: f: ran no test"),
        (RESULT, Expected(gone="needs contrib"), "unexpected pass: f was said to be gone"),
    ],
)
def test_every_difference_is_reported(
    result: FileResult, entry: Expected | None, difference: str
) -> None:
    found = expectation.differences("f", result, entry, HERE)
    assert any(line.startswith(difference) for line in found), found


def test_what_a_run_found_is_what_the_next_expects(tmp_path: Path) -> None:
    failing = FileResult(["T.a"], {"T.c": "TF1 only"}, {"T.b": "ValueError: x"})
    broken = FileResult(broken="ImportError: y")
    for result in (RESULT, failing, broken):
        entry = expectation.updated(result, Expected(needs=ENTRY.needs), HERE)
        path = tmp_path / "expected.json"
        expectation.save(path, {"f": entry})
        again = expectation.load(path)["f"]
        assert again == entry
        assert expectation.differences("f", result, again, HERE) == []
    # A reason that a person wrote outlives the next update.
    kept = expectation.updated(failing, Expected(failed={"T.b": "no such package"}), {})
    assert kept.failed == {"T.b": "no such package"}


def test_tests_are_skipped_only_for_what_is_not_at_hand() -> None:
    assert list(expectation.skips({"f": ENTRY}, [])["f"]) == ["T.d"]
    assert expectation.skips({"f": ENTRY}, ["network"])["f"] == {}


@pytest.mark.parametrize("behaviour", ["tf1", "tf2"])
def test_the_committed_expectations_give_a_reason_for_every_failure(behaviour: str) -> None:
    expected = expectation.load(expectation.path_for(behaviour))
    assert len(expected) > 180
    for file, entry in expected.items():
        assert not entry.failed or behaviour == "tf1", f"{file} fails in TF2 behaviour"
        assert not entry.gone or behaviour == "tf1", f"{file} is gone in TF2 behaviour"
        for reason in [*entry.failed.values(), *([entry.gone] if entry.gone else [])]:
            assert "Error: " not in reason, f"{file}: an error message is no reason: {reason}"


def test_an_unknown_file_is_refused() -> None:
    assert choose(["a_test.py", "b_test.py"], ["b_"]) == ["b_test.py"]
    with pytest.raises(UserError, match="no such test file"):
        choose(["a_test.py"], ["c_"])


def test_a_record_cut_short_is_not_a_success(tmp_path: Path) -> None:
    record = tmp_path / "record"
    record.write_text(json.dumps({"kind": "passed", "test": "T.a", "reason": ""}) + "\n")
    assert suite.read_record(record, 0).broken
