"""Finds upstream's test files, runs each in a process of its own, and collects the outcomes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

# slim is TF1 code from end to end: its tests build graphs without asking for them.
PACKAGES = {"tf1": ("object_detection", "slim"), "tf2": ("object_detection",)}
# The slowest file takes three minutes with the machine to itself.
SECONDS_A_FILE = 1200
_HARNESS = Path(__file__).with_name("harness.py")


@dataclass
class FileResult:
    """What one test file came to.

    Attributes:
      passed: names of the tests that passed, as `Class.method`.
      skipped: reason by name of the tests that upstream, or a missing need, skipped.
      failed: first line of the error by name of the tests that failed.
      broken: why the file as a whole did not run to its end; empty if it did.
      seconds: wall time of the process, the imports included.
    """

    passed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    broken: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict:
        return {**asdict(self), "seconds": round(self.seconds, 1)}


def test_files(research: Path, behaviour: str) -> list[str]:
    """Every upstream test file for a behaviour, as paths relative to `research`."""
    return sorted(
        str(path.relative_to(research))
        for package in PACKAGES[behaviour]
        for path in (research / package).rglob("*_test.py")
    )


def overlay(research: Path, data: Path | None, into: Path) -> None:
    """Makes `into` look like the tree `research` with the data files of `data` added.

    The registry snapshot lacks label maps, sample configs and records, which tests look for
    beside their own source. The built tree must not change, so the tests run on links to it.
    A source file or a file that the tree has is never taken from `data`; a checkout of
    tensorflow/models serves as well as a folder with nothing but the data.
    """
    into.mkdir(parents=True)
    for source in research.iterdir():
        extra = data / source.name if data else None
        if source.is_dir() and extra and extra.is_dir():
            overlay(source, extra, into / source.name)
        else:
            (into / source.name).symlink_to(source)
    for source in data.iterdir() if data else ():
        if source.suffix != ".py" and not (into / source.name).exists():
            (into / source.name).symlink_to(source)


def run_files(
    files: list[str],
    research: Path,
    behaviour: str,
    skips: Mapping[str, Mapping[str, str]],
    scratch: Path,
    logs: Path,
    jobs: int,
) -> Iterator[tuple[str, FileResult]]:
    """Runs test files, `jobs` at a time, and yields each result as it comes.

    Args:
      files: paths relative to `research`.
      research: the tree, or an overlay of it.
      behaviour: `tf1` or `tf2`.
      skips: by file, tests that cannot run here and why.
      scratch: folder for records and for what the tests write.
      logs: folder that gets the output of each file.
      jobs: number of processes.
    """
    # The longest files are the biggest, as far as one can tell: first, lest one ends alone.
    in_order = sorted(files, key=lambda file: -(research / file).stat().st_size)
    with ThreadPoolExecutor(jobs) as pool:
        futures = {
            pool.submit(
                _run_file, file, research, behaviour, skips.get(file, {}), scratch, logs, jobs
            ): file
            for file in in_order
        }
        for future in as_completed(futures):
            yield futures[future], future.result()


def _run_file(
    file: str,
    research: Path,
    behaviour: str,
    skips: Mapping[str, str],
    scratch: Path,
    logs: Path,
    jobs: int,
) -> FileResult:
    threads = max(1, (os.cpu_count() or 1) // jobs)
    name = file.removesuffix(".py").replace("/", ".")
    room = scratch / name
    room.mkdir(parents=True)
    record, skips_file, log = room / "record", room / "skips.json", logs / f"{name}.log"
    skips_file.write_text(json.dumps(dict(skips)), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{research}{os.pathsep}{research / 'slim'}",
        "ODAPI_TF_BEHAVIOR": behaviour.removeprefix("tf"),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # As many threads as cores in every process would have them wait for one another.
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "TEST_TMPDIR": str(room),
        "MPLBACKEND": "Agg",
    }
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(_HARNESS), file, str(record), str(skips_file)],
            cwd=research,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            exit_code: int | None = process.wait(SECONDS_A_FILE)
        except subprocess.TimeoutExpired:
            exit_code = None
        finally:
            # Nothing that a test started outlives it, and neither does an interrupted run.
            _kill(process)
    result = read_record(record, exit_code)
    result.seconds = time.monotonic() - began
    return result


def _kill(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def read_record(record: Path, exit_code: int | None) -> FileResult:
    """Reads what the harness wrote.

    Args:
      record: the harness's file; may be missing or cut short.
      exit_code: of the process; None if it was killed for taking too long.
    """
    result = FileResult()
    ended = empty = False
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    for line in map(json.loads, lines):
        match line["kind"]:
            case "passed":
                result.passed.append(line["test"])
            case "skipped":
                result.skipped[line["test"]] = line["reason"]
            case "failed":
                result.failed[line["test"]] = " ".join(line["reason"].split())[:300]
            case "end":
                ended, empty, result.broken = True, line["empty"], line["reason"]
    # A test with a failing subtest, or one that fails again in tearDown, is told of twice.
    result.passed = sorted(set(result.passed) - set(result.failed))
    if exit_code is None:
        result.broken = f"took longer than {SECONDS_A_FILE} s"
    elif not ended:
        result.broken = f"the process ended with {exit_code} in the middle of the tests"
    elif not result.broken:
        # A file may hold nothing but a base class for the tests of others.
        if not (empty or result.passed or result.skipped or result.failed):
            result.broken = "ran no test"
        elif bool(exit_code) != bool(result.failed):
            result.broken = f"{len(result.failed)} tests failed, but it ended with {exit_code}"
    return result
