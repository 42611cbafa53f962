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
