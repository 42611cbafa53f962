"""The rules of the house. Each returns its offences, as lines to read: none if it is kept."""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter

from tests.house.page import Room, room_of
from tests.house.sources import BUILT, Sources, imports, path_of

MOST_LINES = 400
MOST_LINES_OF_FUNCTION = 60
ALONE = {
    "apply_patches.py": {"patchqueue"},
    "patchqueue/": {"patchqueue"},
    "bootstrap/": {"bootstrap", "google"},
}
"""What the engine may import beside the standard library."""


def homeless(rooms: list[Room], sources: Sources) -> list[str]:
    """Every file is in a room, and no room is empty; what is built may be missing."""
    paths = {source.path for source in sources.values()}
    offences = [f"{path}: in no room" for path in sorted(paths) if not room_of(path, rooms)]
    empty = set(rooms) - {room_of(path, rooms) for path in paths}
    offences += [f"{room.place}: empty" for room in rooms if room in empty and room.place != BUILT]
    return offences


def arrows(rooms: list[Room], sources: Sources) -> list[str]:
    """A room imports rooms on lower floors only: neither a higher one nor a neighbour."""
    offences = []
    for name, found in imports(sources).items():
        own = room_of(sources[name].path, rooms)
        for one in found:
            other = room_of(path_of(one.module, sources), rooms)
            if own and other and other != own and other.floor >= own.floor:
                offences.append(
                    f"{sources[name].path}:{one.line}: {own.place} on floor {own.floor} imports "
                    f"{one.module} of {other.place} on floor {other.floor}"
                )
    return sorted(set(offences))


def cycles(sources: Sources) -> list[str]:
    """No module imports itself by way of others. Tells the first circle only."""
    graph = {name: {one.module for one in found} for name, found in imports(sources).items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # It lists who is imported before who imports.
        return [" imports ".join(reversed(error.args[1]))]
    return []


def packages(sources: Sources) -> list[str]:
    """The engine imports itself and, beside the standard library, next to nothing."""
    offences = []
    for source in sources.values():
        allowed = next((ALONE[place] for place in ALONE if source.path.startswith(place)), None)
        if allowed is None:
            continue
        for node in ast.walk(source.tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for top in sorted({name.partition(".")[0] for name in names}):
                if top not in sys.stdlib_module_names | allowed:
                    offences.append(f"{source.path}:{node.lineno}: imports {top}")
    return offences


def lengths(sources: Sources) -> list[str]:
    """No file and no function is too long.

    A function is counted from the line of its `def` to its last one: docstring, comments and what
    is defined in it included, decorators not.
    """
    offences = []
    for source in sources.values():
        lines = len(source.text.splitlines())
        if lines > MOST_LINES:
            offences.append(f"{source.path}: {lines} lines, more than {MOST_LINES}")
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = node.end_lineno - node.lineno + 1
            if lines > MOST_LINES_OF_FUNCTION:
                offences.append(
                    f"{source.path}:{node.lineno}: {node.name} has {lines} lines, "
                    f"more than {MOST_LINES_OF_FUNCTION}"
                )
    return offences
