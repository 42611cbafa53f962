"""Ids computed in memory are git's own; dangerous names are refused."""

import pytest

from patchqueue.snapshot import EXECUTABLE, FILE, Entry, path_clash, snapshot_id, unsafe_path
from tests.patchqueue.world import git_tree


def test_tree_id_is_gits(tmp_path):
    # 'a', 'a.b' and 'a/' sort differently as files and as folders.
    files = {"a/x": "1", "a.b": "2", "a-b/run.sh": "3", "ab": b"\x00\xff", "é/ü": "4", "z/z/z": ""}
    snapshot = {
        name: Entry(
            EXECUTABLE if name.endswith(".sh") else FILE,
            text if isinstance(text, bytes) else text.encode(),
        )
        for name, text in files.items()
    }
    assert snapshot_id(snapshot) == git_tree(tmp_path, files)
    snapshot["ab"] = Entry(EXECUTABLE, snapshot["ab"].data)
    assert snapshot_id(snapshot) != git_tree(tmp_path, files)


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/x", "C:/x", "../x", "a/../../x", "a//b", "./a", ""),
        *(".git/config", "a/.GIT/x", "git~1/x", "a\\b", 'a"b', "a\nb"),
    ],
)
def test_unsafe_paths(path):
    assert unsafe_path(path)


@pytest.mark.parametrize("path", ["a", "a/b c.py", ".gitignore", "a/.github/x", "..a/b..", "é"])
def test_safe_paths(path):
    assert unsafe_path(path) is None


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (["a/b", "a/b"], "twice"),
        (["a/b", "a/B"], "case"),
        (["a/b", "A/c"], "case"),
        (["a", "a/b"], "both a file and a folder"),
    ],
)
def test_clashing_paths(paths, text):
    assert text in path_clash(paths)


def test_paths_that_do_not_clash():
    assert path_clash(["a/b", "a/c", "b/a", "ab"]) is None
