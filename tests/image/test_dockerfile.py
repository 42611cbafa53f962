"""The Dockerfile as text: what need not be built to be seen."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def default(argument: str) -> str:
    return re.search(rf"^ARG {argument}=(.+)$", DOCKERFILE, re.MULTILINE)[1]


def test_the_labels_say_what_is_in_the_image():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert default("VERSION") == version
    for lock, package in (("cpu", "tensorflow-cpu"), ("gpu", "tensorflow")):
        pins = (ROOT / f"requirements/{lock}.lock").read_text()
        assert f"\n{package}=={default('TENSORFLOW')} " in pins


def test_nothing_in_it_changes_with_a_patch():
    """An id copied by hand was wrong after every patch until somebody wrote the new one."""
    ids = re.findall(r"\b[0-9a-f]{40}\b", DOCKERFILE)
    assert ids == []


def test_defaults_are_the_official_base_and_the_gpu_lock():
    assert default("BASE_IMAGE") == "python:3.11-slim-bookworm"
    assert default("REQUIREMENTS") == "requirements/gpu.lock"


def test_every_builder_can_read_it():
    assert "<<" not in DOCKERFILE, "podman's builder of Debian bookworm knows no here-documents"
    assert "--link" not in DOCKERFILE, "nor COPY --link"


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).parent / "hadolint"
    if not tool.exists():
        pytest.skip("hadolint is not installed here: ./build.sh test installs it")
    return subprocess.run([tool, path], capture_output=True, text=True, timeout=60)


def test_hadolint_finds_nothing(tmp_path):
    done = hadolint(ROOT / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")

    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.replace("--no-install-recommends ", ""))
    assert "DL3015" in hadolint(worse).stdout


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_what_the_dockerfile_copies_is_part_of_the_project():
    copied = re.findall(r"^COPY (?!--from|\$)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert len(sources) > 5
    for source in sources:
        command = ["git", "ls-files", "--error-unmatch", source]
        assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0, source
