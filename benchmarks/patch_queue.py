"""How long building the tree takes, beside `git am` on the same patches.

    python -m benchmarks.patch_queue [--write]

Measured in a scratch copy of the project, alternating, medians of several runs after one that is
not counted. --write puts the table into benchmarks/patch_queue.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from patchqueue.project import Project, load_pin
from patchqueue.queue import read_series

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
APPLY_GOAL, NOTHING_GOAL = 5.0, 0.3
"""Seconds."""


def measure(folder: Path) -> dict[str, float]:
    """Return the median seconds of each job."""
    project = _copy(folder)
    reference = folder / "reference"
    command = [sys.executable, str(project.root / "apply_patches.py")]
    _run(*command, "apply")
    mail = _mail(project, folder / "mail")

    def remove() -> None:
        shutil.rmtree(project.target, ignore_errors=True)

    def rewind() -> None:
        _run("git", "-C", str(reference), "reset", "--quiet", "--hard", "pristine")

    jobs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "interpreter start": (lambda: None, lambda: _run(sys.executable, "-c", "pass")),
        "apply, nothing to do": (lambda: None, lambda: _run(*command, "apply")),
        "unapply": (lambda: None, lambda: _run(*command, "unapply")),
        "apply over the pristine tree": (lambda: None, lambda: _run(*command, "apply")),
        "apply, no tree yet": (remove, lambda: _run(*command, "apply")),
        "verify": (lambda: None, lambda: _run(*command, "verify")),
        "git am of the same patches": (
            rewind,
            lambda: _run("git", "-C", str(reference), "am", "--quiet", *mail),
        ),
    }
    _run(*command, "unapply")
    shutil.copytree(project.target, reference, symlinks=True)
    _run("git", "-C", str(reference), "tag", "pristine")
    _run(*command, "apply")
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(1 + RUNS):
        for name, (prepare, job) in jobs.items():
            prepare()
            began = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def table(seconds: dict[str, float]) -> str:
    """Return the figures as Markdown."""
    start, am = seconds["interpreter start"], seconds["git am of the same patches"]
    goals = {"apply, no tree yet": APPLY_GOAL, "apply, nothing to do": NOTHING_GOAL}
    pin = load_pin(Project.at(ROOT))
    count = len(read_series(ROOT / "patches").names)
    rows = [
        "# Building the tree\n",
        f"`python -m benchmarks.patch_queue --write`, {date.today()}: {count} patches on "
        f"{pin.package} {pin.version}, archive in the cache. Medians of {RUNS} runs on "
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"{_run('git', '--version').strip()}.\n",
        "| job | seconds | less the interpreter's start | beside `git am` | goal |",
        "|---|---|---|---|---|",
    ]
    for name, value in seconds.items():
        goal = f"≤ {goals[name]} s" if name in goals else ""
        cells = (name, f"{value:.2f}", f"{value - start:.2f}", f"{value / am:.2f}", goal)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _copy(folder: Path) -> Project:
    root = folder / "project"
    real, copied = Project.at(ROOT), Project.at(root)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("patchqueue", "patches"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copy2(ROOT / "apply_patches.py", root)
    copied.cache.mkdir(parents=True)
    for path in (real.pin_path, real.lock_path):
        shutil.copy2(path, copied.target.parent)
    shutil.copy2(real.cache / load_pin(real).filename, copied.cache)
    return copied


def _mail(project: Project, folder: Path) -> list[str]:
    """Write each commit of the tree as git am reads it: a folder of the queue is no mail."""
    git = ("git", "-C", str(project.target))
    pristine = _run(*git, "rev-list", "--max-parents=0", "HEAD").strip()
    output = f"--output-directory={folder}"
    return _run(*git, "format-patch", "--full-index", output, f"{pristine}..HEAD").splitlines()


def _run(*command: str) -> str:
    identity = {f"GIT_COMMITTER_{key}": "bench@localhost" for key in ("NAME", "EMAIL")}
    done = subprocess.run(
        command,
        env=os.environ | identity | {"GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command[:4])}: {done.stderr}")
    return done.stdout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write benchmarks/patch_queue.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = table(measure(Path(folder)))
    print(text, end="")
    if options.write:
        Path(__file__).with_suffix(".md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
