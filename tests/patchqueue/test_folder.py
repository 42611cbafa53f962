"""Entries that are folders: read exactly, edited in either place, written back as they were."""

import json
import os
import shutil

import pytest

from tests.patchqueue.test_export import queue
from tests.patchqueue.world import (
    ADDED,
    BETA,
    DELTA,
    ENTRY,
    FILES,
    REPOSITORY,
    World,
    git,
    make_archive,
)


@pytest.fixture
def world(with_folder) -> World:
    """The project with a folder after its two patches."""
    return with_folder


def test_what_a_folder_holds(world):
    root = world.patches / ENTRY
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {"message", "hooks.patch", *(f"files/{name}" for name in ADDED)}
    for name, text in ADDED.items():
        path = root / "files" / name
        assert path.read_bytes() == (text if isinstance(text, bytes) else text.encode())
        assert os.access(path, os.X_OK) == name.endswith(".sh")
    assert (root / "message").read_text() == (
        "Add delta\n\nThe old way fails.\n\n"
        "Upstream-Status: Pending\nRemove-When: upstream does it\n"
    )
    hooks = (root / "hooks.patch").read_text()
    assert hooks.startswith("diff --git a/src/lib/beta.py b/src/lib/beta.py\nindex ")
    assert "+five" in hooks
    assert "delta" not in hooks
    assert (world.patches / "series").read_text().split()[-1] == ENTRY
    assert "Patch: keras/delta/" in git(world.tree, "log", "-1", "--format=%B")


def test_round_trip(world):
    before = queue(world)
    modes = {path: path.stat().st_mode & 0o111 for path in world.patches.rglob("*.sh")}
    assert modes and all(modes.values())
    for _ in range(2):
        assert "nothing changed" in world.ok("export")
        shutil.rmtree(world.tree)
        world.ok("apply")
        world.ok("verify")
        world.ok("lint")
    assert queue(world) == before
    assert git(world.tree, "log", "-1", "--format=%an") == "patchqueue"
    world.ok("unapply")
    assert not (world.tree / DELTA).exists()


def test_commits_do_not_depend_on_who_committed(world):
    """A folder has no author, so that a tree built from it has the same commits everywhere."""
    heads = set()
    for _ in range(2):
        world.ok("unapply")
        world.ok("apply")
        heads.add(git(world.tree, "rev-parse", "HEAD"))
    assert len(heads) == 1


def test_a_file_is_edited_in_place(world):
    world.edit(f"files/{DELTA}", "delta\nmore\n")
    assert f"{ENTRY} changed" in world.status()["reasons"]
    # Without the word, neither apply nor lint nor verify takes it, as in continuous integration.
    message = world.fails(3, "apply")
    assert f"{ENTRY} changed" in message
    assert "--relock" in message
    world.fails(3, "verify")
    assert "lock" in world.run("lint").err
    assert "exporting would undo that" in world.fails(4, "export")
    assert world.read(DELTA) == "delta\n"
    old = world.status()["tree"][:12]
    out = world.ok("apply", "--relock")
    assert f"because {ENTRY} changed" in out
    assert f"is accepted; it was {old}" in out
    assert world.read(DELTA) == "delta\nmore\n"
    for command in ("verify", "lint", "apply"):
        world.ok(command)
    assert "nothing changed" in world.ok("export")
    assert "accepted" not in world.ok("apply", "--relock")


@pytest.mark.parametrize("change", ["bytes", "mode", "new file", "file gone", "message", "renamed"])
def test_every_part_of_a_folder_is_in_the_stamp_and_the_lock(world, change):
    root = world.patches / ENTRY
    path = root / "files" / DELTA
    if change == "bytes":
        path.write_text("DELTA\n")
    elif change == "mode":
        path.chmod(0o755)
    elif change == "new file":
        path.with_name("other.py").write_text("other\n")
    elif change == "file gone":
        path.unlink()
    elif change == "message":
        (root / "message").write_text((root / "message").read_text().replace("old", "older"))
    else:
        path.rename(path.with_name("delta2.py"))
    assert world.status()["reasons"] == [f"{ENTRY} changed"]
    assert "[lock]" in world.run("lint").err
    world.ok("apply", "--relock")
    world.ok("lint")
    world.ok("verify")


def test_a_lock_with_the_marks_of_a_merge_is_replaced(world):
    lock = world.project.lock_path
    text = lock.read_text()
    lock.write_text(f"<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n")
    world.fails(2, "apply")
    world.ok("apply", "--relock")
    assert lock.read_text() == text


def test_a_file_is_edited_in_the_tree(world):
    (world.tree / DELTA).write_text("delta\nfrom the tree\n")
    (world.tree / "src/lib/beta.py").write_text(BETA + "six\n")
    git(world.tree, "commit", "-q", "-a", "--amend", "--no-edit")
    assert f"changed {ENTRY}" in world.ok("export")
    assert (world.patches / ENTRY / "files" / DELTA).read_text() == "delta\nfrom the tree\n"
    assert "+six" in (world.patches / ENTRY / "hooks.patch").read_text()
    shutil.rmtree(world.tree)
    world.ok("apply")
    assert "nothing changed" in world.ok("export")


def amend_trailer(world, trailer, *options):
    text = git(world.tree, "log", "-1", "--format=%B")
    text = "\n".join(row for row in text.split("\n") if not row.startswith("Patch: "))
    git(world.tree, "commit", "-q", "--amend", *options, "-m", f"{text.strip()}\nPatch: {trailer}")


def test_one_form_becomes_the_other_and_comes_back(world):
    before = queue(world)
    tree = world.status()["tree"]
    series = world.patches / "series"
    series.write_text(series.read_text().replace(ENTRY, f"# about delta\n{ENTRY}"))
    # A patch file needs an author; one that was built from a folder has none.
    world.ok("unapply")
    world.ok("apply")
    amend_trailer(world, "keras/delta")
    assert "--reset-author" in world.fails(1, "export")
    amend_trailer(world, "keras/delta", "--reset-author")
    out = world.ok("export")
    assert "added   keras/delta.patch" in out
    assert f"removed {ENTRY}" in out
    assert not (world.patches / ENTRY).exists()
    assert b"\nFrom: Dev Eloper <dev@" in (world.patches / "keras/delta.patch").read_bytes()
    assert series.read_text().endswith("# about delta\nkeras/delta.patch\n")
    world.ok("lint")
    amend_trailer(world, ENTRY)
    world.ok("export")
    assert queue(world) == before | {"series": series.read_bytes()}
    assert series.read_text().endswith(f"# about delta\n{ENTRY}\n")
    assert world.status()["tree"] == tree


def test_a_message_keeps_its_bytes_while_it_says_the_same(world):
    path = world.patches / ENTRY / "message"
    path.write_text("\n" + path.read_text() + "\n\n")
    text = path.read_text()
    world.ok("apply", "--relock")
    (world.tree / DELTA).write_text("other\n")
    git(world.tree, "commit", "-q", "-a", "--amend", "--no-edit")
    world.ok("export")
    assert path.read_text() == text


BAD_COMMITS = {
    "adds nothing": ({"src/lib/beta.py": "x\n"}, "keras/x/", "adds no file"),
    "deletes": ({"src/lib/x.py": "x\n", "src/lib/empty.py": None}, "keras/x/", "is deleted here"),
    "binary": ({"src/lib/x.bin": b"\0\1"}, "keras/x/", "binary"),
    "left behind": ({"src/lib/x.py~": "x"}, "keras/x/", "left behind"),
    "same stem": ({"src/lib/x.py": "x\n"}, "keras/delta", "2 times"),
    "no area": ({"src/lib/x.py": "x\n"}, "x/", "Patch: x/"),
    "touches": ({DELTA: "other\n"}, "keras/x", f"{DELTA}"),
}


@pytest.mark.parametrize("name", BAD_COMMITS)
def test_a_commit_that_makes_no_folder(world, name):
    files, slug, text = BAD_COMMITS[name]
    before = queue(world)
    world.commit(files, slug, "Change")
    message = world.fails(1, "export")
    assert text in message
    assert queue(world) == before


def test_a_patch_may_not_touch_what_a_folder_adds(world):
    world.commit({DELTA: "other\n"}, "keras/touch", "Touch")
    message = world.fails(1, "export")
    assert "keras/touch.patch" in message and ENTRY in message and DELTA in message
    git(world.tree, "reset", "-q", "--hard", "HEAD~1")
    # The same by hand: a patch that was right before the folder came.
    diff = (
        "From " + "0" * 40 + " Mon Sep 17 00:00:00 2001\nFrom: A <a@b.c>\nSubject: [PATCH] s\n\nb\n"
        "\nUpstream-Status: Pending\nRemove-When: x\n---\n\n"
    )
    blobs = [
        git(world.root, "hash-object", "--stdin", stdin=text) for text in ("delta\n", "other\n")
    ]
    diff += f"diff --git a/{DELTA} b/{DELTA}\nindex {blobs[0]}..{blobs[1]} 100644\n"
    diff += f"--- a/{DELTA}\n+++ b/{DELTA}\n@@ -1 +1 @@\n-delta\n+other\n"
    (world.patches / "keras/touch.patch").write_text(diff)
    with (world.patches / "series").open("a") as file:
        file.write("keras/touch.patch\n")
    for command in (("apply", "--relock"), ("report",)):
        message = world.fails(1, *command)
        assert f"keras/touch.patch changes a file that {ENTRY} adds: {DELTA}" in message
        assert f"patches/{ENTRY}" in message.partition("hint:")[2]
    err = world.run("lint").err
    assert f"patches/keras/touch.patch:11: changes {DELTA}, which {ENTRY} adds" in err
    # Two folders that add the same file are caught in the same way.
    (world.patches / "keras/touch.patch").unlink()
    world.edit("message", (world.patches / ENTRY / "message").read_text(), "keras/twin/")
    world.edit(f"files/{DELTA}", "delta\n", "keras/twin/")
    series = world.patches / "series"
    series.write_text(series.read_text().replace("keras/touch.patch", "keras/twin/"))
    message = world.fails(1, "apply", "--relock")
    assert "keras/twin/" in message and ENTRY in message
    assert "[added-elsewhere]" in world.run("lint").err


def test_a_linked_folder_is_refused(world):
    away = world.scratch / "away"
    (world.patches / ENTRY).rename(away)
    (world.patches / "keras/delta").symlink_to(away)
    assert "is a link" in world.fails(1, "apply")
    assert "is a link" in world.run("lint").err


def test_an_unlisted_folder_is_pointed_out_and_never_deleted(world):
    world.edit("message", "half done\n", "keras/later/")
    for command in ("apply", "status"):
        assert "not in the tree: keras/later/" in world.run(command).err
    assert "patches/keras/later/: the entry is not in the series" in world.run("lint").err
    world.commit({"src/lib/empty.py": "x\n"}, "keras/fill", "Fill")
    assert "keras/later/" in world.fails(4, "export")
    assert (world.patches / "keras/later/message").exists()
    # Nor is what lies in a listed one.
    shutil.rmtree(world.patches / "keras/later")
    world.edit("files/src/notes.py~", "notes")
    assert "notes.py~" in world.fails(1, "export")
    (world.patches / ENTRY / "files/src/notes.py~").unlink()
    world.ok("export")


def test_files_that_exist_or_cannot_be_beside_those_that_do(world):
    world.edit("files/src/lib/empty.py", "mine\n")
    message = world.fails(1, "apply", "--relock")
    assert f"patches/{ENTRY}files/src/lib/empty.py" in message
    assert "the new file exists with other content" in message
    world.edit("files/src/lib/empty.py", "")
    assert "is there already" in world.fails(1, "apply", "--relock")
    (world.patches / ENTRY / "files/src/lib/empty.py").unlink()
    world.edit("files/src/lib/Empty.py", "mine\n")
    assert "differ only in case" in world.fails(1, "apply", "--relock")
    (world.patches / ENTRY / "files/src/lib/Empty.py").unlink()
    world.edit("files/src/lib/alpha.py/x.py", "x\n")
    assert "both a file and a folder" in world.fails(1, "apply", "--relock")


def test_hooks_are_as_exact_as_a_patch(world):
    path = world.patches / ENTRY / "hooks.patch"
    text = path.read_text()
    path.write_text(text.replace(" three\n", " THREE\n"))
    message = world.fails(1, "apply", "--relock")
    assert f"patches/{ENTRY}hooks.patch:" in message
    assert "hunk 1, line 3" in message
    path.write_text(text.replace("+five", "+FIVE"))
    assert "promises" in world.fails(1, "apply", "--relock")
    path.write_text(text + "-- \n2.39.5\n")
    assert "[signature]" in world.run("lint").err


# Changes to the snapshot; the folder's verdict; a part of the evidence.
BUMPS = {
    "nothing": ({}, "clean", ""),
    "hooks": ({"lib/beta.py": "two\n"}, "hooks conflict", "src/lib/beta.py: conflict"),
    "file exists": (
        {"lib/new/delta.py": "theirs\n"},
        "a file that we add exists upstream now",
        f"{DELTA}: target exists",
    ),
    "file exists, the same": (
        {"lib/new/delta.py": "delta\n"},
        "a file that we add exists upstream now",
        f"{DELTA}: already applied",
    ),
}


@pytest.mark.parametrize("name", BUMPS)
def test_verdict_of_a_bump(world, name):
    changes, verdict, evidence = BUMPS[name]
    archive = world.scratch / "thing-2.0.tar.gz"
    archive.write_bytes(make_archive(FILES | changes, "thing-2.0"))
    report = json.loads(world.run("bump", "--archive", str(archive), "--json").out)
    trial = {trial["patch"]: trial for trial in report["trials"]}[ENTRY]
    assert trial["verdict"] == verdict
    assert evidence in "\n".join(trial["evidence"])


def test_a_port_keeps_the_form(world):
    """Upstream adds a file of ours, and the rebase keeps theirs: the rest stays a folder."""
    before = queue(world)
    archive, port = world.scratch / "thing-2.0.tar.gz", world.scratch / "port"
    info = "Metadata-Version: 2.1\nName: thing\nVersion: 2.0\n"
    files = FILES | {"PKG-INFO": info, "lib/new/delta.py": "theirs\n"}
    archive.write_bytes(make_archive(files, "thing-2.0"))
    world.ok("bump", "--archive", str(archive), "--port", str(port), "--write")
    with pytest.raises(AssertionError, match="could not apply"):
        git(port, "rebase", "-q", "--onto", "snapshot/new", "snapshot/old", "main")
    (port / DELTA).write_text("theirs\n")
    git(port, "add", "--all")
    git(port, "-c", "core.editor=true", "rebase", "--continue")
    out = world.ok("export", "--from", str(port))
    assert f"changed {ENTRY}" in out
    assert queue(world).keys() == before.keys() - {f"{ENTRY}files/{DELTA}"}
    world.ok("lint")
    world.ok("apply")
    assert world.read(DELTA) == "theirs\n"


def test_report_has_a_row(world):
    rows = {row["patch"]: row for row in json.loads(world.ok("report", "--json"))}
    row = rows[ENTRY]
    assert (row["area"], row["files"], row["removed"]) == ("keras", len(ADDED) + 1, 0)
    assert row["added"] == 8


def test_git_keeps_the_bytes(world):
    """Whatever a clone is told about line ends, the files stay as they were committed."""
    shutil.copy2(REPOSITORY / ".gitattributes", world.root)
    (world.root / ".gitignore").write_text("third_party/models\nthird_party/.*\n")
    git(world.root, "init", "-q")
    git(world.root, "config", "core.autocrlf", "true")
    git(world.root, "add", "--all")
    git(world.root, "commit", "-q", "-m", "x")
    git(world.scratch, "clone", "-q", "-c", "core.autocrlf=true", str(world.root), "clone")
    for name in ADDED:
        path = f"patches/{ENTRY}files/{name}"
        assert (world.scratch / "clone" / path).read_bytes() == (world.root / path).read_bytes()
    # Negative control: without the attributes git changes them.
    (world.root / ".gitattributes").unlink()
    git(world.root, "commit", "-q", "-a", "-m", "x")
    git(world.scratch, "clone", "-q", "-c", "core.autocrlf=true", str(world.root), "changed")
    path = f"patches/{ENTRY}files/{DELTA}"
    assert (world.scratch / "changed" / path).read_bytes() == b"delta\r\n"
