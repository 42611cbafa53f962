"""The small project of `world`, made anew for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.patchqueue.world import World


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture) -> World:
    """A pinned project without patches and without a tree."""
    return World.make(tmp_path, capsys)


@pytest.fixture
def patched(world: World) -> World:
    """The project with two exported patches and an up-to-date tree."""
    world.add_patches()
    return world


class _Nobody:
    """In place of pytest's capture, for what tests share."""

    def readouterr(self) -> tuple[str, str]:
        return "", ""


@pytest.fixture(scope="session")
def folder_template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The project of ``with_folder``, made once."""
    world = World.make(tmp_path_factory.mktemp("template"), _Nobody())
    world.add_patches()
    world.add_folder()
    return world


@pytest.fixture
def with_folder(folder_template: World, tmp_path: Path, capsys: pytest.CaptureFixture) -> World:
    """The project with two patches and a folder after them; a copy that a test may spoil."""
    return folder_template.copy(tmp_path, capsys)
