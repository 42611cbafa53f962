"""Which of upstream's files are chosen, and that the others are counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance import __main__ as program
from tests.conformance import selection, suite
from tests.conformance.selection import SHARE, Selection
from tests.selection import draw
from tests.selection.base import find
from tests.selection.repository import DATA, RESEARCH, UTIL, Repository

USER = "object_detection/user_test.py"
READER = "object_detection/reader_test.py"
OTHERS = [f"object_detection/other{number:02d}_test.py" for number in range(30)]
FILES = sorted([USER, READER, *OTHERS])


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    between, core = "from object_detection.core import core\n", "object_detection/core/core.py"
    made.write(f"{RESEARCH}/{USER}", between)
    made.write(f"{RESEARCH}/{core}", "from object_detection.utils import util\n")
    made.write(f"{RESEARCH}/{READER}", "open('data/map.pbtxt')\n")
    for other in OTHERS:
        made.write(f"{RESEARCH}/{other}", "import unittest\n")
    return made


def part(files: list[str], tree: str) -> set[str]:
    return draw.part(files, tree, SHARE)


def select(repository: Repository, named: str = "HEAD") -> Selection:
    base = find(repository.root, named)
    return selection.select(repository.root, FILES, "tf2", base)


def test_who_imports_a_changed_file_is_run_with_a_part_of_the_rest(
    repository: Repository,
) -> None:
    repository.add(UTIL, "ONE = 2\n")
    chosen = select(repository)
    assert USER in chosen.files
    assert set(chosen.files) - {USER} == part([f for f in FILES if f != USER], "1" * 40)
    assert (len(chosen.files), chosen.left_out) == (1 + 4, 27)
    assert "can break (1), and one in 9 of the others (4)" in chosen.why
    # Negative control: with the change landed, nothing asks for it.
    repository.commit()
    assert set(select(repository).files) == part(FILES, "1" * 40)


def test_a_data_file_selects_who_names_it_and_everything_if_nobody_does(
    repository: Repository,
) -> None:
    repository.add(DATA, "item { id: 1 }\n")
    assert READER in select(repository).files
    assert select(repository).left_out == 27
    repository.add("object_detection/data/unnamed.config", "x")
    chosen = select(repository)
    assert (chosen.files, chosen.left_out) == (FILES, 0)
    assert "unnamed.config changed, and no module names it" in chosen.why


def test_other_trees_have_other_parts_and_the_same_has_the_same() -> None:
    parts = [part(FILES, digit * 40) for digit in "123"]
    assert parts == [part(list(reversed(FILES)), digit * 40) for digit in "123"]
    assert [len(each) for each in parts] == [4, 4, 4]
    assert len({frozenset(each) for each in parts}) == 3
    assert len(set().union(*parts)) > 6


@pytest.mark.parametrize(
    "path",
    [
        "third_party/upstream.toml",
        "bootstrap/protos.py",
        "tests/conformance/harness.py",
        "tests/conformance/suite.py",
    ],
)
def test_what_every_file_stands_on_selects_everything(repository: Repository, path: str) -> None:
    assert select(repository).left_out == 28  # The control: eight of nine are left out.
    old = repository.root / path
    repository.write(path, (old.read_text() if old.exists() else "") + "# changed\n")
    chosen = select(repository)
    assert (chosen.files, chosen.left_out) == (FILES, 0)
    assert f"{path} changed" in chosen.why


@pytest.mark.parametrize("lock", ["cpu", "beam"])
def test_another_version_of_a_package_selects_everything_and_a_new_package_nothing(
    repository: Repository, lock: str
) -> None:
    path = f"requirements/{lock}.lock"
    pins = "six==1.17.0 \\\n    --hash=sha256:00\n"
    repository.write(path, pins)
    repository.commit()
    repository.write(path, "added==1.0 \\\n    --hash=sha256:11\n" + pins.replace("00", "0022"))
    assert select(repository).left_out == 28
    repository.write(path, pins.replace("1.17.0", "1.16.0"))
    chosen = select(repository)
    assert (chosen.files, chosen.left_out) == (FILES, 0)
    assert f"{path} has no six==1.17.0 any more" in chosen.why
    repository.write(path, "")
    assert select(repository).left_out == 0


def test_without_a_base_it_is_everything(repository: Repository) -> None:
    chosen = selection.select(repository.root, FILES, "tf2", None)
    assert (chosen.files, chosen.left_out) == (FILES, 0)
    repository.write("patches/series", "area/missing.patch\n")
    chosen = select(repository)
    assert (chosen.files, chosen.left_out) == (FILES, 0)
    assert "cannot be read" in chosen.why


def test_another_expectation_selects_its_file(repository: Repository) -> None:
    unlucky = next(file for file in FILES if file not in part(FILES, "1" * 40))
    repository.write("tests/conformance/expected_tf2.json", json.dumps({unlucky: {"tests": 1}}))
    assert unlucky in select(repository).files


def test_what_was_left_out_is_counted_and_is_no_difference(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = repository.root
    expected = {file: {"tests": 1} for file in FILES}
    path = root / "tests/conformance/expected_tf2.json"
    path.write_text(json.dumps(expected), encoding="utf-8")
    repository.commit()
    monkeypatch.setattr(program, "_ROOT", root)
    monkeypatch.setattr(program, "_RESEARCH", root / RESEARCH)
    monkeypatch.setattr(program, "_RUNS", root / "runs")
    monkeypatch.setattr(program.expectation, "path_for", lambda _: path)
    monkeypatch.setattr(
        suite,
        "run_files",
        lambda files, *_: iter([(file, suite.FileResult(passed=["T.a"])) for file in files]),
    )
    options = program.parse_arguments(["--selected", "--changed-since", "HEAD"])
    assert program.run(options) == 0
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last[0].startswith("left out: 28 of 32 files; ran those that a change since ")
    assert last[1].startswith("OK: as expected")
    # In full by default.
    assert program.run(program.parse_arguments([])) == 0
    out = capsys.readouterr().out
    assert "32 of 32 files without failure" in out
    assert "left out" not in out
