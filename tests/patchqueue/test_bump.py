"""The queue tried on other snapshots: constructed ones, and an older release of the real one."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from patchqueue.archive import fetch
from patchqueue.errors import ExitCode, QueueError
from patchqueue.project import Project, load_pin
from tests.patchqueue.world import ALPHA, FILES, REPOSITORY, git, make_archive, message


@pytest.fixture
def other(patched):
    """Returns the trial, as JSON, of the queue on the snapshot with some files changed."""

    def other(changes: dict[str, str | bytes | None], *arguments: str, code: int = 0) -> dict:
        files = {k: v for k, v in (FILES | changes).items() if v is not None}
        archive = patched.scratch / "thing-2.0.tar.gz"
        info = "Metadata-Version: 2.1\nName: thing\nVersion: 2.0\n"
        archive.write_bytes(make_archive(files | {"PKG-INFO": info}, "thing-2.0"))
        done = patched.run("bump", "--archive", str(archive), "--json", *arguments)
        assert done.code == code, done.err
        return json.loads(done.out)

    return other


def _verdicts(report):
    return {trial["patch"]: trial["verdict"] for trial in report["trials"]}


# The change to the snapshot, and what becomes of the patch that changes lib/alpha.py.
ALPHA_CASES = {
    "other file": ({"lib/tool.sh": "#!/bin/sh\n"}, "clean", ""),
    "far away": (
        {"lib/alpha.py": FILES["lib/alpha.py"].replace("line 40\n", "line forty\n")},
        "fits, file differs elsewhere",
        "the patch was made from",
    ),
    "moved": (
        {"lib/alpha.py": "first\n" * 3 + FILES["lib/alpha.py"]},
        "fits with an offset",
        "hunk 1 fits +3 lines",
    ),
    "upstream": ({"lib/alpha.py": ALPHA}, "already upstream", "as the patch would leave it"),
    "upstream and more": (
        {"lib/alpha.py": "first\n" + ALPHA},
        "already upstream",
        "the lines it adds are there already",
    ),
    "conflict": (
        {"lib/alpha.py": FILES["lib/alpha.py"].replace("line 20\n", "line XX\n")},
        "conflict",
        "found    'line XX\\n'",
    ),
    "renamed": (
        {"lib/alpha.py": None, "lib/omega.py": FILES["lib/alpha.py"] + "more\n"},
        "target renamed",
        "src/lib/omega.py has 98% of its lines",
    ),
    "deleted": ({"lib/alpha.py": None}, "target deleted", "there is no such file"),
}


@pytest.mark.parametrize("name", ALPHA_CASES)
def test_verdict(other, name):
    changes, verdict, evidence = ALPHA_CASES[name]
    fits = verdict == "clean" or verdict.startswith("fits")
    report = other(changes, code=0 if fits else 1)
    assert _verdicts(report) == {"compat/alpha-twenty": verdict, "keras/gamma": "clean"}
    assert evidence in "".join(report["trials"][0]["evidence"])
    assert bool(report["trials"][0]["evidence"]) == (verdict != "clean")


def test_a_patch_on_top_of_one_that_did_not_fit_says_so(patched, other):
    patched.commit({"src/lib/new/gamma.py": "gamma\ndelta\n"}, "keras/delta", "Add delta")
    patched.ok("export")
    report = other({"lib/beta.py": "quite\nother\n"}, code=1)
    verdicts = _verdicts(report)
    assert verdicts["keras/gamma"] == "conflict"
    assert verdicts["keras/delta"] == "conflict"
    assert "keras/gamma, which comes before and did not fit" in report["trials"][2]["evidence"][0]


def test_a_trial_changes_nothing(patched, other):
    before = patched.state(), patched.project.pin_path.read_bytes()
    other({"lib/alpha.py": None}, code=1)
    assert (patched.state(), patched.project.pin_path.read_bytes()) == before
    assert "up to date" in patched.ok("status")


def test_crlf_is_compared_as_lf_and_not_pinned(patched, other):
    files = {
        name: text.encode().replace(b"\n", b"\r\n")
        for name, text in FILES.items()
        if name.endswith(".py")
    }
    report = other(files)
    assert set(_verdicts(report).values()) == {"clean"}
    assert report["crlf"] == 3
    archive = patched.scratch / "thing-2.0.tar.gz"
    before = patched.project.pin_path.read_bytes()
    assert "CRLF" in patched.fails(2, "bump", "--archive", str(archive), "--write")
    assert patched.project.pin_path.read_bytes() == before


def test_layout_that_the_archive_lacks(patched, other):
    assert other({"LICENSE": None})["missing"] == ["LICENSE"]
    archive = str(patched.scratch / "thing-2.0.tar.gz")
    assert "lacks LICENSE" in patched.fails(2, "bump", "--archive", archive, "--write")


def test_written_pin_is_the_archives_and_keeps_its_comments(patched, other):
    path = patched.project.pin_path
    path.write_text("# why this one\n" + path.read_text())
    patched.ok("apply", "--relock")
    report = other({"lib/tool.sh": "#!/bin/sh\necho new\n"}, "--write")
    archive = patched.scratch / "thing-2.0.tar.gz"
    pin = load_pin(patched.project)
    assert (pin.package, pin.version, pin.filename) == ("thing", "2.0", archive.name)
    assert pin.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert pin.tree == report["pin"]["tree"]
    assert path.read_text().startswith("# why this one\n")
    # All patches are clean, so the queue builds on it, from the cached archive.
    assert "not the locked one" in patched.fails(3, "apply")
    patched.ok("apply", "--relock")
    patched.ok("verify")
    assert "echo new" in patched.read("src/lib/tool.sh")


def test_hostile_archives_are_refused_here_too(patched):
    archive = patched.scratch / "thing-2.0.tar.gz"
    archive.write_bytes(make_archive({"../../x": "x"}))
    assert "'..'" in patched.fails(3, "bump", "--archive", str(archive))
    archive.write_bytes(make_archive({"lib/x": b"\0" * 1_000_000}))
    assert "unpacks to more than" in patched.fails(3, "bump", "--archive", str(archive))
    archive.write_bytes(make_archive({"lib/\udcff.py": "x"}))
    assert "UTF-8" in patched.fails(3, "bump", "--archive", str(archive))
    # A header that says -512 sends tarfile back to the same header for ever.
    header = bytearray(tarfile.TarInfo("thing-2.0/lib/x").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    archive.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    assert "a size of -512" in patched.fails(3, "bump", "--archive", str(archive))
    archive.write_bytes(b"no archive")
    patched.fails(3, "bump", "--archive", str(archive))
    patched.fails(2, "bump", "--archive", str(patched.scratch / "absent.tar.gz"))


def test_port_carries_a_conflict_over(patched, other, monkeypatch):
    """From the trial to a whole tree on the new snapshot, with git doing the merging."""
    monkeypatch.chdir(patched.scratch)
    changed = "first\n" + FILES["lib/alpha.py"].replace("line 21\n", "line twenty-one\n")
    port = patched.scratch / "port"
    other({"lib/alpha.py": changed}, "--port", "port", "--write")
    git_dir = port / ".git"
    assert git(port, "status", "--short") == ""
    assert not (git_dir / "patchqueue.json").exists()
    with pytest.raises(AssertionError, match="could not apply"):
        git(port, "rebase", "-q", "--onto", "snapshot/new", "snapshot/old", "main")
    resolved = changed.replace("line 20\n", "line twenty\n")
    (port / "src/lib/alpha.py").write_text(resolved)
    git(port, "add", "--all")
    git(port, "-c", "core.editor=true", "rebase", "--continue")
    patched.ok("export", "--from", str(port))
    patched.ok("lint")
    patched.ok("apply")
    patched.ok("verify")
    assert patched.read("src/lib/alpha.py") == resolved
    assert patched.read("src/lib/new/gamma.py") == "gamma\n"


def test_port_refuses_what_it_would_leave_behind(patched, other):
    other({})
    archive, port = str(patched.scratch / "thing-2.0.tar.gz"), patched.scratch / "port"
    (patched.tree / "src/lib/alpha.py").write_text("edited\n")
    patched.fails(4, "bump", "--archive", archive, "--port", str(port))
    git(patched.tree, "checkout", "--", ".")
    port.mkdir()
    message = patched.fails(2, "bump", "--archive", archive, "--port", str(port))
    assert "something already" in message


def test_what_cannot_be_pinned(patched, other):
    assert "no PKG-INFO" in patched.fails(2, "bump", "--archive", str(patched.archive), "--write")
    other({"lib/alpha.py": None}, code=1)
    archive = patched.scratch / "thing-2.0.tar.gz"
    assert "give --port" in patched.fails(2, "bump", "--archive", str(archive), "--write")
    other({})
    renamed = archive.rename(archive.with_name("thing new (1).tar.gz"))
    assert "of thing-2.0" in patched.fails(2, "bump", "--archive", str(renamed), "--write")


def test_port_carries_what_was_exported_from_another_branch(patched, other):
    git(patched.tree, "switch", "-q", "-c", "work")
    patched.commit({"src/lib/empty.py": "x\n"}, "keras/fill", "Fill")
    patched.ok("export")
    port = patched.scratch / "port"
    other({}, "--port", str(port))
    assert git(port, "rev-list", "--count", "snapshot/old..main") == "3"
    # An interrupted run that came so far is gone on from; a port that was used is left alone.
    other({}, "--port", str(port))
    (port / "src/lib/empty.py").write_text("mine\n")
    archive = str(patched.scratch / "thing-2.0.tar.gz")
    patched.fails(2, "bump", "--archive", archive, "--port", str(port))


# The file before the patch, after it, in the new snapshot, and what becomes of the patch there.
ENDS = {
    "appended, and upstream has it": (
        ("1\n2\n3\n4\n5\n", "1\n2\n3\n4\n5\n6\n", "0\n1\n2\n3\n4\n5\n6\n"),
        "already upstream",
    ),
    "put on top, and upstream has it": (
        ("1\n2\n3\n4\n5\n", "0\n1\n2\n3\n4\n5\n", "0\n1\n2\n3\n4\nfive\n"),
        "already upstream",
    ),
    "filled, and upstream did otherwise": (("", "1\n", "2\n"), "conflict"),
    "deleted, and upstream goes on with it": (("1\n2\n", None, "1\n2\n3\n"), "conflict"),
    "cut short, and upstream edits what is cut": (
        ("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\n", "1\n2\n3\n4\nfive\n6\n"),
        "conflict",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends_of_files(world, name):
    (before, after, new), verdict = ENDS[name]
    world.pin(FILES | {"lib/end.py": before})
    world.build()
    world.commit({"src/lib/end.py": after}, "compat/end", "Change the end")
    world.ok("export")
    archive = world.scratch / "thing-2.0.tar.gz"
    archive.write_bytes(make_archive(FILES | {"lib/end.py": new}, "thing-2.0"))
    report = json.loads(world.run("bump", "--archive", str(archive), "--json").out)
    assert _verdicts(report) == {"compat/end": verdict}


def test_two_patches_of_a_file_that_is_gone(patched, other):
    patched.commit({"src/lib/alpha.py": ALPHA + "more\n"}, "keras/more", "Add more")
    patched.ok("export")
    verdicts = _verdicts(other({"lib/alpha.py": None}, code=1))
    assert verdicts["compat/alpha-twenty"] == verdicts["keras/more"] == "target deleted"


def test_without_what_the_archive_lacks(patched, other):
    report = other({"LICENSE": None}, "--without", "LICENSE", "--write")
    assert report["missing"] == []
    assert load_pin(patched.project).layout == {"lib": "src/lib"}
    patched.ok("apply", "--relock")
    assert not (patched.tree / "LICENSE").exists()
    archive = str(patched.scratch / "thing-2.0.tar.gz")
    assert "not in [layout" in patched.fails(2, "bump", "--archive", archive, "--without", "x")


def test_remove_tests_are_tried_on_the_new_snapshot(patched, other):
    text = message("Fill", "keras/fill")
    text = text.replace("Patch:", "Remove-Test: src/**/*.py has line forty\nPatch:")
    (patched.tree / "src/lib/empty.py").write_text("x\n")
    git(patched.tree, "commit", "-q", "-a", "-m", text)
    patched.ok("export")
    rows = {row["patch"]: row["can_go"] for row in json.loads(patched.ok("report", "--json"))}
    assert rows == {"compat/alpha-twenty": "by hand", "keras/gamma": "by hand", "keras/fill": "no"}
    forty = FILES["lib/alpha.py"].replace("line 40\n", "line forty\n")
    assert other({"lib/alpha.py": forty})["trials"][2]["can_go"] == "yes"
    assert other({})["trials"][2]["can_go"] == "no"


def test_report_counts_lines_as_git_does(patched):
    rows = json.loads(patched.ok("report", "--json"))
    commits = git(patched.tree, "rev-list", "--reverse", "main").splitlines()[1:]
    for row, commit in zip(rows, commits, strict=True):
        counts = [
            line.split("\t")[:2]
            for line in git(patched.tree, "show", "--numstat", "--format=", commit).splitlines()
        ]
        assert row["files"] == len(counts)
        assert row["added"] == sum(int(added) for added, _ in counts)
        assert row["removed"] == sum(int(removed) for _, removed in counts)
    assert "2 patches (1 compat, 1 keras)" in patched.ok("report")


@pytest.fixture(scope="module")
def older(tmp_path_factory) -> Path:
    """An older release of the real snapshot, under another name in the package index."""
    project = Project.at(REPOSITORY)
    pin = dataclasses.replace(
        load_pin(project),
        package="tf-models-research-object-detection",
        version="2.8.0.post1",
        filename="tf_models_research_object_detection-2.8.0.post1.tar.gz",
        sha256="c701ea455646553a64c5f161641e8d5a94054b162b81961dcfff3dd619870004",
        size=1223252,
    )
    try:
        data = fetch(pin)
    except QueueError as error:
        if error.code is not ExitCode.FAILED:
            raise
        pytest.skip(f"the package index does not answer: {error.what}")
    path = tmp_path_factory.mktemp("older") / pin.filename
    path.write_bytes(data)
    return path


def test_the_real_queue_on_an_older_release(older, capsys):
    """A snapshot from before some of the lines that we patch, with CRLF line ends."""
    from patchqueue.bump import Verdict, bump

    project = Project.at(REPOSITORY)
    report = bump(project, older, wait=True)
    assert (report.pin.package, report.pin.version) == (
        "tf-models-research-object-detection",
        "2.8.0.post1",
    )
    assert report.crlf > 400
    assert report.missing == ("AUTHORS", "LICENSE")
    verdicts = {trial.patch: trial.verdict for trial in report.trials}
    # This release still took Keras from TensorFlow, so there is no import to change yet.
    assert verdicts["compat/keras-2-imports"] is Verdict.CONFLICT
    assert verdicts["compat/bipartite-matcher"] is Verdict.CLEAN
    assert verdicts["compat/no-tensorflow-io/"] is Verdict.OFFSET
    assert report.counts[Verdict.CLEAN] > len(report.trials) // 2
