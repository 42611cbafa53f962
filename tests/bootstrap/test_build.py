"""build.sh itself, run for real on a small project: what it builds, repeats, refuses, repairs.

The project is build.sh and bootstrap/ as they are, with a lock of one wheel made here (so that
nothing is downloaded), a patch command that makes a small tree, and absl tests for the builder
tests. The full build, with the real locks and the real tree, is what .ci/run does.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Stands in for the patch engine, which has its own tests: a tree, or the exit code asked for.
APPLY = """
import os, pathlib, sys
if "APPLY_EXIT" in os.environ:
    print("error: told to fail", file=sys.stderr)
    raise SystemExit(int(os.environ["APPLY_EXIT"]))
research = pathlib.Path("third_party/models/research")
if research.exists():
    print("up to date")
    raise SystemExit
protos = research / "object_detection/protos"
protos.mkdir(parents=True)
(research / "object_detection/builders").mkdir()
(protos / "tiny_pb2.py").write_text(pathlib.Path("tiny_pb2.py").read_text())
(research / "object_detection/builders/model_builder_test.py").write_text(
    pathlib.Path("builder_test.py").read_text())
print("applied 1 patch", sys.argv[1:])
"""
BUILDER_TEST = """
from absl.testing import absltest
class BuilderTest(absltest.TestCase):
    def test_one(self): pass
absltest.main()
"""


def make_wheel(directory: Path) -> str:
    """Makes a wheel that lends the packages of this interpreter; returns its line in a lock."""
    files = {
        "borrowed.pth": "\n".join(path for path in sys.path if path.endswith("site-packages")),
        "borrowed-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: borrowed\nVersion: 1\n",
        "borrowed-1.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record.append(f"{name},sha256={digest.rstrip('=')},{len(text.encode())}")
    files["borrowed-1.dist-info/RECORD"] = "\n".join([*record, "borrowed-1.dist-info/RECORD,,\n"])
    wheel = directory / "borrowed-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"borrowed @ {wheel.as_uri()} --hash=sha256:{digest}\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project, built once."""
    root = tmp_path_factory.mktemp("build") / "project"
    (root / "requirements").mkdir(parents=True)
    (root / "odapi").mkdir()
    shutil.copy(ROOT / "build.sh", root)
    shutil.copytree(
        ROOT / "bootstrap", root / "bootstrap", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / ".gitignore", root)
    (root / "third_party").mkdir()
    (root / "third_party/upstream.toml").touch()
    (root / "apply_patches.py").write_text(APPLY, encoding="utf-8")
    (root / "builder_test.py").write_text(BUILDER_TEST, encoding="utf-8")
    echo = "import sys; print(sys.argv[1:])"
    (root / "odapi/__main__.py").write_text(echo, encoding="utf-8")
    (root / "tests/conformance").mkdir(parents=True)
    (root / "tests/conformance/__main__.py").write_text(echo, encoding="utf-8")
    proto = root / "object_detection/protos/tiny.proto"
    proto.parent.mkdir(parents=True)
    proto.write_text('syntax = "proto2"; message Tiny {}', encoding="utf-8")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=."]
    subprocess.run([*command, proto.relative_to(root)], cwd=root, check=True)
    shutil.move(proto.with_name("tiny_pb2.py"), root)
    shutil.rmtree(root / "object_detection")
    lock = make_wheel(root)
    for name in ("cpu", "gpu", "dev", "onnx", "beam"):
        (root / f"requirements/{name}.lock").write_text(f"# {name}\n{lock}", encoding="utf-8")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "project")
    first = build(root)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.splitlines()[-1] == (
        "OK: 1 builder tests in TF2 behaviour, 1 in TF1 behaviour"
    )
    return root


@pytest.fixture
def project(template: Path) -> Path:
    """The built project; what a test breaks in it, the next build has to repair."""
    state = template / ".venv/.build-state"
    assert state.exists() or not (template / ".venv").exists()
    return template


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


def build(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "PYTHONPATH")}
    return subprocess.run(
        [root / "build.sh", *arguments],
        cwd=root.parent,
        env={**inherited, "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def environment_age(root: Path) -> int:
    return (root / ".venv/pyvenv.cfg").stat().st_mtime_ns


def test_second_run_says_that_nothing_changed_and_changes_nothing(project: Path) -> None:
    before = environment_age(project)
    done = build(project, "--no-validate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "OK: nothing changed"
    assert environment_age(project) == before
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize("link", ["checkout", "build.sh"])
def test_through_a_link_it_is_the_same_place(project: Path, tmp_path: Path, link: str) -> None:
    """A link to the checkout, or to build.sh, was another place, and all was installed again."""
    before = environment_age(project)
    target = project if link == "checkout" else project / "build.sh"
    (tmp_path / link).symlink_to(target)
    where = tmp_path / link if link == "checkout" else tmp_path
    done = build(where, "--no-validate")
    assert done.stdout.splitlines()[-1] == "OK: nothing changed", done.stdout + done.stderr
    assert environment_age(project) == before
    assert not (tmp_path / "third_party").exists()


def test_a_tree_built_anew_gets_its_protobuf_modules_again(project: Path) -> None:
    shutil.rmtree(project / "third_party/models")
    done = build(project, "--no-validate")
    assert done.returncode == 0, done.stderr
    assert "compiled 1 .proto files" in done.stdout
    assert done.stdout.splitlines()[-1] == "OK: built, not validated"


def test_an_environment_left_half_made_is_made_again(project: Path) -> None:
    (project / ".venv/.build-state").write_text("incomplete\naccelerator cpu\n", encoding="utf-8")
    (project / ".venv/bin/python").unlink()
    done = build(project, "--no-validate", PYTHON="")
    assert done.returncode == 0, done.stderr
    assert "was interrupted while installing: starting over" in done.stdout
    assert (project / ".venv/bin/python").exists()


def test_a_changed_lock_is_installed_and_a_wrong_hash_is_not(project: Path) -> None:
    lock = project / "requirements/cpu.lock"
    good = lock.read_text(encoding="utf-8")
    lock.write_text(good.replace("sha256:", "sha256:0000")[: len(good)], encoding="utf-8")
    try:
        refused = build(project, "--no-validate")
        assert refused.returncode == 1
        assert "error: pip could not install requirements/cpu.lock" in refused.stderr
    finally:
        lock.write_text(good, encoding="utf-8")
    repaired = build(project, "--no-validate")
    assert repaired.returncode == 0, repaired.stderr
    assert "starting over" in repaired.stdout
    assert build(project, "--no-validate").stdout.endswith("OK: nothing changed\n")


def test_an_environment_of_someone_elses_is_left_alone(project: Path) -> None:
    state = project / ".venv/.build-state"
    text = state.read_text(encoding="utf-8")
    state.unlink()
    try:
        done = build(project, "--no-validate")
        assert done.returncode == 2
        assert "error: a .venv is here that build.sh did not make" in done.stderr
        assert (project / ".venv/bin/python").exists()
    finally:
        state.write_text(text, encoding="utf-8")


def test_two_builds_at_once_are_one_too_many(project: Path) -> None:
    with (project / "third_party/.build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = build(project, "--no-validate")
    assert done.returncode == 5
    assert "another ./build.sh is running" in done.stderr


@pytest.mark.parametrize("code", [1, 3, 4])
def test_exit_codes_of_the_patch_engine_come_through(project: Path, code: int) -> None:
    done = build(project, "--no-validate", APPLY_EXIT=str(code))
    assert done.returncode == code
    assert "OK" not in done.stdout


def test_a_failing_builder_test_fails_the_build(project: Path) -> None:
    test = project / "third_party/models/research/object_detection/builders/model_builder_test.py"
    test.write_text(BUILDER_TEST.replace("pass", "self.fail('broken')"), encoding="utf-8")
    try:
        done = build(project)
        assert done.returncode == 1
        assert "AssertionError: broken" in done.stderr
        assert "OK" not in done.stdout
    finally:
        test.write_text(BUILDER_TEST, encoding="utf-8")


def test_demo_hands_over_its_arguments(project: Path) -> None:
    done = build(project, "--no-validate", "demo", "--steps", "a b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['demo', '--steps', 'a b']"


def test_what_one_command_installs_another_keeps(project: Path) -> None:
    shutil.rmtree(project / ".venv", ignore_errors=True)
    first = build(project, "--no-validate", "test", "--version")
    assert "requirements/dev.lock" in first.stdout, first.stderr
    second = build(project, "--no-validate", "conformance", "--jobs", "1")
    assert "requirements/beam.lock" in second.stdout, second.stderr
    assert "requirements/cpu.lock" not in second.stdout
    assert second.stdout.splitlines()[-1] == "['--jobs', '1']"
    for command in (["test", "--version"], ["conformance"]):
        again = build(project, "--no-validate", *command)
        assert again.returncode == 0, again.stderr
        assert ".lock" not in again.stdout


def test_an_archive_is_handed_to_the_engine_by_its_full_path(project: Path) -> None:
    shutil.rmtree(project / "third_party/models")
    (project.parent / "snapshot.tar.gz").touch()
    done = build(project, "--no-validate", "--archive", "snapshot.tar.gz")
    assert done.returncode == 0, done.stderr
    assert str(project.parent / "snapshot.tar.gz") in done.stdout


def test_another_object_detection_on_pythonpath_is_pointed_out(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "object_detection").mkdir()
    done = build(project, "--no-validate", PYTHONPATH=f"{tmp_path}:/nowhere")
    assert done.returncode == 0, done.stderr
    assert f"at: {tmp_path}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--fast"], {}, "error: unknown argument: --fast"),
        (["--archive"], {}, "error: --archive needs a file"),
        (["--archive", "absent.tar.gz"], {}, "error: no such file"),
        ([], {"PYTHON": "/nowhere/python"}, "error: no Python 3.11, 3.12 or 3.13"),
    ],
)
def test_wrong_usage_is_answered_with_what_to_do(
    project: Path, arguments: list[str], variables: dict[str, str], message: str
) -> None:
    done = build(project, *arguments, **variables)
    assert done.returncode == 2
    assert message in done.stderr
    assert "hint: " in done.stderr
