"""The queue of this project, as it is: what its folders must keep to."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patchqueue.patch import Patch
from patchqueue.project import Project, load_pin
from patchqueue.queue import load_queue, parse_queue
from tests.patchqueue.world import REPOSITORY

ADDED = sorted((REPOSITORY / "patches").glob("*/*/files/**/*.py"))
SOUND = '''"""A module in upstream's style."""
import tensorflow as tf


def zeros(size):
  """Returns a vector."""
  return tf.zeros([size])
'''


PATCH_FILES = {
    "keras/vgg16-extractor-tf2.patch",
    "keras/vgg16-extractor-tf1.patch",
    "keras/vgg16-model-builder.patch",
    "keras/model-builder-test-main.patch",
}
"""The tutorial's, which show a reader the three steps as diffs."""


def _queue() -> list[Patch]:
    project = Project.at(REPOSITORY)
    return parse_queue(project, load_pin(project), load_queue(project))


def _adding_as_a_diff(patches: list[Patch]) -> set[str]:
    return {
        patch.name
        for patch in patches
        if not patch.name.endswith("/") and any(diff.old_mode is None for diff in patch.diffs)
    }


def test_what_adds_files_is_a_folder_but_for_the_tutorial():
    patches = _queue()
    assert {patch.name for patch in patches} >= PATCH_FILES
    assert _adding_as_a_diff(patches) <= PATCH_FILES
    # Negative control: under another name one of the tutorial's would be found.
    extractor = next(patch for patch in patches if patch.name == "keras/vgg16-extractor-tf2.patch")
    other = dataclasses.replace(extractor, name="keras/other.patch")
    assert _adding_as_a_diff([other]) == {"keras/other.patch"}


def ruff(folder: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).parent / "ruff"
    if not tool.exists():
        pytest.skip("ruff is not installed here: ./build.sh test installs it")
    return subprocess.run([tool, "check", "."], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("", "", ""),
        ("import tensorflow as tf", "import os\nimport tensorflow as tf", "F401"),
        ("[size]", "[siez]", "F821"),
        ("Returns a vector.", "Returns a vector." * 8, "E501"),
    ],
)
def test_ruff_looks_at_the_files_that_patches_add(tmp_path, old, new, rule):
    """With the settings of this project, in upstream's style; nothing is written beside them."""
    shutil.copy2(REPOSITORY / "pyproject.toml", tmp_path)
    file = tmp_path / "patches/area/slug/files/research/thing.py"
    file.parent.mkdir(parents=True)
    shutil.copy2(REPOSITORY / "patches/ruff.toml", tmp_path / "patches")
    file.write_text(SOUND.replace(old, new))
    done = ruff(tmp_path)
    assert done.returncode == (1 if rule else 0), done.stdout + done.stderr
    assert rule in done.stdout
    assert {path.name for path in (tmp_path / "patches").iterdir()} == {"area", "ruff.toml"}


def test_ruff_finds_nothing_in_them():
    assert len(ADDED) > 20
    done = ruff(REPOSITORY / "patches")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
