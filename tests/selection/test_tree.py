"""What differs between the trees of two commits, without the trees."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from patchqueue.errors import QueueError
from tests.selection import tree
from tests.selection.base import Base, find
from tests.selection.repository import DATA, REPOSITORY, UTIL, Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def changed(repository: Repository, named: str = "HEAD") -> set[str]:
    base = find(repository.root, named)
    assert base
    return {path.removeprefix("research/") for path in tree.changed(repository.root, base)}


def test_a_file_that_a_patch_adds_otherwise(repository: Repository) -> None:
    assert changed(repository) == set()
    repository.write("patches/area/added/message", "Say more\n\nNothing of it in the tree.\n")
    assert changed(repository) == set()
    repository.add(UTIL, "ONE = 2\n")
    repository.add("object_detection/new.py", "")
    assert changed(repository) == {UTIL, "object_detection/new.py"}


def test_files_that_a_patch_no_longer_adds(repository: Repository) -> None:
    repository.write("patches/series", "")
    shutil.rmtree(repository.root / "patches/area")
    assert changed(repository) == {UTIL, DATA}


def test_a_base_that_cannot_be_read_is_an_error(repository: Repository) -> None:
    repository.write("patches/series", "area/missing.patch\n")
    repository.commit()
    repository.write("patches/series", "area/added/\n")
    with pytest.raises(QueueError):
        changed(repository)
    with pytest.raises(OSError, match="not a tree object"):
        tree.changed(repository.root, Base("0" * 40, ""))


def test_a_hunk_of_the_real_queue(tmp_path: Path) -> None:
    root = tmp_path / "real"
    shutil.copytree(REPOSITORY / "patches", root / "patches")
    (root / "third_party").mkdir()
    shutil.copy(REPOSITORY / "third_party/upstream.toml", root / "third_party")
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True)
    base = find(root, "HEAD")
    assert base
    assert tree.changed(root, base) == set()
    # Without the patch, its file is upstream's again, which only the patch itself tells.
    series = root / "patches/series"
    lines = series.read_text(encoding="utf-8").splitlines(keepends=True)
    series.write_text(
        "".join(line for line in lines if "compat/oid-images-as-bytes" not in line),
        encoding="utf-8",
    )
    [path] = tree.changed(root, base)
    assert path.startswith("research/object_detection/dataset_tools/")
