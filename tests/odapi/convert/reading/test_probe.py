"""HDF5 on which libhdf5 itself hangs or ends the process: found out elsewhere, and refused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from odapi.convert.reading import probe
from odapi.convert.source import load_classifier
from tests.odapi.convert.reading.material import refused

READ = "import h5py, sys\nwith h5py.File(sys.argv[1]) as f:\n    [f.attrs[k] for k in f.attrs]"


def without_end(source: Path, target: Path) -> Path:
    """A copy with a text of minus 16 bytes: with its header it has none, and follows itself.

    HDF5 File Format Specification, III.E, "Global Heap": the size stands right before the data.
    """
    shutil.copy(source, target)
    text = "text of minus 16 bytes".ljust(40)
    with h5py.File(target, "r+") as file:
        file.attrs.create("more", ["x", text], dtype=h5py.string_dtype())
    content = bytearray(target.read_bytes())
    at = content.index(text.encode())
    content[at - 8 : at] = (2**64 - 16).to_bytes(8, "little")
    target.write_bytes(content)
    return target


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 8)


@pytest.mark.parametrize("form", ["h5", "weights.h5"])
def test_a_file_on_which_libhdf5_goes_round(good, scratch, impatient, form):
    name = "good.h5" if form == "h5" else "weights.h5"
    path = without_end(good.folder / name, scratch / "work" / "endless.h5")

    error = refused(path) if form == "h5" else refused(good.folder / "good.json", path)

    assert "was not at the end of it after 8 s" in error.message and "endless.h5" in error.at


def test_control_it_does_go_round(good, scratch):
    path = without_end(good.folder / "weights.h5", scratch / "work" / "endless.h5")
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", READ, path], timeout=8, check=False)
    whole = good.folder / "weights.h5"
    assert subprocess.run([sys.executable, "-c", READ, whole], check=False).returncode == 0


def test_a_file_that_ends_the_process(good, scratch, monkeypatch):
    """No such bytes are known; a probe that is killed stands for them."""
    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
    run = subprocess.run
    monkeypatch.setattr(probe.subprocess, "run", lambda command, **options: run(killed, **options))
    path = Path(shutil.copy(good.folder / "good.h5", scratch / "work" / "fatal.h5"))

    assert f"ended with signal {signal.SIGSEGV:d}" in refused(path).message


def test_a_file_is_read_elsewhere_once(good, scratch, monkeypatch):
    path = Path(shutil.copy(good.folder / "good.h5", scratch / "work" / "again.h5"))
    load_classifier(str(path))
    monkeypatch.setattr(probe.subprocess, "run", None)

    assert load_classifier(str(path)).model.count_params()
    os.utime(path, ns=(1, 1))
    assert "'NoneType' object is not callable" in refused(path).message


def test_no_module_of_the_current_folder_runs(good, scratch, monkeypatch):
    """People convert where they downloaded: a file beside the model may be called h5py.py."""
    work = scratch / "work"
    effect = f"open({str(scratch / 'effect')!r}, 'w')\n"
    for name in ("h5py", "numpy", "resource", "odapi"):
        (work / f"{name}.py").write_text(effect)
    monkeypatch.chdir(work)
    path = Path(shutil.copy(good.folder / "good.h5", work / "model.h5"))

    assert load_classifier(str(path)).model.count_params()

    assert not (scratch / "effect").exists()
    command = [sys.executable, "-m", "odapi.convert.reading.probe", str(path)]
    subprocess.run(command, capture_output=True, check=False)
    assert (scratch / "effect").exists(), "the control has no effect"
