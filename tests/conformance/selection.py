"""Which of upstream's test files a change can break, and a part of the others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from patchqueue.errors import QueueError
from tests.conformance import expectation
from tests.selection import base as bases
from tests.selection import draw, tree
from tests.selection.base import Base
from tests.selection.imports import Imports

SHARE = 9
"""Of the files that no change can break, one in so many runs all the same."""
_RESEARCH = "research/"
_HERE = "tests/conformance/"
# What every test file stands on: snapshot, generated modules, and how files are run.
_GROUND = (
    "bootstrap/",
    "third_party/upstream.toml",
    f"{_HERE}harness.py",
    f"{_HERE}suite.py",
)
# What the tests' environment is installed from.
_LOCKS = ("requirements/cpu.lock", "requirements/beam.lock")
_PIN = re.compile(r"^[\w.-]+==[^\s;]+", re.MULTILINE)


@dataclass(frozen=True)
class Selection:
    """Some test files, in the order they were given.

    Attributes:
      files: those to run.
      left_out: how many are not among them.
      why: of how the choice came about, a line.
    """

    files: list[str]
    left_out: int
    why: str


class _Everything(Exception):
    """Why a change can break any file."""


def select(root: Path, files: list[str], behaviour: str, base: Base | None) -> Selection:
    """The files that a change since the base can break, and a part of the rest.

    The part is one in `SHARE`, another with every tree. Where it is not known what a change can
    break, it is every file.

    Args:
      root: of the checkout, with its tree built.
      files: test files below `research/`.
      behaviour: `tf1` or `tf2`.
      base: the commit that landed last; None if there is none to compare with.
    """
    if base is None:
        return Selection(files, 0, "every file: there is no earlier commit to compare with")
    try:
        needed = _breakable(root, files, behaviour, base)
    except _Everything as reason:
        return Selection(files, 0, f"every file: since {base}, {reason}")
    except (OSError, QueueError) as error:
        return Selection(files, 0, f"every file: the patches of {base} cannot be read: {error}")
    rest = [file for file in files if file not in needed]
    share = draw.part(rest, draw.tree_id(root), SHARE)
    why = (
        f"those that a change since {base} can break ({len(needed)}), "
        f"and one in {SHARE} of the others ({len(share)})"
    )
    return Selection([f for f in files if f in needed | share], len(rest) - len(share), why)


def _breakable(root: Path, files: list[str], behaviour: str, base: Base) -> set[str]:
    for path in sorted(bases.changed(root, base)):
        if path.startswith(_GROUND):
            raise _Everything(f"{path} changed")
    for lock in _LOCKS:
        # A package that came to them cannot break what did without.
        if gone := _pins(bases.text_at(root, base, lock)) - _pins(_text(root / lock)):
            raise _Everything(f"{lock} has no {min(gone)} any more")
    research = root / "third_party/models/research"
    sources = set()
    for path in sorted(tree.changed(root, base)):
        below = path.removeprefix(_RESEARCH)
        if below == path:
            continue  # LICENSE and AUTHORS
        if path.endswith((".py", ".proto")):
            sources.add(below)
        elif readers := _readers(research, Path(path).name):
            sources |= readers
        else:
            raise _Everything(f"{path} changed, and no module names it")
    found = Imports(research, ("", "slim")).distances(files, sources)
    return found.keys() | _expected_otherwise(root, files, behaviour, base)


def _pins(lock: str | None) -> set[str]:
    return set(_PIN.findall(lock or ""))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _readers(research: Path, name: str) -> set[str]:
    """Modules that have the name of a file in their text."""
    return {
        module.relative_to(research).as_posix()
        for module in research.rglob("*.py")
        if name.encode() in module.read_bytes()
    }


def _expected_otherwise(root: Path, files: list[str], behaviour: str, base: Base) -> set[str]:
    path = f"{_HERE}{expectation.path_for(behaviour).name}"
    old = expectation.parse(bases.text_at(root, base, path) or "{}")
    new = expectation.load(root / path)
    return {file for file in files if old.get(file) != new.get(file)}
