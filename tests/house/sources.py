"""Our Python files, and what they import, read from their text: nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

FOLDERS = ("odapi", "patchqueue", "bootstrap", "benchmarks", "tests")
BUILT = "third_party/models/"
"""Where the Object Detection API's own modules are; a checkout need not have them."""


@dataclass(frozen=True)
class Source:
    """A file of ours.

    Attributes:
        path: from the root of the checkout, with slashes.
        text: what is in it.
    """

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text, self.path)

    @cached_property
    def wanted(self) -> list[tuple[str, int]]:
        """The dotted names that it imports, and where; see `imports`."""
        return [
            (name, node.lineno)
            for node in ast.walk(self.tree)
            for name in _wanted(node, _name(self.path), self.is_package)
        ]

    @cached_property
    def used(self) -> set[str]:
        """The names that occur in its code, without what is before their last dot."""
        nodes = list(ast.walk(self.tree))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}

    @property
    def is_package(self) -> bool:
        """Whether it is the `__init__.py` of a package."""
        return self.path.endswith("/__init__.py")


@dataclass(frozen=True)
class Import:
    """One name that a module imports.

    Attributes:
        module: what is imported: a module of ours, or `object_detection` for all of its modules
            that are not ours.
        line: where.
    """

    module: str
    line: int


Sources = Mapping[str, Source]
"""By the name under which a module is imported."""


def read(root: Path) -> dict[str, Source]:
    """Every Python file of ours below `root`.

    What patches add has the name that it has in the built tree: `object_detection.training.hook`.
    """
    paths = [root / "apply_patches.py", *(root / "patches").glob("*/*/files/**/*.py")]
    for folder in FOLDERS:
        paths += (root / folder).rglob("*.py")
    return named(
        Source(path.relative_to(root).as_posix(), path.read_text("utf-8")) for path in paths
    )


def named(sources: Iterable[Source]) -> dict[str, Source]:
    """The sources by the names of their modules."""
    return {_name(source.path): source for source in sources}


def _name(path: str) -> str:
    path = path.partition("/files/research/")[2] or path
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(sources: Sources) -> dict[str, list[Import]]:
    """What each module imports of ours: at its head, in functions, and for type checkers.

    The call `import_module("a.b")` imports as well. A part of its argument that is only known when
    it runs may be anything: `import_module(f"odapi.{command}.command")` imports every command.
    """
    return {name: list(_imports(name, sources)) for name in sources}


def _imports(name: str, sources: Sources) -> Iterator[Import]:
    for wanted, line in sources[name].wanted:
        for found in _resolved(wanted, sources):
            if found != name:
                yield Import(found, line)


def _wanted(node: ast.AST, name: str, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = name.split(".")[: None if is_package else -1]
            kept = package[: len(package) + 1 - node.level]
            base = ".".join(kept + ([node.module] if node.module else []))
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and _called(node.func) == "import_module":
        return [_pattern(node.args[0])]
    return []


def _called(function: ast.expr) -> str:
    return getattr(function, "attr", getattr(function, "id", ""))


def _pattern(argument: ast.expr) -> str:
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    if isinstance(argument, ast.JoinedStr):
        parts = argument.values
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts)
    return ""


def _resolved(wanted: str, sources: Sources) -> list[str]:
    """The modules of ours that hold a dotted name, or match a pattern."""
    if "*" in wanted:
        matches = [name for name in sources if fnmatchcase(name, wanted)]
        return [name for name in matches if name.count(".") == wanted.count(".")]
    if wanted.partition(".")[0] == "object_detection":
        found = _longest(wanted, sources)
        return [found if found.count(".") else "object_detection"]
    found = _longest(wanted, sources)
    return [found] if found else []


def _longest(wanted: str, sources: Sources) -> str:
    while wanted and wanted not in sources:
        wanted = wanted.rpartition(".")[0]
    return wanted


def path_of(module: str, sources: Sources) -> str:
    """The file of a module."""
    return sources[module].path if module in sources else f"{BUILT}research/{module}/__init__.py"
