"""The commit that counts as landed last, and what differs from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from odapi.console.errors import UserError
from tests.selection import base as bases
from tests.selection.repository import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def found(repository: Repository, named: str | None = None) -> str | None:
    base = bases.find(repository.root, named)
    return base and base.commit


def test_without_history_there_is_none(repository: Repository, tmp_path: Path) -> None:
    assert found(repository) is None
    assert bases.find(tmp_path) is None


def test_it_is_the_noted_one_without_a_remote(repository: Repository) -> None:
    landed = repository.commit()
    repository.commit()
    repository.write(".ci/landed", landed + "\n")
    repository.commit()
    assert found(repository) == landed
    repository.write(".ci/landed", "0" * 40)  # As in a shallow clone.
    assert found(repository) is None


def test_it_is_where_several_commits_left_the_remote(repository: Repository) -> None:
    landed = repository.commit()
    repository.git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert found(repository) is None  # HEAD itself is what landed.
    repository.commit()
    repository.commit()
    assert found(repository) == landed


def test_a_name_comes_first_and_must_exist(repository: Repository) -> None:
    first = repository.commit()
    repository.commit()
    repository.commit()
    assert found(repository, "HEAD~2") == first
    with pytest.raises(UserError, match="no such revision"):
        bases.find(repository.root, "no-such-branch")


def test_edits_and_new_files_count_as_changed(repository: Repository) -> None:
    repository.write("a name.txt", "1")
    repository.write("gone", "1")
    repository.commit()
    base = bases.find(repository.root, "HEAD")
    assert base
    assert bases.changed(repository.root, base) == set()
    repository.write("a name.txt", "2")
    repository.write("new", "1")
    repository.write("third_party/models/ignored", "1")
    (repository.root / "gone").unlink()
    assert bases.changed(repository.root, base) == {"a name.txt", "new", "gone"}
    assert bases.text_at(repository.root, base, "a name.txt") == "1"
    assert bases.text_at(repository.root, base, "new") is None
