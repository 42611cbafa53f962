"""Every way in which a patch can meet a tree has its own outcome."""

import subprocess

import pytest

from patchqueue.exact import Outcome, apply_changes, try_patch
from patchqueue.patch import parse_patch
from patchqueue.snapshot import FILE, Entry, snapshot_id
from tests.patchqueue.world import git_tree

HEADER = b"From %s Mon Sep 17 00:00:00 2001\nFrom: A <a@b.c>\nSubject: [PATCH] s\n\nb\n---\n\n" % (
    b"0" * 40
)
BASE = "".join(f"row {n}\n" for n in range(1, 31))
AFTER = BASE.replace("row 5\n", "row five\n").replace("row 25\n", "row twenty-five\n")


@pytest.fixture
def make_patch(tmp_path):
    """Return a function that lets git make a patch between two sets of files."""

    def make(old, new):
        folder = tmp_path / f"r{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        trees = []
        for files in (old, new):
            for path in folder.iterdir():
                if path.is_file():
                    path.unlink()
            trees.append(git_tree(folder, files))
        command = ["git", "diff-tree", "-p", "--full-index", "--no-renames", *trees]
        diff = subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout
        return HEADER + diff, trees[1]

    return make


def snapshot(files):
    return {
        name: Entry(FILE, text if isinstance(text, bytes) else text.encode())
        for name, text in files.items()
    }


def outcome_of(data, files):
    result = try_patch(snapshot(files), parse_patch("a/b.patch", data))
    return result


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": BASE}, {"a": AFTER}),
        ({"a": BASE}, {"a": "first\n" + BASE + "last\n"}),
        ({"a": BASE}, {"a": BASE[:-1]}),
        ({"a": "x"}, {"a": "y"}),
        ({"a": "x"}, {"a": "x\n"}),
        ({"a": "x\r\ny\r\n"}, {"a": "x\r\nz\r\n"}),
        ({"a": "form\x0cfeed\x0b\x1c\u2028\nrest\n"}, {"a": "form\x0cfeed\x0b\x1c\u2028\nrust\n"}),
        ({"a": b"latin \xe9\n"}, {"a": b"latin \xe8\n"}),
        ({"a": BASE, "b": ""}, {"a": BASE, "b": "filled\n"}),
        ({"a": BASE, "b": "gone\n"}, {"a": BASE}),
        ({"a": BASE, "b": ""}, {"a": BASE}),
        ({"a": BASE}, {"a": BASE, "with space": "new\n", "e": ""}),
        ({"a": "".join(f"{n % 3}\n" for n in range(99))}, {"a": "2\n" * 40}),
    ],
)
def test_clean_gives_the_tree_that_git_gives(make_patch, old, new):
    data, expected = make_patch(old, new)
    tree = snapshot(old)
    result = try_patch(tree, parse_patch("a/b.patch", data))
    assert result.outcome is Outcome.CLEAN
    apply_changes(tree, result.changes)
    assert snapshot_id(tree) == expected


def test_mode_change(tmp_path):
    mode = b"diff --git a/a b/a\nold mode 100644\nnew mode 100755\n"
    result = outcome_of(HEADER + mode, {"a": "x\n"})
    assert result.outcome is Outcome.CLEAN
    assert result.changes["a"].mode == "100755"


BAD = {
    "shifted": (Outcome.OFFSET, "+1 lines", lambda files: {"a": "top\n" + files["a"]}),
    "shifted twice": (Outcome.OFFSET, "+3 lines", lambda files: {"a": "t\n" * 3 + files["a"]}),
    "changed far away": (
        Outcome.OTHER_FILE,
        "made from",
        lambda files: {"a": files["a"].replace("row 15\n", "row fifteen\n")},
    ),
    "changed in the context": (
        Outcome.CONFLICT,
        "'row 4",
        lambda files: {"a": files["a"].replace("row 4\n", "row four\n")},
    ),
    "cut short": (
        Outcome.CONFLICT,
        "the end of the file",
        lambda files: {"a": "".join(f"row {n}\n" for n in range(1, 26))},
    ),
    "applied": (Outcome.ALREADY_APPLIED, "as the patch would", lambda files: {"a": AFTER}),
    "applied, then changed": (
        Outcome.ALREADY_APPLIED,
        "there already",
        lambda files: {"a": AFTER.replace("row 15\n", "")},
    ),
    "gone": (Outcome.TARGET_MISSING, "no such file", lambda files: {}),
}


@pytest.mark.parametrize("name", BAD)
def test_modification_that_is_not_exact(make_patch, name):
    expected, text, change = BAD[name]
    data, _ = make_patch({"a": BASE}, {"a": AFTER})
    result = outcome_of(data, change({"a": BASE}))
    assert (result.outcome, result.changes) == (expected, {})
    assert text in result.worst.detail
    assert result.outcome.hint


def test_wrong_line_number_in_the_right_file_is_an_offset(make_patch):
    """Git would apply this one, at another line than it states, and say nothing."""
    data, _ = make_patch({"a": BASE}, {"a": AFTER})
    damaged = data.replace(b"@@ -2,7 +2,7 @@", b"@@ -3,7 +3,7 @@")
    assert damaged != data
    assert outcome_of(damaged, {"a": BASE}).outcome is Outcome.OFFSET


def test_edited_hunk_with_a_stale_index_line(make_patch):
    data, _ = make_patch({"a": BASE}, {"a": AFTER})
    edited = data.replace(b"+row five", b"+row FIVE")
    result = outcome_of(edited, {"a": BASE})
    assert result.outcome is Outcome.WRONG_RESULT
    assert "promises" in result.worst.detail


def test_creation_and_deletion(make_patch):
    data, _ = make_patch({"a": BASE}, {"a": BASE, "b": "new\n"})
    assert outcome_of(data, {"b": "new\n"}).outcome is Outcome.ALREADY_APPLIED
    assert outcome_of(data, {"b": "other\n"}).outcome is Outcome.TARGET_EXISTS
    data, _ = make_patch({"a": BASE, "b": "new\n"}, {"a": BASE})
    assert outcome_of(data, {}).outcome is Outcome.ALREADY_APPLIED
    assert outcome_of(data, {"b": "other\n"}).outcome is Outcome.CONFLICT


def test_half_applied_patch(make_patch):
    data, _ = make_patch({"a": BASE, "b": BASE}, {"a": AFTER, "b": AFTER})
    result = outcome_of(data, {"a": AFTER, "b": BASE})
    assert (result.outcome, result.worst.path) == (Outcome.PARTLY_APPLIED, "a")


def test_one_bad_file_spoils_the_patch(make_patch):
    data, _ = make_patch({"a": BASE, "b": BASE}, {"a": AFTER, "b": AFTER})
    result = outcome_of(data, {"a": BASE})
    assert (result.outcome, result.worst.path) == (Outcome.TARGET_MISSING, "b")
