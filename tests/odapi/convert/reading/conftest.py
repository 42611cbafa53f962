"""The classifier that the tests of the door change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.odapi.convert.reading import material


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> material.Classifiers:
    """A small classifier in every form of file."""
    return material.make(tmp_path_factory.mktemp("classifiers"))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder with a file that nobody may touch; what is written elsewhere is an effect."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").write_text("keep me")
    (tmp_path / "work").mkdir()
    return tmp_path
