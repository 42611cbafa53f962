"""Wrong, damaged and hostile archives: exit 3, nothing written, the old tree untouched."""

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile

import pytest

from tests.patchqueue.world import FILES, make_archive


def member(name, kind=tarfile.REGTYPE, data=b"x", **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


HOSTILE = {
    "absolute": ([member("/etc/x")], "absolute path"),
    "parent": ([member("thing-1.0/lib/../../../x")], "'..'"),
    "parent outside the layout": ([member("thing-1.0/docs/../../x")], "'..'"),
    "symlink": ([member("thing-1.0/lib/x", tarfile.SYMTYPE, linkname="/etc")], "link"),
    "hard link": ([member("thing-1.0/lib/x", tarfile.LNKTYPE, linkname="/etc/passwd")], "link"),
    "device": ([member("thing-1.0/lib/x", tarfile.CHRTYPE)], "device"),
    "fifo": ([member("thing-1.0/x", tarfile.FIFOTYPE)], "device"),
    "duplicate": ([member("thing-1.0/lib/x"), member("thing-1.0/lib/x")], "twice"),
    "case": ([member("thing-1.0/lib/x"), member("thing-1.0/lib/X")], "case"),
    "git": ([member("thing-1.0/lib/.git/hooks/post-checkout")], "git's own"),
    "bomb": ([member("thing-1.0/lib/x", data=b"\0" * 200_000)], "more than"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive_is_refused(world, name):
    members, text = HOSTILE[name]
    world.build()
    before = world.state()
    good = gzip.decompress(world.archive.read_bytes())
    buffer = io.BytesIO(good)
    with tarfile.open(fileobj=buffer, mode="a:") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    world.archive.write_bytes(gzip.compress(buffer.getvalue()))
    world.write_pin()
    assert text in world.fails(3, "apply", "--archive", str(world.archive))
    assert world.state() == before
    assert not list(world.tree.parent.glob(".models.staging-*"))


def test_harmless_archive_is_not(world):
    """The negative control of the test above: the same archive without the hostile member."""
    world.ok("apply", "--archive", str(world.archive), "--relock")


def test_one_flipped_byte(patched):
    before = patched.state()
    data = bytearray(patched.archive.read_bytes())
    expected = hashlib.sha256(data).hexdigest()
    data[len(data) // 2] ^= 1
    patched.archive.write_bytes(data)
    message = patched.fails(3, "apply", "--archive", str(patched.archive))
    assert expected in message
    assert hashlib.sha256(data).hexdigest() in message
    assert patched.state() == before


@pytest.mark.parametrize("change", [lambda data: data[:-10], lambda data: data + b"more"])
def test_truncated_or_longer(world, change):
    world.archive.write_bytes(change(world.archive.read_bytes()))
    assert "not the pinned one" in world.fails(3, "apply", "--archive", str(world.archive))
    assert not world.tree.exists()


def test_right_hash_of_no_archive(world):
    world.archive.write_bytes(b"this is not a tar file")
    world.write_pin()
    assert "cannot be read" in world.fails(3, "apply", "--archive", str(world.archive))


def test_truncated_inside_a_member(world):
    raw = gzip.decompress(world.archive.read_bytes())
    world.archive.write_bytes(gzip.compress(raw[:1000]))
    world.write_pin()
    world.fails(3, "apply", "--archive", str(world.archive))


def test_layout_names_what_the_archive_lacks(world):
    world.archive.write_bytes(make_archive({"lib/a.py": "a"}))
    world.write_pin()
    assert "lacks LICENSE" in world.fails(3, "apply", "--archive", str(world.archive))


def test_wrong_tree_id(world):
    world.write_pin(tree="0" * 40)
    message = world.fails(3, "apply", "--archive", str(world.archive))
    assert "0" * 40 in message
    assert world.tree_id in message


def test_missing_archive_file(world):
    assert "cannot read" in world.fails(2, "apply", "--archive", str(world.archive) + "x")


@pytest.mark.parametrize("text", ["", "not toml [", "[archive]\npackage = 'x'\n"])
def test_unusable_pin(world, text):
    world.project.pin_path.write_text(text)
    world.fails(2, "apply")


BACKEND = """
from pathlib import Path
Path({marker!r}).write_text("ran")
def prepare_metadata_for_build_wheel(folder, settings=None):
    info = Path(folder, "thing-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0\\n")
    return info.name
def build_wheel(folder, settings=None, metadata=None):
    raise SystemExit("not built here")
"""


@pytest.fixture
def index(world, monkeypatch):
    """An archive that only pip can find, and that tells when its own code was run."""
    marker = world.scratch / "marker"
    world.pin(
        FILES,
        {
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
            'backend-path = ["."]\n',
            "backend.py": BACKEND.format(marker=str(marker)),
            "PKG-INFO": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
        },
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(world.scratch))
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("this Python has no pip")
    return marker


def test_fetched_through_pip_then_cached(world, index):
    world.ok("apply", "--relock")
    assert index.exists(), "the control of the next test: pip does run the archive's code"
    assert (world.project.cache / world.archive.name).read_bytes() == world.archive.read_bytes()
    world.archive.unlink()
    world.ok("unapply")
    assert world.status()["state"] == "unapplied"


def test_archive_with_a_wrong_hash_is_never_run(world, index):
    data = bytearray(world.archive.read_bytes())
    world.write_pin(sha256="0" * 64)
    message = world.fails(3, "apply")
    assert "0" * 64 in message
    assert hashlib.sha256(data).hexdigest() in message
    assert not index.exists()
    assert not world.tree.exists()


def test_damaged_cache_is_fetched_again(world, index):
    cached = world.project.cache / world.archive.name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"damaged")
    world.ok("apply", "--relock")
    assert cached.read_bytes() == world.archive.read_bytes()


def test_not_in_the_index(world, index):
    world.archive.unlink()
    assert "--archive" in world.fails(1, "apply")


def test_error_as_json(world):
    world.archive.write_bytes(b"x")
    done = world.run("apply", "--json", "--archive", str(world.archive))
    assert done.code == json.loads(done.out)["exit_code"] == 3
