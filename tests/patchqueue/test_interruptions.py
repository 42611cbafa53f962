"""Runs that are killed, meet each other, or lack git or room on the disk."""

import fcntl
import os
import resource
import shutil
import subprocess
import time

import pytest

from tests.patchqueue.world import REPOSITORY


def test_a_git_that_outlives_a_killed_run_is_waited_for(patched):
    """Otherwise the next run tidies up a folder that is being written."""
    patched.ok("unapply")
    started, go_on = patched.scratch / "started", patched.scratch / "go-on"
    slow = patched.scratch / "bin/git"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *reset*) touch {started}; '
        f"while ! test -e {go_on}; do sleep 0.05; done;; esac\n"
        f'exec {shutil.which("git")} "$@"\n'
    )
    slow.chmod(0o755)
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"{slow.parent}:{os.environ['PATH']}",
    }
    run = subprocess.Popen(patched.command("apply"), env=environment, stderr=subprocess.DEVNULL)
    while not started.exists():
        time.sleep(0.02)
    run.kill()
    run.wait()
    assert "another run" in patched.fails(5, "apply")
    go_on.touch()
    patched.ok("apply", "--wait")
    patched.ok("verify")


def test_leftovers_of_a_killed_run_are_cleared(patched):
    parent = patched.tree.parent
    (parent / ".models.staging-dead/src").mkdir(parents=True)
    shutil.copytree(patched.tree, parent / ".models.previous")
    patched.ok("apply")
    assert not list(parent.glob(".models.staging-*"))
    assert not (parent / ".models.previous").exists()
    patched.ok("verify")


def test_killed_between_the_two_renames(patched):
    """Where names cannot be exchanged, the old folder rests under another one for a moment."""
    patched.tree.rename(patched.tree.with_name(".models.previous"))
    patched.patches.rename(patched.patches.with_name(".patches.previous"))
    patched.ok("apply")
    patched.ok("verify")


def test_swap_without_an_exchange(patched, monkeypatch):
    monkeypatch.setattr("patchqueue.files._exchange", lambda first, second: False)
    patched.ok("unapply")
    patched.ok("apply")
    patched.ok("verify")
    patched.commit({"src/lib/empty.py": "x\n"}, "keras/fill", "Fill")
    patched.ok("export")
    patched.ok("lint")
    assert not list(patched.root.rglob(".*.previous"))


def test_two_runs_at_once(patched):
    """Both start together on no tree: one builds, the other waits, or leaves with exit 5."""
    shutil.rmtree(patched.tree)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    runs = [
        subprocess.Popen(
            patched.command("apply", *extra),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for extra in ((), (), ("--wait",), ("--wait",))
    ]
    outputs = [run.communicate(timeout=60) for run in runs]
    assert all(run.returncode in (0, 5) for run in runs[:2]), outputs
    assert all(run.returncode == 0 for run in runs[2:]), outputs
    assert sum("built" in out for out, _ in outputs) == 1
    patched.ok("verify")


def test_held_lock(patched):
    with patched.project.mutex.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for command in ("apply", "unapply", "export"):
            assert "another run" in patched.fails(5, command)
        patched.ok("status")
    patched.ok("apply")


def test_missing_git(patched, monkeypatch):
    shutil.rmtree(patched.tree)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "git is not installed" in patched.fails(2, "apply")
    assert not list(patched.tree.parent.glob(".models.staging-*"))


def test_old_git(patched, monkeypatch):
    fake = patched.scratch / "git"
    fake.write_text("#!/bin/sh\necho git version 2.17.1\n")
    fake.chmod(0o755)
    shutil.rmtree(patched.tree)
    monkeypatch.setenv("PATH", str(patched.scratch))
    assert "too old" in patched.fails(2, "apply")


def test_full_disk(patched):
    """A limit on file size stands for a full disk: writing fails somewhere in the middle."""
    before = patched.state()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        patched.fails(1, "unapply")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert patched.state() == before
    assert not list(patched.tree.parent.glob(".models.staging-*"))
    patched.ok("unapply")


def test_readers_never_see_a_mixture(patched):
    """While the tree goes back and forth, its two files always belong together."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    script = 'for i in 1 2 3; do "$@" unapply && "$@" apply; done'
    loop = subprocess.Popen(
        ["sh", "-c", script, "sh", *patched.command()],
        env=environment,
        stdout=subprocess.DEVNULL,
    )

    def read(name, folder):
        file = os.open(name, os.O_RDONLY, dir_fd=folder)
        with os.fdopen(file) as text:
            return text.read()

    seen = set()
    while loop.poll() is None:
        # A directory handle pins one tree, old or new; the swap cannot change it under us.
        try:
            folder = os.open(patched.tree, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            pytest.fail("there was a moment without a tree")
        try:
            twenty = "line twenty" in read("src/lib/alpha.py", folder)
            four = "four" in read("src/lib/beta.py", folder)
        except FileNotFoundError:
            continue  # The old tree, which is being deleted.
        finally:
            os.close(folder)
        assert twenty == four
        seen.add(twenty)
        time.sleep(0.001)
    assert loop.returncode == 0
    assert seen == {True, False}
