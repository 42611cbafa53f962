"""Folders that are written to: what is there goes as a whole, or stays as a whole."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from odapi.console import output_folder
from odapi.console.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with an old file."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    return tmp_path / "out"


def check(folder: Path, force: bool, foreign: Sequence[str] = ()) -> None:
    output_folder.check(folder, force=force, kind="import", foreign=lambda _: foreign)


def test_the_new_folder_takes_the_place_of_the_old(folder):
    with output_folder.replacing(folder) as new:
        (new / "new").write_text("new")
        assert (folder / "old").is_file()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_a_failure_between_the_two_renames_brings_the_old_folder_back(folder, monkeypatch, failure):
    replace, calls = os.replace, []

    def fails_once(*paths: Path) -> None:
        calls.append(paths)
        if len(calls) == 2:
            raise failure
        replace(*paths)

    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(failure), output_folder.replacing(folder) as new:
        (new / "new").write_text("new")
    assert (folder / "old").read_text() == "old"
    assert list(folder.parent.iterdir()) == [folder]


def test_the_old_folder_stays_where_the_new_one_is_not_made(folder):
    with pytest.raises(ValueError, match="no"), output_folder.replacing(folder) as new:
        (new / "new").write_text("new")
        raise ValueError("no")
    assert (folder / "old").read_text() == "old"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_link_stays_and_what_it_leads_to_is_replaced(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    with output_folder.replacing(link) as new:
        (new / "new").write_text("new")
    assert link.is_symlink()
    assert [path.name for path in folder.iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("force", "foreign", "words"),
    [
        (False, [], ["is not empty", "replace it with --force"]),
        (False, ["old"], ["is not empty", "take another one"]),
        (True, ["old"], ["would remove old, which no import wrote"]),
        (True, [], None),
    ],
)
def test_what_may_be_replaced(folder, force, foreign, words):
    if words is None:
        check(folder, force, foreign)
        return
    with pytest.raises(UserError) as refused:
        check(folder, force, foreign)
    assert f"at: --output_dir {folder}" in str(refused.value)
    assert all(word in str(refused.value) for word in words)


def test_a_file_is_no_folder(folder):
    with pytest.raises(UserError, match="the output directory is a file"):
        check(folder / "old", force=True)


def test_what_is_missing_or_empty_needs_no_force(tmp_path):
    check(tmp_path / "new", force=False)
    check(tmp_path, force=False)


def test_single_files_go_into_a_folder_that_keeps_the_others(folder):
    with output_folder.keeping(folder, folder / "inner"):
        (folder / "new").write_text("new")
    assert sorted(path.name for path in folder.iterdir()) == ["inner", "new", "old"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("way", [output_folder.replacing, output_folder.keeping])
def test_a_disk_that_takes_no_more_is_told_by_name(folder, number, way):
    with pytest.raises(UserError, match=os.strerror(number)), way(folder):
        raise OSError(number, os.strerror(number), str(folder / "new"))
    assert (folder / "old").read_text() == "old"


@pytest.mark.parametrize("way", [output_folder.replacing, output_folder.keeping])
def test_other_errors_pass(folder, way):
    with pytest.raises(FileNotFoundError), way(folder):
        (folder / "missing").read_text()


def test_two_runs_at_once(folder):
    """The second is refused, and takes nothing away from the first."""
    with output_folder.replacing(folder) as new:
        (new / "first").write_text("new")
        refused = pytest.raises(UserError, match="another run is writing to the output directory")
        with refused, output_folder.replacing(folder):
            pass
        (new / "second").write_text("new")
    assert sorted(path.name for path in folder.iterdir()) == ["first", "second"]
    with output_folder.replacing(folder):
        pass
    assert list(folder.parent.iterdir()) == [folder]


def test_a_run_that_was_killed_between_the_two_renames_loses_nothing(folder):
    staging = folder.with_name(".out.partial")
    (staging / "new").mkdir(parents=True)
    folder.rename(staging / "old")
    with pytest.raises(ValueError, match="no"), output_folder.replacing(folder) as new:
        assert not list(new.iterdir())
        raise ValueError("no")
    assert (folder / "old").read_text() == "old"
    assert list(folder.parent.iterdir()) == [folder]


def test_the_current_folder_stays_current(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with output_folder.replacing(Path()) as new:
        (new / "new").write_text("new")
    assert [path.name for path in Path().iterdir()] == ["new"]
    assert Path.cwd() == folder


@pytest.fixture
def mounted(folder, monkeypatch) -> Path:
    """A folder that says it is a mount point."""
    monkeypatch.setattr(Path, "is_mount", lambda self: self == folder)
    return folder


def test_content_of_a_mount_is_replaced_and_not_the_mount(mounted):
    (mounted / "lost+found").mkdir()
    before = mounted.stat().st_ino
    with output_folder.replacing(mounted) as new:
        assert new.is_relative_to(mounted)
        (new / "inner").mkdir()
        (new / "inner/new").write_text("new")
        assert (mounted / "old").is_file()
    assert sorted(path.name for path in mounted.iterdir()) == ["inner", "lost+found"]
    assert (mounted / "inner/new").read_text() == "new"
    assert mounted.stat().st_ino == before


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_a_failure_among_the_renames_in_a_mount_brings_the_old_files_back(
    mounted, monkeypatch, failure, call
):
    (mounted / "same").write_text("old")
    replace, calls = os.replace, []

    def fails_once(*paths: Path) -> None:
        calls.append(paths)
        if len(calls) == call:
            raise failure
        replace(*paths)

    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(failure), output_folder.replacing(mounted) as new:
        (new / "same").write_text("new")
    assert {path.name: path.read_text() for path in mounted.iterdir()} == {
        "old": "old",
        "same": "old",
    }


def test_what_a_killed_run_left_in_a_mount_does_not_count(mounted):
    (mounted / "old").unlink()
    (mounted / ".odapi.partial/new").mkdir(parents=True)
    check(mounted, force=False)
    with output_folder.replacing(mounted) as new:
        (new / "new").write_text("new")
    assert [path.name for path in mounted.iterdir()] == ["new"]


# The rest on real disks.


def in_namespace(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script as root of a mount namespace of its own, which ends with it."""
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", script],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def can_mount() -> None:
    if (done := in_namespace("mount -t tmpfs tmpfs /mnt")).returncode:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")


PROGRAM = """
import sys
from pathlib import Path
from odapi.console import output_folder
from odapi.console.errors import UserError
way, folder, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
try:
    if way == "empty":
        output_folder.empty(folder)
    else:
        with getattr(output_folder, way)(folder) as new:
            ((new or folder) / "new").write_bytes(bytes(size))
except UserError as error:
    sys.exit(str(error))
"""


def write(way: str, folder: Path, size: int = 4) -> str:
    """The command of a process that writes a file of so many bytes."""
    return shlex.join([sys.executable, "-c", PROGRAM, way, str(folder), str(size)])


@pytest.mark.parametrize("before", ["true", "echo old > {0}/old; mkdir {0}/older"])
@pytest.mark.parametrize("way", ["replacing", "empty"])
def test_a_mount_point_is_written_to(can_mount, tmp_path, before, way):
    folder = tmp_path / "out"
    folder.mkdir()
    done = in_namespace(f"""
        mount -t tmpfs tmpfs {folder}
        {before.format(folder)}
        {write(way, folder)}
        mountpoint -q {folder}
        ls -A {folder}
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == (["new"] if way == "replacing" else [])


def test_a_mount_point_of_the_same_disk(can_mount, tmp_path):
    """Its device does not tell it from the folder around it, and a space is escaped in the list."""
    source, folder = tmp_path / "source", tmp_path / "the out"
    source.mkdir()
    folder.mkdir()
    done = in_namespace(f"""
        mount --bind {source} '{folder}'
        {write("replacing", folder)}
        ls -A '{folder}'
    """)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in source.iterdir()] == done.stdout.split() == ["new"]


@pytest.mark.parametrize("way", ["replacing", "keeping"])
def test_a_full_disk(can_mount, tmp_path, way):
    """The same words for a mount and for a folder in one; the old file is still there."""
    for folder in (tmp_path, tmp_path / "out"):
        done = in_namespace(f"""
            mount -t tmpfs -o size=64k tmpfs {tmp_path}
            mkdir -p {folder}
            echo old > {folder}/old
            {write(way, folder, 1_000_000)} || echo "code $?"
            cat {folder}/old
            find {tmp_path} -name '*.partial'
        """)
        assert done.stdout.split("\n") == ["code 1", "old", ""], done.stderr
        assert "error: nothing can be written: No space left on device" in done.stderr
        assert "hint: make room" in done.stderr


@pytest.mark.parametrize("way", ["replacing", "keeping", "empty"])
def test_a_read_only_disk(can_mount, tmp_path, way):
    for folder in (tmp_path, tmp_path / "out"):
        done = in_namespace(f"""
            mount -t tmpfs tmpfs {tmp_path}
            mkdir -p {folder}
            echo old > {folder}/old
            mount -o remount,ro {tmp_path}
            {write(way, folder)} || echo "code $?"
            cat {folder}/old
        """)
        assert done.stdout.split("\n") == ["code 1", "old", ""], done.stderr
        assert "error: nothing can be written: Read-only file system" in done.stderr
        assert "hint: name a folder that can be written to" in done.stderr
