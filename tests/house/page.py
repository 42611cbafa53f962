"""What docs/architecture.md states: the rooms, and the ways through the house."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from tests.house.sources import Sources, imports, path_of

_ROW = re.compile(r"\| *(\d+) *\|([^|]+)\|([^|]+)\|")
_QUOTED = re.compile(r"`([^`]+)`")
_STEP = re.compile(r"\d+\. `([\w.]+)`")
_DOTTED = re.compile(
    r"(?:odapi|patchqueue|bootstrap|benchmarks|tests|object_detection|apply_patches)(?:\.\w+)+"
)
_PATH = re.compile(r"[\w.-]+/[\w./-]*|[\w-]+\.(?:py|sh|md|toml)")


@dataclass(frozen=True)
class Room:
    """A row of the table, or one of several on a row.

    Attributes:
        floor: its number; 0 is the ground.
        place: a folder, with a slash at its end, or a file, which may be a pattern.
        question: what is looked up there.
    """

    floor: int
    place: str
    question: str

    def holds(self, path: str) -> bool:
        """Whether a file is in this room."""
        if self.place.endswith("/"):
            return path.startswith(self.place)
        return PurePosixPath(path).match(self.place)


def rooms(page: str) -> list[Room]:
    """The rooms of the page's tables, in their order."""
    rows = (_ROW.match(line) for line in page.splitlines())
    return [
        Room(int(row[1]), place, row[3].strip())
        for row in rows
        if row
        for place in _QUOTED.findall(row[2])
    ]


def room_of(path: str, rooms: list[Room]) -> Room | None:
    """The room of a file, or None."""
    return next((room for room in rooms if room.holds(path)), None)


def ways(page: str) -> dict[str, list[str]]:
    """The steps of each way, dotted names, by the way's heading."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in page.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif step := _STEP.match(line):
            found.setdefault(heading, []).append(step[1])
    return found


def unknown(page: str, root: Path, sources: Sources) -> list[str]:
    """Files and dotted names that the page quotes and that are not there.

    A file without a folder may be any of ours.
    """
    missing = []
    files = {PurePosixPath(source.path).name for source in sources.values()}
    for quoted in _QUOTED.findall(page):
        if _PATH.fullmatch(quoted):
            if quoted not in files and not (root / quoted).exists():
                missing.append(quoted)
        elif _DOTTED.fullmatch(quoted) and not _exists(quoted, sources):
            missing.append(quoted)
    return missing


def _exists(dotted: str, sources: Sources) -> bool:
    module, rest = split(dotted, sources)
    if not module:
        # A folder without `__init__.py` is not imported, and quoted by its path.
        return False
    body = sources[module].tree.body
    for name in rest:
        node = next((node for node in body if name in _defined(node)), None)
        if node is None:
            return False
        body = getattr(node, "body", [])
    return True


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def split(dotted: str, sources: Sources) -> tuple[str, list[str]]:
    """A dotted name as its module and the names within; the module is "" where there is none."""
    module = dotted
    while module and module not in sources:
        module = module.rpartition(".")[0]
    return module, dotted[len(module) :].strip(".").split(".") if module != dotted else []


def gaps(steps: list[str], sources: Sources) -> list[str]:
    """Steps that nothing before them leads to.

    A step is led to by an earlier one whose module is its own, or imports its module, and in both
    cases uses its name.
    """
    graph = {name: {one.module for one in found} for name, found in imports(sources).items()}
    missing = []
    for number, step in enumerate(steps[1:], start=1):
        module, names = split(step, sources)
        before = [split(earlier, sources)[0] for earlier in steps[:number]]
        if not any(
            (earlier == module or module in graph.get(earlier, ()))
            and (not names or names[-1] in sources[earlier].used)
            for earlier in before
        ):
            missing.append(f"{number + 1}. {step}: no step before it leads there")
    return missing


def entered(steps: list[str], rooms: list[Room], sources: Sources) -> dict[str, int]:
    """How often a way comes into each room from another."""
    paths = (path_of(split(step, sources)[0], sources) for step in steps)
    places = [room.place if (room := room_of(path, rooms)) else path for path in paths]
    counts: dict[str, int] = {}
    for place, _ in groupby(places):
        counts[place] = counts.get(place, 0) + 1
    return counts
