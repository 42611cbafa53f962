"""Small classifiers in every form of file, written once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.odapi.convert.reading import material, networks


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


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both networks in every form, to be left as it is."""
    return networks.write(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "files"))
