"""The page of what works is written from reports, and from nothing less than good ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from odapi.console.errors import UserError
from tests.conformance import expectation, page
from tests.conformance.expectation import Expected
from tests.conformance.suite import FileResult

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.architectures.test_architectures" name="test_trains[SSD]">
 <properties><property name="meta_architecture" value="SSD"/>
 <property name="extractor" value="ssd_x"/><property name="variant" value=""/>
 <property name="done" value="trains and predicts"/></properties></testcase>
<testcase classname="tests.entry_points.test_exporter_main_v2" name="test_a_model_finds[a]"/>
<testcase classname="tests.entry_points.test_exporter_main_v2" name="test_a_model_finds[b]"/>
<testcase classname="tests.tf1.test_ssd" name="test_two_steps_train"/>
<testcase classname="tests.other" name="test_that_is_not_shown"><failure/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Reports of a project with one upstream test file."""
    file = "object_detection/core/a_test.py"
    results = {
        "tf1": FileResult(["T.a"], {"T.net": expectation.REASONS["network"]}, {"T.q": "KeyError"}),
        "tf2": FileResult(["T.a", "T.q"], {"T.net": expectation.REASONS["network"]}),
    }
    needs = {"network": ["T.net"]}
    entries = {
        "tf1": Expected(3, needs=needs, failed={"T.q": "contrib is gone"}),
        "tf2": Expected(3, needs=needs),
    }
    monkeypatch.setattr(expectation, "path_for", lambda b: tmp_path / f"expected_{b}.json")
    for behaviour, result in results.items():
        expectation.save(tmp_path / f"expected_{behaviour}.json", {file: entries[behaviour]})
        report = {
            "complete": True,
            "versions": {"python": "3.11"},
            "files": {file: result.to_json()},
        }
        (tmp_path / f"{behaviour}.json").write_text(json.dumps(report), encoding="utf-8")
    (tmp_path / "junit.xml").write_text(JUNIT, encoding="utf-8")
    return tmp_path


def write(reports: Path) -> str:
    runs = {name: page.read_run(reports / f"{name}.json") for name in ("tf1", "tf2")}
    return page.page(runs, page.read_junit(reports / "junit.xml"))


def test_the_page_shows_what_the_reports_say(reports: Path) -> None:
    lines = write(reports).splitlines()
    assert "| TF1 | 0 of 1 | 1 | 1 | 1 |" in lines
    assert "| TF2 | 1 of 1 | 2 | 0 | 1 |" in lines
    assert "| contrib is gone | `object_detection/core/a_test.py`: T.q |" in lines
    assert "| network | TF2 | `object_detection/core/a_test.py` | 1 | skipped |" in lines
    assert "| SSD | `ssd_x` |  | trains and predicts |" in lines
    assert any("test_exporter_main_v2" in line and "| a model finds |" in line for line in lines)
    assert any("test_ssd" in line and "two steps train" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tf2.json", None, "no report of a run in tf2"),
        ("tf2.json", ('"complete": true', '"complete": false'), "only some of the files"),
        ("tf1.json", ('"failed": {"T.q"', '"failed": {"T.new"'), "differs from what is expected"),
        ("junit.xml", None, "no report of the project's tests"),
        ("junit.xml", ('name="test_two_steps_train"/>', 'name="t"><failure/></testcase>'), "::t"),
        ("junit.xml", ("tests.", "elsewhere."), "no test of a program"),
    ],
)
def test_a_report_that_is_not_good_makes_no_page(
    reports: Path, name: str, change: tuple[str, str] | None, message: str
) -> None:
    path = reports / name
    if change is None:
        path.unlink()
    else:
        text = path.read_text(encoding="utf-8")
        assert change[0] in text
        path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        write(reports)
