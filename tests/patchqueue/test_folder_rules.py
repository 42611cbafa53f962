"""What does not belong into a folder has its rule in lint, and apply refuses it too."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.patchqueue.world import ENTRY, World


@pytest.fixture
def world(with_folder) -> World:
    """The project with a folder after its two patches."""
    return with_folder


def link(name, target="message"):
    return lambda root: (root / name).symlink_to(target)


def write(name, text="x"):
    def damage(root: Path):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return damage


def in_hooks(old, new):
    def damage(root: Path):
        text = (root / "hooks.patch").read_text()
        assert old in text
        (root / "hooks.patch").write_text(text.replace(old, new, 1))

    return damage


BETA_DIFF = "diff --git a/src/lib/beta.py b/src/lib/beta.py\n"
# What is done to the folder; the rule of lint; what both messages name.
STRAY = {
    "beside": (write("README.md"), "stray", "README.md"),
    "folder beside": (write("notes/x.md"), "stray", "notes"),
    "backup": (write("files/src/lib/x.py~"), "stray", "files/src/lib/x.py~"),
    "backup of the message": (write("message~"), "stray", "message~"),
    "swap file": (write("files/src/.x.py.swp"), "stray", ".x.py.swp"),
    "lock of an editor": (link("files/src/.#x.py", "me@here"), "unsafe-path", ".#x.py"),
    "rejected hunks": (write("files/src/lib/x.py.rej"), "stray", "x.py.rej"),
    "bytecode": (write("files/src/__pycache__/x.cpython-311.pyc"), "stray", "__pycache__"),
    "attributes": (write("files/.gitattributes", "* text"), "stray", ".gitattributes"),
    "ignore rules": (write("files/src/.gitignore", "*"), "stray", ".gitignore"),
    "repository": (write("files/.git/config"), "unsafe-path", "files/.git"),
    "link": (link("files/src/x.py", "lib/run.sh"), "unsafe-path", "files/src/x.py"),
    "link to a folder": (link("files/up", "../.."), "unsafe-path", "files/up"),
    "link for the message": (
        lambda root: ((root / "message").unlink(), link("message", "hooks.patch")(root)),
        "stray",
        "message",
    ),
    "pipe": (lambda root: os.mkfifo(root / "files/pipe"), "unsafe-path", "files/pipe"),
    "empty folder": (lambda root: (root / "files/none").mkdir(), "stray", "files/none/"),
    "case": (write("files/src/lib/new/Delta.py"), "unsafe-path", "differ only in case"),
    "case of a folder": (write("files/src/lib/New/x.py"), "unsafe-path", "differ only in case"),
    "backslash": (write("files/src/a\\b.py"), "unsafe-path", "backslash"),
    "not UTF-8": (write(os.fsdecode(b"files/\xff.py")), "unsafe-path", "UTF-8"),
    "executable message": (lambda root: (root / "message").chmod(0o755), "stray", "message"),
    "generated": (write("files/src/lib/x_pb2.py"), "generated", "files/src/lib/x_pb2.py"),
    "binary": (write("files/src/lib/x.py", b"\0"), "binary", "files/src/lib/x.py"),
    "no message": (lambda root: (root / "message").unlink(), "header", "message"),
    "empty message": (write("message", "\n"), "header", "message"),
    "message not UTF-8": (write("message", b"\xff\n"), "header", "message"),
    "message with a NUL": (write("message", "s\0\n"), "binary", "NUL"),
    "message with CRLF": (write("message", "s\r\n\r\nb\r\n"), "crlf", "message:1"),
    "subject of two lines": (write("message", "s\nt\n"), "header", "message:2"),
    "no files": (lambda root: shutil.rmtree(root / "files"), "no-change", "adds no file"),
    "empty hooks": (write("hooks.patch", ""), "no-change", "hooks.patch"),
    "hooks with a header": (write("hooks.patch", "Subject: x\n"), "malformed", "hooks.patch:1"),
    "hooks that add": (
        in_hooks(
            BETA_DIFF,
            f"diff --git a/n.py b/n.py\nnew file mode 100644\nindex {'0' * 40}..{'1' * 40}\n"
            f"--- /dev/null\n+++ b/n.py\n@@ -0,0 +1 @@\n+n\n{BETA_DIFF}",
        ),
        "malformed",
        "n.py is added here",
    ),
    "hooks and files": (
        write("files/src/lib/beta.py"),
        "malformed",
        "src/lib/beta.py is changed in hooks.patch and added in files/",
    ),
    "short index": (in_hooks("index ", "index 12..34 100644\nindex "), "short-index", "patch:2"),
    "miscounted hunk": (in_hooks(",4 @@", ",5 @@"), "malformed", "hooks.patch:"),
}


@pytest.mark.parametrize("name", STRAY)
def test_what_does_not_belong_into_a_folder(world, name):
    damage, rule, text = STRAY[name]
    before = world.state()
    damage(world.patches / ENTRY)
    found = json.loads(world.run("lint", "--json").out)
    assert rule in {problem["rule"] for problem in found}
    told = world.run("lint").err
    assert text in told
    assert f"patches/{ENTRY}" in told
    message = world.fails(1, "apply", "--relock")
    assert text in message
    assert f"patches/{ENTRY}" in message
    assert world.state() == before


def test_rules_of_the_message_and_of_names(world):
    path = world.patches / ENTRY / "message"
    text = path.read_text()
    for old, new, rule in (
        ("Upstream-Status: Pending\n", "", "upstream-status"),
        ("Remove-When:", "Patch: keras/delta/\nRemove-When:", "patch-trailer"),
        ("The old way fails.\n\n", "", "body"),
    ):
        path.write_text(text.replace(old, new))
        assert f"patches/{ENTRY}message" in world.run("lint").err
        assert f"[{rule}]" in world.run("lint").err
    path.write_text(text)
    series = world.patches / "series"
    listed = series.read_text()
    for line, told in (
        ("keras/delta.patch", "listed"),
        (ENTRY, "listed"),
        ("keras/gone/", "gone"),
        ("../delta/", "'..'"),
    ):
        series.write_text(f"{listed}{line}\n")
        assert told in world.run("lint").err
        world.fails(1, "apply", "--relock")
    series.write_text(listed.replace(ENTRY, "keras/delta"))
    assert "write it as keras/delta/" in world.run("lint").err
    assert "write a folder as keras/delta/" in world.fails(1, "apply")
    (world.patches / ENTRY).rename(world.patches / "keras/Delta")
    series.write_text(listed.replace(ENTRY, "keras/Delta/"))
    assert "[name]" in world.run("lint").err
