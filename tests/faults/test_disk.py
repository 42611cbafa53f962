"""A disk that is really full, and one that is really read-only."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from tests.patchqueue.world import REPOSITORY, World


def _in_namespace(script: str) -> subprocess.CompletedProcess:
    """Run a shell script as root of a mount namespace of its own, which ends with it."""
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", script],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def world(tmp_path, capsys):
    """The project with two patches, unapplied."""
    if (done := _in_namespace("mount -t tmpfs tmpfs /mnt")).returncode:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    world = World.make(tmp_path, capsys)
    world.add_patches()
    world.ok("unapply")
    return world


def _apply(world: World) -> str:
    return shlex.join(world.command("apply"))


# Kilobytes left: none, for the staging folder, for some objects, for some files.
@pytest.mark.parametrize("left", [0, 8, 40, 80, 120])
def test_full_disk(world, left):
    """On a small disk the tree stays the old one; with room again the command completes."""
    folder = shlex.quote(str(world.project.target.parent))
    before = world.state()
    copy = shlex.quote(str(world.scratch / "copy"))
    done = _in_namespace(f"""
        cp -a {folder} {copy}
        mount -t tmpfs -o size=64m,mode=755 tmpfs {folder}
        cp -a {copy}/. {folder}
        used=$(df -k --output=used {folder} | tail -n 1)
        mount -o remount,size=$((used + {left}))k {folder}
        code=0
        {_apply(world)} || code=$?
        test ! -e {folder}/.models.staging-*
        rm -rf {copy}
        cp -a {folder} {copy}
        mount -o remount,size=64m {folder}
        {_apply(world)}
        {shlex.join(world.command("verify"))}
        exit $((10 + code))
    """)
    assert done.returncode == 11, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr or "the disk is full" in done.stderr
    tree = world.scratch / "copy/models"
    after = {str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}
    assert after == before


@pytest.mark.parametrize("command", ["apply", "unapply", "export"])
def test_read_only(world, command):
    """Nothing can be written: exit 1 with the reason. What only reads works all the same."""
    world.ok("apply")
    folder = shlex.quote(str(world.root))
    before = world.state()
    done = _in_namespace(f"""
        mount --bind {folder} {folder}
        mount -o remount,bind,ro {folder}
        {shlex.join(world.command("status"))}
        {shlex.join(world.command("verify"))}
        {shlex.join(world.command("lint"))}
        {shlex.join(world.command(command))} || exit $((10 + $?))
    """)
    assert done.returncode == 11, done.stdout + done.stderr
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr
    assert world.state() == before
    world.ok("apply")
