"""What an interpreter sees once the import path is written."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from bootstrap.environment import install
from bootstrap.errors import BuildError


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout, in a directory with a space in its name, with a module at each place."""
    root = tmp_path / "check out"
    for module in (
        "third_party/models/research/object_detection/__init__.py",
        "third_party/models/research/slim/nets/__init__.py",
        "odapi/__init__.py",
    ):
        (root / module).parent.mkdir(parents=True)
        (root / module).touch()
    report = "import os, sys\nprint(os.getcwd(), sys.argv[1:], sep='|')\n"
    (root / "odapi/__main__.py").write_text(report, encoding="utf-8")
    return root


@pytest.fixture
def interpreter(checkout: Path) -> Path:
    venv.create(checkout / ".venv", with_pip=False, symlinks=True)
    return checkout / ".venv/bin/python"


def install_into(checkout: Path, interpreter: Path) -> bool:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site_packages = checkout / ".venv/lib" / version / "site-packages"
    return install(checkout, site_packages, checkout / ".venv/bin", str(interpreter))


def ask(interpreter: Path, program: str, cwd: Path, **variables: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [interpreter, "-c", program],
        cwd=cwd,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_tree_and_command_import_from_anywhere(
    checkout: Path, interpreter: Path, tmp_path: Path
) -> None:
    program = "import object_detection, nets, odapi; print(object_detection.__file__)"
    with pytest.raises(subprocess.CalledProcessError):
        ask(interpreter, program, tmp_path)
    assert install_into(checkout, interpreter)
    assert ask(interpreter, program, tmp_path).startswith(str(checkout / "third_party/models"))


def test_keras_2_is_the_default_and_the_users_word_stands(
    checkout: Path, interpreter: Path, tmp_path: Path
) -> None:
    install_into(checkout, interpreter)
    program = "import os; print(os.environ['TF_USE_LEGACY_KERAS'])"
    assert ask(interpreter, program, tmp_path) == "1"
    assert ask(interpreter, program, tmp_path, TF_USE_LEGACY_KERAS="0") == "0"


def test_launcher_keeps_arguments_and_directory_and_ignores_what_lies_there(
    checkout: Path, interpreter: Path, tmp_path: Path
) -> None:
    install_into(checkout, interpreter)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "odapi").mkdir(parents=True)
    (elsewhere / "odapi/__main__.py").write_text("raise SystemExit('wrong one')")
    done = subprocess.run(
        [checkout / ".venv/bin/odapi", "train", "a b"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{elsewhere}|['train', 'a b']"


def test_second_run_writes_nothing_and_a_damaged_file_is_repaired(
    checkout: Path, interpreter: Path
) -> None:
    assert install_into(checkout, interpreter)
    assert not install_into(checkout, interpreter)
    launcher = checkout / ".venv/bin/odapi"
    launcher.chmod(0o644)
    assert install_into(checkout, interpreter)
    assert os.access(launcher, os.X_OK)
    assert not list(launcher.parent.glob(".odapi.*"))


def test_a_missing_directory_is_reported_as_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        install(tmp_path, tmp_path / "absent", tmp_path, sys.executable)
    assert caught.value.exit_code == 2
