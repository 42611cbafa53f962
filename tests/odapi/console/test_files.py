"""Folders that are replaced: the old one or the new one is there, whatever comes between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from odapi.console import files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with an old file."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    return tmp_path / "out"


def test_the_new_folder_takes_the_place_of_the_old(folder):
    with files.replacing_folder(folder) as new:
        (new / "new").write_text("new")
        assert (folder / "old").is_file()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_a_failure_between_the_two_renames_brings_the_old_folder_back(folder, monkeypatch, failure):
    replace, calls = os.replace, []

    def fails_once(*paths: Path) -> None:
        calls.append(paths)
        if len(calls) == 2:
            raise failure
        replace(*paths)

    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(failure), files.replacing_folder(folder) as new:
        (new / "new").write_text("new")
    assert (folder / "old").read_text() == "old"
    assert list(folder.parent.iterdir()) == [folder]
