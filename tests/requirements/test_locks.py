"""The locks against the package index: what is installed from them, with or without a GPU.

gpu.lock is several GB of wheels, so nothing is downloaded: uv resolves from the index's metadata,
which has the hash of every file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
LOCKS = ("cpu", "gpu", "dev", "onnx", "beam")
UV = Path(sys.executable).parent / "uv"

Hashes = dict[str, set[str]]
"""Pinned requirement (`name==version`) to the hashes of its files."""


def read_lock(path: Path) -> Hashes:
    pins: Hashes = {}
    for line in path.read_text().splitlines():
        if pin := re.match(r"[a-z0-9][^ ]*==[^ ]+", line):
            hashes = pins.setdefault(pin[0], set())
        elif found := re.match(r" +--hash=(sha256:[0-9a-f]{64})", line):
            hashes.add(found[1])
    return pins


def differences(lock: Hashes, index: Hashes) -> list[str]:
    """What makes a lock unfit for installation, a line each; a file uploaded since does not."""
    lines = [f"{pin} is not in the lock" for pin in index.keys() - lock.keys()]
    lines += [f"{pin} is needed by nothing" for pin in lock.keys() - index.keys()]
    for pin in lock.keys() & index.keys():
        if not lock[pin]:
            lines.append(f"{pin} has no hash")
        elif unknown := lock[pin] - index[pin]:
            lines.append(f"{pin}: the index has no file of {sorted(unknown)[0]}")
    return sorted(lines)


@pytest.fixture(scope="module")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Hashes]:
    """The locks, resolved anew at the locked versions, with hashes from the index alone."""
    if not UV.is_file():
        pytest.skip("uv is not installed here: ./build.sh test installs it")
    copy = tmp_path_factory.mktemp("locks") / "requirements"
    shutil.copytree(REQUIREMENTS, copy)
    for name in LOCKS:
        lock = copy / f"{name}.lock"
        # Versions that are in the file are kept; hashes that are not are fetched.
        lock.write_text(re.sub(r"( \\)?\n +--hash=\S+", "", lock.read_text()))
    run(copy / "compile.sh")
    return {name: read_lock(copy / f"{name}.lock") for name in LOCKS}


def run(*command: str | Path) -> None:
    environment = os.environ | {"UV": str(UV)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if "error sending request" in done.stderr or "dns error" in done.stderr:
        pytest.skip(f"the package index does not answer: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_is_complete_and_its_hashes_are_those_of_the_index(name, resolved):
    lock = read_lock(REQUIREMENTS / f"{name}.lock")
    assert len(lock) > 5
    assert differences(lock, resolved[name]) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lock: lock.pop("b==2"), "b==2 is not in the lock"),
        (lambda lock: lock.update({"c==3": {"sha256:3"}}), "c==3 is needed by nothing"),
        (lambda lock: lock["b==2"].clear(), "b==2 has no hash"),
        (lambda lock: lock["b==2"].add("sha256:4"), "b==2: the index has no file of sha256:4"),
    ],
)
def test_a_damaged_lock_is_told(change, expected):
    index = {"a==1": {"sha256:1", "sha256:new"}, "b==2": {"sha256:2"}}
    lock = {"a==1": {"sha256:1"}, "b==2": {"sha256:2"}}
    assert differences(lock, index) == []
    change(lock)
    assert differences(lock, index) == [expected]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_package_with_cuda_has_a_wheel_for_linux_on_x86_64(python, tmp_path):
    if not UV.is_file():
        pytest.skip("uv is not installed here: ./build.sh test installs it")
    # manylinux_2_36: Debian bookworm's, the Dockerfile's base.
    platform = ["--python-platform", "x86_64-manylinux_2_36", "--python-version", python]
    command = [UV, "pip", "install", "--no-config", "--dry-run", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", *platform, "--target", tmp_path / "target"]
    run(*command, "-r", REQUIREMENTS / "gpu.lock")


def test_gpu_and_cpu_locks_differ_in_tensorflows_build_only():
    cpu, gpu = (set(read_lock(REQUIREMENTS / f"{name}.lock")) for name in ("cpu", "gpu"))
    [build] = cpu - gpu
    version = build.removeprefix("tensorflow-cpu==")
    assert f"tensorflow=={version}" in gpu
    others = {pin for pin in gpu - cpu if not pin.startswith("nvidia-")}
    assert others == {f"tensorflow=={version}"}
