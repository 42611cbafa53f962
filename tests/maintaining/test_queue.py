"""The queue of this project, as it is: what its folders must keep to."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patchqueue.world import REPOSITORY

ADDED = sorted((REPOSITORY / "patches").glob("*/*/files/**/*.py"))
SOUND = '''"""A module in upstream's style."""
import tensorflow as tf


def zeros(size):
  """Returns a vector."""
  return tf.zeros([size])
'''


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
    assert len(ADDED) > 1
    done = ruff(REPOSITORY / "patches")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
