"""The image, built and run for real: ODAPI_IMAGE=1 ./build.sh test tests/image."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

if os.environ.get("ODAPI_IMAGE") != "1":
    pytest.skip(
        "the image is not built here: ODAPI_IMAGE=1 ./build.sh test tests/image (some minutes)",
        allow_module_level=True,
    )

from bootstrap.validate import parse_unittest
from patchqueue.project import Project as Queue
from patchqueue.project import load_lock, load_pin
from tests.entry_points.project import make_project
from tests.image import material
from tests.image.conftest import REQUIREMENTS, ROOT, Build
from tests.image.podman import BuildFailed, Podman

OPT = "/opt/odapi"
RESEARCH = f"{OPT}/third_party/models/research"
BUILDER_TEST = f"{RESEARCH}/object_detection/builders/model_builder_test.py"

# Prints path and sha256 of every file below a folder.
HASHES = """
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*")):
    if path.is_file():
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.relative_to(root))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records, label map and config as a user would mount them at /data, with an image to look at.

    Readable by everyone, as the container's users own none of it.
    """
    folder = tmp_path_factory.mktemp("data")
    project = make_project(folder)
    config = project.config.read_text().replace(str(folder), "/data")
    project.config.write_text(config)
    project.scenes[0].save(folder / "scene.png")
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is mounted at /runs; each user of a container gets a folder there."""
    folder = tmp_path_factory.mktemp("runs")
    folder.parent.chmod(0o755)
    return folder


def mounts(data: Path, runs: Path) -> list[str]:
    return [f"--volume={data}:/data:ro", f"--volume={runs}:/runs"]


def steps(runs: Path) -> list[int]:
    """The steps that a training in /runs/x has logged."""
    log = runs / "x/train_log.jsonl"
    return [json.loads(line)["step"] for line in log.open()] if log.is_file() else []


@dataclass(frozen=True)
class Training:
    """A training that has ended: what is at /runs, its exit code, and what it wrote."""

    runs: Path
    exit_code: int
    output: str


@pytest.fixture(scope="module")
def trainings(podman: Podman, image: str, data: Path, runs: Path) -> dict[str, Training]:
    """Two at once: ten steps by the image's own user, and any user's, ended by SIGTERM.

    The second has no name, no home directory, and no group that owns anything.
    """

    def start(name: str, user: int, number: int, *options: str) -> subprocess.Popen[str]:
        (runs / name).mkdir()
        os.chown(runs / name, user, user)
        return podman.start(
            image,
            "train",
            "--pipeline_config_path=/data/pipeline.config",
            "--model_dir=/runs/x",
            f"--num_train_steps={number}",
            options=[*mounts(data, runs / name), *options],
        )

    container = f"odapi-{os.getpid()}"
    stopped = start("any", 12345, 100_000, "--user=12345:12345", f"--name={container}")
    ended = start("own", 1000, 10)
    end = time.monotonic() + 300
    while len(steps(runs / "any")) < 10 and stopped.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    podman("stop", "--ignore", "--time", "60", container)
    found = {}
    for name, process in (("any", stopped), ("own", ended)):
        output, _ = process.communicate(timeout=300)
        print(f"--- training by {name} user, exit code {process.returncode}\n{output}")
        found[name] = Training(runs / name, process.returncode, output)
    return found


def test_the_builder_tests_pass_in_both_behaviours(podman, image):
    behaviours = {"TF2": [], "TF1": ["--env=ODAPI_TF_BEHAVIOR=1"]}
    processes = {
        name: podman.start(image, "python", BUILDER_TEST, options=options)
        for name, options in behaviours.items()
    }
    for name, process in processes.items():
        output, _ = process.communicate(timeout=300)
        outcome = parse_unittest(output, process.returncode)
        verdict = output.strip().splitlines()[-1]
        print(f"builder tests in {name} behaviour, in the container: {outcome.passed}, {verdict}")
        assert outcome.succeeded, outcome.excerpt
        assert outcome.passed > 20


def test_the_images_user_trains_ten_steps(trainings):
    own = trainings["own"]
    assert own.exit_code == 0
    assert steps(own.runs) == list(range(1, 11))
    assert "checkpoint of step 10: /runs/x/ckpt-2\n" in own.output
    assert {path.stat().st_uid for path in (own.runs / "x").rglob("*")} == {1000}


def test_any_user_trains_and_sigterm_saves_a_checkpoint(trainings):
    any_user = trainings["any"]
    last = len(steps(any_user.runs))
    assert last >= 10
    assert any_user.exit_code == 143
    assert f"checkpoint of step {last}: /runs/x/ckpt-2\n" in any_user.output
    assert any_user.output.endswith("ended by SIGTERM\n")
    assert {path.stat().st_uid for path in (any_user.runs / "x").rglob("*")} == {12345}


def test_prediction_needs_no_write_access_no_rights_and_no_network(podman, image, data, trainings):
    """Not even /tmp can be written to, as with docker; podman would mount one."""
    runs = trainings["own"].runs
    done = podman.run(
        image,
        "predict",
        "/data/scene.png",
        "--pipeline_config_path=/data/pipeline.config",
        "--checkpoint_dir=/runs/x",
        "--output_directory=/runs/predictions",
        "--min_score=0",
        options=[
            *mounts(data, runs),
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
        ],
    )
    assert done.returncode == 0, done.stdout
    detections = json.loads((runs / "predictions/detections.json").read_text())
    assert {entry["file_name"] for entry in detections} == {"/data/scene.png"}
    assert {entry["category_name"] for entry in detections} <= {"red", "blue"}
    assert (runs / "predictions/scene.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "usage: odapi "),
        (["demo", "--help"], "usage: odapi demo "),
        (["python", "-c", "import os; print(os.getpid())"], "1\n"),
        (["bash", "-c", "echo $$ $(id -u) $PWD"], "1 1000 /\n"),
        (["/opt/venv/bin/python", "-c", "print('as it is')"], "as it is\n"),
    ],
)
def test_the_command_is_odapi_unless_it_is_an_interpreter(podman, image, arguments, expected):
    done = podman.run(image, *arguments)
    assert (done.returncode, done.stdout[: len(expected)]) == (0, expected)


def test_labels_say_versions_and_the_lock_the_tree(podman, image):
    labels = podman.inspect(image)["Labels"]
    code = "import tensorflow as tf; print(tf.__version__)"
    tensorflow = podman.run(image, "python", "-c", code).stdout.splitlines()[-1]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert labels["odapi.tensorflow"] == tensorflow
    assert labels["odapi.requirements"] == REQUIREMENTS
    code = f'print(open("{OPT}/third_party/models.lock").read())'
    lock = tomllib.loads(podman.run(image, "python", "-c", code).stdout)
    assert lock["tree"] == load_lock(Queue.at(ROOT)).tree


def test_the_tree_in_the_image_is_the_one_built_here(podman, image):
    """All but generated files: the lock's id is that of these."""
    models = ROOT / "third_party/models"
    pin = load_pin(Queue.at(ROOT))
    ours = {
        str(path.relative_to(models)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in models.rglob("*")
        if path.is_file() and path.relative_to(models).parts[0] != ".git"
    }
    output = podman.run(image, "python", "-c", HASHES, f"{OPT}/third_party/models").stdout
    theirs = {name: digest for digest, name in (line.split(" ", 1) for line in output.splitlines())}
    ours, theirs = (
        {name: digest for name, digest in files.items() if not pin.is_generated(name)}
        for files in (ours, theirs)
    )
    assert len(ours) > 500
    assert theirs == ours


def as_root(podman: Podman, image: str, script: str) -> list[str]:
    done = podman.run(image, "bash", "-c", script, options=["--user=0"])
    return done.stdout.splitlines()


def test_nothing_is_writable_by_everyone_but_the_folders_for_temporary_files(podman, image):
    find = "find / -xdev -perm -0002 ! -type l -printf '%M %p\\n'"
    found = dict(reversed(line.split(" ", 1)) for line in as_root(podman, image, find))
    assert set(found) <= {"/tmp", "/var/tmp", "/run/lock"}
    assert set(found.values()) == {"drwxrwxrwt"}
    seen = as_root(podman, image, f"touch /opt/x && chmod 666 /opt/x && {find}")
    assert "-rw-rw-rw- /opt/x" in seen, "a file that is writable would be found"


def test_build_tools_stay_behind(podman, image):
    tools = "git gcc cc g++ make ld curl wget sh"
    assert as_root(podman, image, f"command -v {tools}") == ["/usr/bin/sh"]
    assert as_root(podman, image, "find /opt/odapi -name .git -o -name patches") == []


def test_nothing_of_this_machines_registries_is_in_the_image(podman, image, base):
    hosts = material.registry_hosts()
    told = podman("history", "--no-trunc", image) + json.dumps(podman.inspect(image))
    assert [host for host in hosts if host in told] == []
    places = f"/etc /root /run /tmp /usr/local /var {OPT} /opt/venv/pyvenv.cfg"
    # The last word is there, and shows that the search finds what is.
    pattern = "|".join(re.escape(word) for word in [*hosts, "find-links", "odapi:x:1000"])
    search = f"grep -rIlE '{pattern}' {places} 2>/dev/null"
    assert as_root(podman, image, search) == ["/etc/passwd"]
    for path in ("/etc/apt/sources.list", "/etc/apt/apt.conf.d/99host", "/etc/pip.conf"):
        assert as_root(podman, image, f"cat {path} 2>/dev/null || true") == []
    assert as_root(podman, image, "ls /wheels /tmp") == ["/tmp:", "", "/wheels:"]
    bundle = f"sha256sum {material.CA_BUNDLE}"
    theirs = podman.run(image, "-c", bundle, options=["--entrypoint=sh"]).stdout
    assert theirs == podman.run(base, "sh", "-c", bundle).stdout


def _copy_of_the_project(tmp_path: Path) -> Path:
    """Without what was built. Patches have folders named models, too: these are copied."""
    built = {ROOT / name for name in (".git", ".venv", "runs", "third_party/models")}

    def aside(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder, name) in built or name == "__pycache__"]

    return Path(shutil.copytree(ROOT, tmp_path / "project", ignore=aside))


def test_a_lock_with_another_tree_fails_the_build(build: Build, tmp_path: Path):
    project = _copy_of_the_project(tmp_path)
    lock = project / "third_party/models.lock"
    lock.write_text(lock.read_text().replace(load_lock(Queue.at(ROOT)).tree, "0" * 40))
    with pytest.raises(BuildFailed, match="error: the patched tree is not the locked one"):
        build(project, "localhost/odapi-wrong")


def test_a_broken_patch_fails_the_build_and_does_not_reinstall_tensorflow(
    podman: Podman, image: str, build: Build, tmp_path: Path
):
    """One more patch, after which the builder cannot be imported."""
    project = _copy_of_the_project(tmp_path)

    def command(*words: str, **options: str) -> None:
        done = subprocess.run(words, cwd=project, capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stderr

    command(sys.executable, "apply_patches.py")
    models = project / "third_party/models"
    with (models / "research/object_detection/builders/model_builder.py").open("a") as builder:
        builder.write("\nraise RuntimeError('broken by a patch')\n")
    message = "Break it\n\nTo see.\n\nUpstream-Status: Pending\nRemove-When: seen\nPatch: tests/x\n"
    command("git", "-C", str(models), "commit", "--all", "--file=-", input=message)
    command(sys.executable, "apply_patches.py", "export")

    with pytest.raises(BuildFailed) as failure:
        build(project, "localhost/odapi-broken")

    log = str(failure.value)
    assert "RuntimeError: broken by a patch" in log
    assert "error: the builder tests failed in TF2 and in TF1 behaviour" in log
    [after_install] = re.findall(r"^.*RUN .*pip install.*\n(.*)$", log, re.MULTILINE)[:1]
    assert "Using cache" in after_install
    assert "Successfully installed" not in log
