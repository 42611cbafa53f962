"""What is interrupted, and what must be true whenever that happens."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from patchqueue.commands import State, status, verify
from patchqueue.errors import QueueError
from patchqueue.project import Project
from tests.faults import child
from tests.faults.child import Fault
from tests.patchqueue.world import DELTA, World, git, message

PRECIOUS = "work of an afternoon\n"

# The engine's own process must have no threads of TensorFlow's when it forks, and must not pay
# for the start of an interpreter at each of some hundred steps.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.faults.child", "tests.faults.mutations"])


@dataclass(frozen=True)
class Scenario:
    """A command and the state it meets."""

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[World], None]
    precious: bool = False
    """Whether the tree holds work that is in no patch."""
    mutation: str | None = None


@dataclass(frozen=True)
class Point:
    """A step of a scenario and what happens there."""

    fault: Fault
    number: int
    event: str
    about: str

    def __str__(self) -> str:
        return f"{self.number:03d} {self.fault.value} {self.event}: {self.about}"


def _nothing_built(world: World) -> None:
    world.add_patches()
    shutil.rmtree(world.tree)


def _unapplied(world: World) -> None:
    world.add_patches()
    world.ok("unapply")


def _edited(world: World) -> None:
    _unapplied(world)
    (world.tree / "src/lib/beta.py").write_text(PRECIOUS)
    world.commit({"src/lib/empty.py": PRECIOUS}, "keras/precious", "Save the afternoon")
    (world.tree / "src/lib/tool.sh").write_text(PRECIOUS)


def _hand_edited(world: World) -> None:
    world.add_patches()
    (world.patches / "series").write_text("compat/alpha-twenty.patch\n")
    (world.patches / "keras/gamma.patch").unlink()


def _committed(world: World) -> None:
    world.add_patches()
    world.commit({"src/lib/empty.py": PRECIOUS}, "keras/precious", "Save the afternoon")


def _folder(world: World) -> None:
    world.add_patches()
    world.add_folder(DELTA, "src/lib/run.sh")


def _folder_not_built(world: World) -> None:
    _folder(world)
    shutil.rmtree(world.tree)


def _folder_edited_in_place(world: World) -> None:
    _folder(world)
    world.edit(f"files/{DELTA}", PRECIOUS)


def _becomes_a_folder(world: World) -> None:
    world.add_patches()
    (world.tree / "src/lib/empty.py").write_text(PRECIOUS)
    text = message("Add gamma and save the afternoon", "keras/gamma/")
    git(world.tree, "commit", "-q", "-a", "--amend", "-m", text)


SCENARIOS = (
    Scenario("first apply", ("apply",), _nothing_built),
    Scenario("apply", ("apply",), _unapplied),
    Scenario("apply --force", ("apply", "--force"), _edited, precious=True),
    Scenario("apply --relock", ("apply", "--relock"), _hand_edited),
    Scenario("unapply", ("unapply",), World.add_patches),
    Scenario("export", ("export",), _committed, precious=True),
    Scenario("first apply of a folder", ("apply",), _folder_not_built),
    Scenario("apply --relock of a folder", ("apply", "--relock"), _folder_edited_in_place),
    Scenario("export of a folder", ("export",), _becomes_a_folder, precious=True),
    Scenario("apply without exchange", ("apply",), _unapplied, mutation="without_exchange"),
    Scenario(
        "export without exchange",
        ("export",),
        _committed,
        precious=True,
        mutation="without_exchange",
    ),
)


class Laboratory:
    """A scenario prepared once, and copied for each run."""

    def __init__(
        self, scenario: Scenario, folder: Path, capture: Callable, mutation: str | None = None
    ) -> None:
        self.scenario = scenario
        self._mutation = mutation or scenario.mutation
        self._folder = folder
        folder.mkdir()
        world = World.make(folder, capture)
        scenario.prepare(world)
        self._template = world.root
        self._runs = 0
        self.old = _Seen.of(self._copy())
        root = self._copy()
        assert self._run(root, *scenario.arguments, record=True) == 0, self.output
        self.new = _Seen.of(root)
        self.points = list(_points(self._recorded))

    def strike(self, point: Point) -> list[str]:
        """Run with a fault at one step, then run again; return what went wrong."""
        root = self._copy()
        code = self._run(root, *self.scenario.arguments, strike=(point.fault, point.number))
        problems = self._aftermath(point, code, root)
        if self.scenario.precious:
            problems += self._another_command(root)
        code = self._run(root, *self.scenario.arguments)
        if code != 0:
            return [*problems, f"the next run ends with {code}\n{self.output}"]
        project = Project.at(root)
        seen = _Seen.of(root)
        if seen != self.new:
            problems.append(f"the next run leads elsewhere: {seen.difference(self.new)}")
        problems += _check_claim(project)
        if leftovers := _leftovers(root):
            problems.append(f"the next run leaves {leftovers}")
        if self.scenario.precious and not _precious_kept(root):
            problems.append("work is lost after the next run")
        shutil.rmtree(root)
        return problems

    def _aftermath(self, point: Point, code: int, root: Path) -> list[str]:
        """Check the state that the fault left behind."""
        problems = []
        if point.fault is Fault.NO_SPACE:
            # What cannot be tidied up after the work was done is no failure.
            if code not in (0, 1) or "Traceback" in self.output:
                problems.append(f"ends with {code}\n{self.output}")
            if code == 1 and "No space left" not in self.output:
                problems.append(f"does not say why it failed\n{self.output}")
        elif code != -9:
            problems.append(f"was not killed but ended with {code}")
        seen = _Seen.of(root)
        for part, states in (
            ("tree", (self.old.tree, self.new.tree)),
            ("patches", (self.old.patches, self.new.patches)),
        ):
            now = getattr(seen, part)
            between = now is None and self._mutation == "without_exchange"
            if now not in states and not between:
                problems.append(f"{part}: neither the old nor the new: {sorted(now or ())}")
        problems += _check_claim(Project.at(root))
        if self.scenario.precious and not _precious_kept(root):
            problems.append("work is lost")
        return problems

    def _another_command(self, struck: Path) -> list[str]:
        """Check that a build, which users run after whatever happened, loses no work either."""
        root = self._copy(struck)
        code = self._run(root, "apply")
        problems = [] if code in (0, 4) else [f"apply ends with {code}\n{self.output}"]
        if not _precious_kept(root):
            problems.append("work is lost after apply")
        shutil.rmtree(root)
        return problems

    def _copy(self, source: Path | None = None) -> Path:
        self._runs += 1
        root = self._folder / f"run-{self._runs}"
        shutil.copytree(source or self._template, root, symlinks=True)
        return root

    def _run(self, root: Path, *arguments: str, strike=None, record: bool = False) -> int:
        log = self._folder / "log"
        receiving, sending = _processes.Pipe(duplex=False)
        process = _processes.Process(
            target=child.run,
            args=(root, list(arguments), log),
            kwargs={
                "strike": strike,
                "mutation": self._mutation,
                "steps": sending.send if record else None,
            },
        )
        process.start()
        sending.close()
        if record:
            self._recorded = receiving.recv()
        process.join()
        self.output = log.read_text()
        return process.exitcode


def _points(steps: list[tuple[str, str]]) -> list[Point]:
    """Choose the faults: every step, but of a folder's removal the first, a middle, the last."""
    points = []
    number = 0
    for about, group in groupby(steps, key=lambda step: step[1]):
        run = list(group)
        chosen = range(len(run))
        if about == "inside a folder that goes":
            chosen = sorted({0, len(run) // 2, len(run) - 1})
        for at in chosen:
            event = run[at][0]
            points.append(Point(Fault.KILL, number + at, event, about))
            if event == "open":
                points.append(Point(Fault.TORN, number + at, event, about))
            if event in ("open", "os.mkdir", "os.rename"):
                points.append(Point(Fault.NO_SPACE, number + at, event, about))
        number += len(run)
    return points


@dataclass(frozen=True)
class _Seen:
    """What a reader of a project sees. ``None``: not there."""

    tree: dict[str, tuple[bool, bytes]] | None
    patches: dict[str, tuple[bool, bytes]] | None
    lock: bytes | None

    @classmethod
    def of(cls, root: Path) -> _Seen:
        project = Project.at(root)
        lock = project.lock_path
        return cls(
            _files(project.target), _files(project.patches),
            lock.read_bytes() if lock.exists() else None,
        )  # fmt: skip

    def difference(self, other: _Seen) -> str:
        parts = ("tree", "patches", "lock")
        return ", ".join(part for part in parts if getattr(self, part) != getattr(other, part))


def _files(folder: Path) -> dict[str, tuple[bool, bytes]] | None:
    if not folder.exists():
        return None
    return {
        path.relative_to(folder).as_posix(): (os.access(path, os.X_OK), path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def _check_claim(project: Project) -> list[str]:
    """A tree that says it is whole has to be."""
    try:
        report = status(project)
        if report.state in (State.UP_TO_DATE, State.UNAPPLIED):
            verify(project)
    except QueueError as error:
        return [f"the tree claims to be whole and is not: {error}"]
    return []


def _leftovers(root: Path) -> list[str]:
    """Names that no finished run leaves behind."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob(".*")
        if any(mark in path.name for mark in (".staging-", ".previous", "-tmp"))
    )


def _precious_kept(root: Path) -> bool:
    """Whether the uncommitted and the committed work can be found again, in whatever place."""
    project = Project.at(root)
    trees = (project.target, project.target.with_name(".models.previous"))
    files = [tree / "src/lib/empty.py" for tree in trees]
    in_tree = any(file.is_file() and file.read_text() == PRECIOUS for file in files)
    saved = any(
        PRECIOUS.strip() in path.read_text(errors="replace")
        for path in project.saved.rglob("edits.patch")
    ) and any(_in_bundle(path) for path in project.saved.rglob("commits.bundle"))
    return in_tree or saved


def _in_bundle(bundle: Path) -> bool:
    done = subprocess.run(
        ["git", "bundle", "list-heads", str(bundle)], capture_output=True, text=True
    )
    return done.returncode == 0 and "refs/heads/main" in done.stdout
