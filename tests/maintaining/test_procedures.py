"""Runs every procedure of docs/maintaining.md, as it stands there, on the real queue."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from patchqueue.project import Project, load_pin
from tests.patchqueue.world import REPOSITORY, git

PAGE = (REPOSITORY / "docs/maintaining.md").read_text("utf-8")
TITLES = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
VISUALIZATION = "object_detection/utils/visualization_utils.py"
OID = "object_detection/dataset_tools/create_oid_tf_record.py"
HPARAMS = "research/slim/nets/hparams.py"
LABEL_MAP = "object_detection/utils/label_map_util.py"


def _blocks(title: str) -> list[tuple[int, str]]:
    """Return the blocks of commands of a section, each with the exit code it is to have."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1 + TITLES.index(title)]
    found = re.findall(r"^```bash(?: exit=(\d))?\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [(int(code or 0), text) for code, text in found]


class Checkout:
    """A checkout of the project as it is, with a built tree."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = root / "third_party/models"
        root.mkdir()
        real = Project.at(REPOSITORY)
        for name in ("apply_patches.py", "patchqueue", "patches"):
            source = REPOSITORY / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, root / name, ignore=ignore)
            else:
                shutil.copy2(source, root / name)
        (root / "third_party/.cache").mkdir(parents=True)
        for path in (real.pin_path, real.lock_path):
            shutil.copy2(path, root / "third_party")
        if (cached := real.cache / load_pin(real).filename).exists():
            shutil.copy2(cached, root / "third_party/.cache")
        (root / ".gitignore").write_text("third_party/models\nthird_party/.*\n__pycache__\n")
        git(root, "init", "-q")
        self.commit_all("As it was")
        self.apply("apply")

    @property
    def series(self) -> list[str]:
        rows = (self.root / "patches/series").read_text().splitlines()
        return [row for row in rows if row and not row.startswith("#")]

    def commit_all(self, subject: str) -> None:
        git(self.root, "add", "--all")
        git(self.root, "commit", "-q", "--allow-empty", "-m", subject)

    def apply(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "apply_patches.py", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def follow(self, title: str, editors: str = "", **environment: str) -> str:
        """Run a procedure. ``editors`` is shell code that edits the file ``$1``."""
        tools = self.root.with_name("tools")
        tools.mkdir(exist_ok=True)
        (tools / "python").unlink(missing_ok=True)
        (tools / "python").symlink_to(sys.executable)
        (tools / "edit").write_text(f"#!/bin/sh\nset -e\n{editors}\n")
        (tools / "edit").chmod(0o755)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        identity = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", "Dev Eloper"), ("EMAIL", "dev@example.org"))
        }
        output = ""
        for code, text in _blocks(title):
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=self.root,
                env=clean
                | identity
                | {
                    "PATH": f"{tools}:{os.environ['PATH']}",
                    "PYTHONPATH": "",
                    "GIT_CONFIG_GLOBAL": os.devnull,
                    "EDITOR": "edit",
                    "GIT_EDITOR": "true",
                    "GIT_SEQUENCE_EDITOR": "true",
                }
                | environment,
                capture_output=True,
                text=True,
            )
            output += done.stdout + done.stderr
            assert done.returncode == code, f"{text}\nexit {done.returncode}\n{output}"
        return output

    def in_order(self) -> None:
        """Check that pin, patches, lock and tree agree, and that a fresh build gives the tree."""
        self.apply("lint")
        self.apply("verify")
        before = git(self.tree, "rev-parse", "HEAD^{tree}")
        shutil.rmtree(self.tree)
        self.apply("apply")
        assert git(self.tree, "rev-parse", "HEAD^{tree}") == before


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def test_every_procedure_has_its_test():
    """Negative control of this file: a procedure that is not followed here is found."""
    followed = re.findall(r'\.follow\(\s*"([^"]+)"', Path(__file__).read_text())
    assert set(TITLES) - set(followed) == set()
    assert len(TITLES) == 12


def test_a_command_that_fails_is_seen(checkout, monkeypatch):
    """Negative control: the harness does not swallow what a block of commands returns."""
    monkeypatch.setattr(sys.modules[__name__], "_blocks", lambda title: [(0, "false\ntrue\n")])
    with pytest.raises(AssertionError, match="exit 1"):
        checkout.follow("Add a patch")


def test_where_things_stand(checkout):
    output = checkout.follow("Where things stand")
    assert f"{len(checkout.series)} patches" in output
    assert "every file has the expected content" in output


def test_add(checkout):
    before = checkout.series
    checkout.follow("Add a patch", 'echo "# except OSError" >> "$1"')
    assert checkout.series == [*before, "compat/label-map-name.patch"]
    staged = git(checkout.root, "diff", "--cached", "--name-only").split()
    assert staged == [
        "patches/compat/label-map-name.patch",
        "patches/series",
        "third_party/models.lock",
    ]
    checkout.in_order()


def test_change(checkout):
    before = checkout.series
    checkout.follow("Change a patch", 'echo "# changed" >> "$1"')
    assert checkout.series == before
    changed = git(checkout.root, "status", "--short").split("\n")
    assert {row.split()[1] for row in changed} == {
        "patches/compat/drawing.patch",
        "patches/training/late-imports.patch",  # of the same file, later: written anew
        "third_party/models.lock",
    }
    checkout.in_order()


def test_edit_a_file_that_we_add(checkout):
    before = checkout.series
    checkout.follow("Edit a file that we add", 'echo "# edited" >> "$1"')
    assert checkout.series == before
    assert git(checkout.root, "diff", "--cached", "--name-only").split() == [
        f"patches/compat/hparams/files/{HPARAMS}",
        "third_party/models.lock",
    ]
    assert (checkout.tree / HPARAMS).read_text().endswith("# edited\n")
    checkout.in_order()


def test_both_forms(checkout):
    before = checkout.series
    lock = (checkout.root / "third_party/models.lock").read_text()
    plan = "sed -i '1s/^pick/edit/'"
    checkout.follow(
        "Turn a folder into a patch file",
        GIT_SEQUENCE_EDITOR=plan,
        GIT_EDITOR="sed -i 's,^Patch: compat/hparams/$,Patch: compat/hparams,'",
    )
    at = before.index("compat/hparams/")
    assert checkout.series == [*before[:at], "compat/hparams.patch", *before[at + 1 :]]
    assert not (checkout.root / "patches/compat/hparams").exists()
    assert "\nFrom: Dev Eloper" in (checkout.root / "patches/compat/hparams.patch").read_text()
    checkout.in_order()
    checkout.follow(
        "Turn a patch file into a folder",
        GIT_SEQUENCE_EDITOR=plan,
        GIT_EDITOR="sed -i 's,^Patch: compat/hparams$,Patch: compat/hparams/,'",
    )
    assert git(checkout.root, "status", "--short") == ""
    assert (checkout.root / "third_party/models.lock").read_text() == lock
    checkout.in_order()


def test_reorder(checkout):
    before = checkout.series
    checkout.follow("Reorder patches", GIT_SEQUENCE_EDITOR="sed -i '3{h;d};4{G}'")
    assert checkout.series == [*before[:2], before[3], before[2], *before[4:]]
    checkout.in_order()


def test_drop(checkout):
    before = checkout.series
    checkout.follow("Drop a patch")
    dropped = "compat/oid-images-as-bytes.patch"
    assert checkout.series == [name for name in before if name != dropped]
    assert not (checkout.root / "patches" / dropped).exists()
    checkout.in_order()


def test_patches_came_with_a_pull(checkout):
    # The pull: somebody dropped a patch.
    git(checkout.root, "switch", "-q", "-c", "theirs")
    checkout.follow("Drop a patch")
    checkout.commit_all("Drop a patch")
    git(checkout.root, "switch", "-q", "-")
    checkout.apply("apply")
    # Our commits.
    path = checkout.tree / "research" / LABEL_MAP
    for name in ("ours", "ours-too"):
        path.write_text(path.read_text() + f"# {name}\n")
        text = f"Ours\n\nWhy.\n\nUpstream-Status: Pending\nRemove-When: x\nPatch: compat/{name}\n"
        git(checkout.tree, "commit", "-q", "-a", "-m", text)
    git(checkout.root, "merge", "-q", "theirs")
    (checkout.root / "third_party/.saved/20000101T000000.000000Z").mkdir(parents=True)
    checkout.follow("Patches came with a pull, and the tree has commits of its own", COMMITS="2")
    assert checkout.series[-2:] == ["compat/ours.patch", "compat/ours-too.patch"]
    assert "compat/oid-images-as-bytes.patch" not in checkout.series
    checkout.in_order()


def _newer_archive(checkout: Checkout, path: Path) -> None:
    """The pinned archive with a conflict for one patch, and another patch taken upstream."""
    project = Project.at(checkout.root)
    old = gzip.decompress((project.cache / load_pin(project).filename).read_bytes())
    buffer = io.BytesIO()
    metadata = (b"\nVersion: 0.1\n", b"\nVersion: 0.2\n")
    changes = {
        VISUALIZATION: (b"font.getsize(display_str)", b"font.getsize(str(display_str))"),
        OID: (b"tf.gfile.Open(image_path)", b"tf.gfile.Open(image_path, 'rb')"),
    }
    with (
        tarfile.open(fileobj=io.BytesIO(old)) as source,
        tarfile.open(fileobj=buffer, mode="w:gz") as target,
    ):
        for member in source:
            data = source.extractfile(member).read() if member.isreg() else b""
            if member.name.endswith("-0.1/PKG-INFO"):
                assert metadata[0] in data
                data = data.replace(*metadata)
            for name, (before, after) in changes.items():
                if member.name.endswith("-0.1/" + name):
                    assert before in data
                    data = data.replace(before, after)
            member.size = len(data)
            target.addfile(member, io.BytesIO(data) if member.isreg() else None)
    path.write_bytes(buffer.getvalue())


def test_bump(checkout, tmp_path):
    archive = tmp_path / "tf_object_detection_api-0.2.tar.gz"
    _newer_archive(checkout, archive)
    before = checkout.series
    resolve = 'git checkout --theirs "$1"; ! grep -q "<<<<" "$1"'
    output = checkout.follow("Bump the snapshot", resolve, NEW=str(archive))
    verdicts = dict(re.findall(r"^(\w+/[\w-]+) +(\S.*)$", output, re.MULTILINE))
    assert verdicts["compat/drawing"] == "conflict"
    assert verdicts["compat/oid-images-as-bytes"].startswith("already upstream")
    assert "Remove-Test holds" in verdicts["compat/oid-images-as-bytes"]
    assert checkout.series == [name for name in before if "oid-images-as-bytes" not in name]
    assert load_pin(Project.at(checkout.root)).filename == archive.name
    assert "getbbox" in (checkout.tree / "research" / VISUALIZATION).read_text()
    checkout.in_order()
    checkout.follow("Go back before a bump is committed")
    assert checkout.series == before
    checkout.in_order()


def test_the_tree_without_patches(checkout):
    pin = load_pin(Project.at(checkout.root))
    output = checkout.follow("The tree without patches")
    assert f"pristine, 0 patches, tree {pin.tree[:12]}" in re.sub(r" in [\d.]+ s", "", output)
    checkout.in_order()
