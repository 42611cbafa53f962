"""Which Python files a file needs, directly or not, from their text alone.

Too much is found rather than too little: imports inside functions and under conditions, the
packages around a module, and what a string names by module or file name.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_FILE = re.compile(r"\S*\.\w+")
_PROTO, _PROTO_MODULE = ".proto", "_pb2.py"


class Imports:
    """The import graph of the files below a folder. All paths are relative to it, with `/`."""

    def __init__(self, root: Path, import_path: Sequence[str] = ("",)) -> None:
        """
        Args:
          root: the folder.
          import_path: what Python looks for modules in: folders below `root`; empty is `root`.
        """
        self._root = root
        self._import_path = import_path
        self.mentions = cache(self._mentions)
        self._exists = cache(lambda path: (root / path).is_file())

    def distances(self, files: Collection[str], changed: Collection[str]) -> dict[str, int]:
        """How many imports lie between each file and the nearest changed one.

        Args:
          files: paths of Python files.
          changed: paths, which need not exist any more. A `.proto` stands for its module.

        Returns:
          0 for a file that changed itself. Files that need nothing that did are left out.
        """
        wanted = set(changed)
        wanted |= {path.removesuffix(_PROTO) + _PROTO_MODULE for path in changed if _PROTO in path}
        names = {PurePosixPath(path).name for path in wanted} - {"__init__.py"}
        importers: dict[str, set[str]] = defaultdict(set)
        reached, waiting = set(files), list(files)
        found = dict.fromkeys(wanted, 0)
        while waiting:
            path = waiting.pop()
            needed, named = self.mentions(path)
            if named & names:
                found.setdefault(path, 1)
            for each in needed:
                if each in wanted or self._exists(each):
                    importers[each].add(path)
                    if each not in reached:
                        reached.add(each)
                        waiting.append(each)
        edge = sorted(found, key=found.__getitem__)
        for path in edge:  # grows: nearest first
            for importer in importers[path]:
                if found.get(importer, len(reached)) > found[path] + 1:
                    found[importer] = found[path] + 1
                    edge.append(importer)
        return {file: found[file] for file in files if file in found}

    def _mentions(self, file: str) -> tuple[frozenset[str], frozenset[str]]:
        """Paths at which the modules that a file imports may lie, and file names in its text."""
        path = self._root / file
        if path.suffix != ".py" or not path.is_file():
            return frozenset(), frozenset()
        tree = ast.parse(path.read_bytes(), filename=str(path))
        needed: set[str] = set()
        named: set[str] = set()
        for node in ast.walk(tree):
            for module in _imported(node, file):
                needed.update(self._places(module, file))
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if _MODULE.fullmatch(node.value):
                    needed.update(self._places(node.value, file))
                if _FILE.fullmatch(node.value):
                    named.add(PurePosixPath(node.value).name)
        return frozenset(needed), frozenset(named)

    def _places(self, module: str, importer: str) -> Iterator[str]:
        # A program's own folder is on its import path.
        folders = {*self._import_path, PurePosixPath(importer).parent.as_posix()}
        parts = module.split(".")
        for folder in folders:
            for length in range(1, len(parts) + 1):
                place = PurePosixPath(folder, *parts[:length])
                yield f"{place}.py"
                yield f"{place}/__init__.py"


def _imported(node: ast.AST, file: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for name in node.names:
            yield name.name
    elif isinstance(node, ast.ImportFrom):
        package = list(PurePosixPath(file).parent.parts)
        stem = package[: len(package) + 1 - node.level] if node.level else []
        module = ".".join([*stem, *([node.module] if node.module else [])])
        if module:
            yield module
        for name in node.names:
            yield f"{module}.{name.name}" if module else name.name
