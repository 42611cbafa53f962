"""export: the commits of the tree become the queue, the same bytes each time."""

import shutil

import pytest

from tests.patchqueue.world import git, git_tree, message


def queue(world):
    return {
        path.relative_to(world.patches).as_posix(): path.read_bytes()
        for path in world.patches.rglob("*")
        if path.is_file()
    }


def test_round_trip(patched):
    before = queue(patched)
    assert "nothing changed" in patched.ok("export")
    shutil.rmtree(patched.tree)
    patched.ok("apply")
    assert "nothing changed" in patched.ok("export")
    assert queue(patched) == before


def test_exported_patch_is_canonical(patched):
    text = (patched.patches / "compat/alpha-twenty.patch").read_text()
    assert text.startswith(
        "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\n"
        "From: Dev Eloper <dev@example.org>\n"
        "Subject: [PATCH] Spell twenty\n"
        "\n"
        "The old way fails.\n"
        "\n"
        "Upstream-Status: Pending\n"
        "Remove-When: upstream does it\n"
        "---\n"
        "\n"
        "diff --git a/src/lib/alpha.py b/src/lib/alpha.py\n"
        "index "
    )
    assert text.endswith(" line 23\n")
    assert "Patch:" not in text
    assert "Date:" not in text


def test_git_am_accepts_the_queue(patched):
    """Git itself, from the same patches, comes to the locked tree."""
    patched.ok("unapply")
    copy = patched.scratch / "copy"
    git(patched.scratch, "clone", "-q", str(patched.tree), "copy")
    for name in (patched.patches / "series").read_text().split():
        git(copy, "am", "-q", str(patched.patches / name))
    patched.ok("apply")
    assert git(copy, "rev-parse", "HEAD^{tree}") == patched.status()["tree"]
    assert git(copy, "log", "-1", "--format=%an %s") == "Dev Eloper Add gamma"


def test_patch_made_by_git_is_accepted_and_its_header_kept(patched):
    commit = patched.commit({"src/lib/empty.py": "filled\n"}, None, "Fill für alle " + "x" * 90)
    text = git(
        patched.tree, "format-patch", "--stdout", "--full-index", "--zero-commit",
        "--no-signature", "-1", commit,
    )  # fmt: skip
    git(patched.tree, "reset", "-q", "--hard", "HEAD~1")
    (patched.patches / "keras/fill.patch").write_text(text + "\n")
    with (patched.patches / "series").open("a") as file:
        file.write("keras/fill.patch\n")
    patched.ok("apply", "--relock")
    subject = git(patched.tree, "log", "-1", "--format=%s")
    assert subject == "Fill für alle " + "x" * 90
    header = text.partition("diff --git")[0]
    assert "Date: " in header
    assert "=?UTF-8?" in header
    patched.ok("export")
    exported = (patched.patches / "keras/fill.patch").read_text()
    assert exported.partition("diff --git")[0] == header
    assert "nothing changed" in patched.ok("export")


def test_new_commit(patched):
    before = queue(patched)
    patched.commit({"src/lib/beta.py": None, "src/lib/tool.sh": "#!/bin/sh\n"}, "export/tidy", "T")
    assert patched.status()["state"] == "edited"
    assert "added   export/tidy.patch" in patched.ok("export")
    assert patched.status()["state"] == "up_to_date"
    assert "up to date" in patched.ok("apply")
    patched.ok("verify")
    patched.ok("lint")
    after = queue(patched)
    for name in before.keys() - {"series"}:
        assert after[name] == before[name]
    assert after["series"].decode().split() == [
        "compat/alpha-twenty.patch",
        "keras/gamma.patch",
        "export/tidy.patch",
    ]
    shutil.rmtree(patched.tree)
    patched.ok("apply")
    assert not (patched.tree / "src/lib/beta.py").exists()


def test_amended_dropped_and_reordered_commits(patched):
    tree = patched.tree
    git(tree, "reset", "-q", "--hard", "HEAD~2")
    patched.commit({"src/lib/new/gamma.py": "GAMMA\n"}, "keras/gamma", "Add gamma")
    out = patched.ok("export")
    assert "changed keras/gamma.patch" in out
    assert "removed compat/alpha-twenty.patch" in out
    assert set(queue(patched)) == {"series", "keras/gamma.patch"}
    assert not (patched.patches / "compat").exists()
    patched.ok("lint")


def test_comments_and_other_files_stay(patched):
    series = patched.patches / "series"
    series.write_text(
        "# The order.\n\n# about alpha\ncompat/alpha-twenty.patch\n# about gamma\n"
        "keras/gamma.patch\n"
    )
    (patched.patches / "README.md").write_text("read me\n")
    patched.commit({"src/lib/empty.py": "x\n"}, "keras/fill", "Fill")
    patched.ok("export")
    assert (patched.patches / "README.md").read_text() == "read me\n"
    assert series.read_text() == (
        "# The order.\n\n# about alpha\ncompat/alpha-twenty.patch\n# about gamma\n"
        "keras/gamma.patch\nkeras/fill.patch\n"
    )


REFUSED = {
    "no name": (1, None, "names no patch file"),
    "no area": (1, "fill", "Patch: fill"),
    "leaves the folder": (1, "../x/fill", "Patch: ../x/fill"),
    "same name twice": (1, "keras/gamma", "2 times"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_commit_without_a_usable_name(patched, name):
    code, slug, text = REFUSED[name]
    before = queue(patched)
    patched.commit({"src/lib/empty.py": "x\n"}, slug, "Fill")
    message = patched.fails(code, "export")
    assert text in message
    assert "Patch:" in message
    assert queue(patched) == before


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Fill\n\nPatch: keras/fill\n", "upstream-status"),
        ("Fill\n\nUpstream-Status: Pending\nRemove-When: x\nPatch: keras/fill\n", "body"),
        (
            "Fill\n\nWhy\n---\nmore\n\nUpstream-Status: Pending\nRemove-When: x\n"
            "Patch: keras/fill\n",
            "upstream-status",
        ),
    ],
)
def test_commit_that_lint_would_refuse(patched, text, found):
    before = queue(patched)
    (patched.tree / "src/lib/empty.py").write_text("x\n")
    git(patched.tree, "commit", "-q", "-a", "-F", "-", stdin=text)
    assert found in patched.fails(1, "export")
    assert queue(patched) == before


def test_message_that_a_patch_file_cannot_keep(patched):
    text = message("Fill", "keras/fill").replace("fails.\n", "fails.\n\ndiff -- x\n---\n\nq\n")
    text = text.replace("fails.", "fails.\n\nUpstream-Status: Pending\nRemove-When: x")
    (patched.tree / "src/lib/empty.py").write_text("x\n")
    git(patched.tree, "commit", "-q", "-a", "-F", "-", stdin=text)
    patched.fails(1, "export")


def test_binary_and_generated_files_are_refused(patched):
    before = queue(patched)
    patched.commit({"src/lib/picture.bin": b"\0\1\2"}, "keras/picture", "Picture")
    assert "binary" in patched.fails(1, "export")
    git(patched.tree, "reset", "-q", "--hard", "HEAD~1")
    (patched.tree / "src/lib/x.proto").write_text("x\n")
    git(patched.tree, "add", "--force", "src/lib/x.proto")
    git(patched.tree, "commit", "-q", "-m", message("Proto", "keras/proto"))
    assert "later build step" in patched.fails(1, "export")
    assert queue(patched) == before


def test_regenerated_files_are_left_out(patched):
    (patched.tree / "src/lib/schema_pb2.py").write_text("generated = 2\n")
    (patched.tree / "src/lib/schema.proto").write_text("proto\n")
    patched.commit({"src/lib/empty.py": "x\n"}, "keras/fill", "Fill")
    patched.ok("export")
    assert b"schema" not in (patched.patches / "keras/fill.patch").read_bytes()


def test_uncommitted_edits(patched):
    (patched.tree / "src/lib/beta.py").write_text("mine\n")
    assert "src/lib/beta.py" in patched.fails(4, "export")


def test_merge_and_unfinished_rebase(patched):
    tree = patched.tree
    git(tree, "checkout", "-q", "-b", "side", "HEAD~1")
    patched.commit({"src/lib/empty.py": "x\n"}, "keras/fill", "Fill")
    git(tree, "checkout", "-q", "main")
    git(tree, "merge", "-q", "--no-edit", "side")
    assert "merge" in patched.fails(2, "export")
    git(tree, "reset", "-q", "--hard", "HEAD~1")
    (tree / ".git/rebase-merge").mkdir()
    assert "rebase-merge" in patched.fails(2, "export")


def test_exporting_would_empty_or_undo_the_queue(patched):
    before = queue(patched)
    path = patched.patches / "keras/gamma.patch"
    path.write_bytes(path.read_bytes().replace(b"Add gamma", b"Add a gamma"))
    edited = queue(patched)
    assert "keras/gamma.patch" in patched.fails(4, "export")
    assert queue(patched) == edited
    path.write_bytes(before["keras/gamma.patch"])
    git(patched.tree, "reset", "-q", "--hard", "HEAD~2")
    assert "empty the queue" in patched.fails(2, "export")
    git(patched.tree, "reset", "-q", "--hard", "ORIG_HEAD")
    patched.ok("unapply")
    assert "unapplied" in patched.fails(2, "export")
    assert queue(patched) == before


def test_no_tree_or_other_history(patched):
    other = patched.scratch / "other"
    other.mkdir()
    assert "no git repository" in patched.fails(2, "export", "--from", str(other))
    git_tree(other, {"a": "a"})
    git(other, "commit", "-q", "-m", "a")
    assert patched.tree_id in patched.fails(3, "export", "--from", str(other))
    shutil.rmtree(patched.tree)
    patched.fails(2, "export")


def test_export_from_a_clone_and_from_inside_another_repository(patched):
    before = queue(patched)
    lock = patched.project.lock_path.read_text()
    git(patched.root, "init", "-q")
    git(patched.scratch, "clone", "-q", str(patched.tree), "clone")
    shutil.rmtree(patched.patches)
    patched.project.lock_path.unlink()
    patched.ok("export", "--from", str(patched.scratch / "clone"))
    assert queue(patched) == before
    assert patched.project.lock_path.read_text() == lock


def test_developers_diff_settings_do_not_matter(patched):
    before = queue(patched)
    for setting in (
        "diff.noprefix=true",
        "diff.mnemonicPrefix=true",
        "diff.context=9",
        "diff.algorithm=patience",
        "diff.renames=copies",
        "diff.indentHeuristic=false",
        "core.abbrev=7",
        "color.ui=always",
    ):
        git(patched.tree, "config", *setting.split("="))
    assert "nothing changed" in patched.ok("export")
    assert queue(patched) == before
