"""A tree of files in memory, with the ids git would give it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

FILE = "100644"
EXECUTABLE = "100755"


@dataclass(frozen=True)
class Entry:
    """One file: its git mode (``100644`` or ``100755``) and its content."""

    mode: str
    data: bytes

    @cached_property
    def blob(self) -> str:
        """Git's id of the content, 40 hex digits."""
        return blob_id(self.data)


Snapshot = dict[str, Entry]
"""Path relative to the root of the tree, with ``/``, to file."""


def blob_id(data: bytes) -> str:
    """Return git's SHA-1 id of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def snapshot_id(snapshot: Snapshot) -> str:
    """Return git's tree id of a snapshot."""
    return tree_id({path: (entry.mode, entry.blob) for path, entry in snapshot.items()})


def tree_id(files: Mapping[str, tuple[str, str]]) -> str:
    """Return git's tree id of ``path -> (mode, blob id)``.

    Computed here and not by git so that a wrong archive or patch is found out before anything is
    written, and so that a working tree can be checked without trusting git's stat cache.
    """
    root: dict = {}
    for path, file in files.items():
        *folders, name = path.split("/")
        node = root
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = file
    return _hash_node(root)


def _hash_node(node: dict) -> str:
    rows = []
    for name, child in node.items():
        raw = os.fsencode(name)
        if isinstance(child, dict):
            # Git sorts a folder as if its name ended in a slash.
            rows.append((raw + b"/", b"40000 " + raw, _hash_node(child)))
        else:
            mode, blob = child
            rows.append((raw, mode.encode() + b" " + raw, blob))
    body = b"".join(head + b"\0" + bytes.fromhex(oid) for _, head, oid in sorted(rows))
    return hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()


def unsafe_path(path: str) -> str | None:
    """Say why a path may not be part of a tree, or return ``None`` if it may."""
    if path.startswith("/") or (len(path) > 1 and path[1] == ":"):
        return "absolute path"
    parts = path.split("/")
    if ".." in parts:
        return "path leaves the tree through '..'"
    if "" in parts or "." in parts:
        return "path is not in its shortest form"
    if any(part.lower().rstrip(". ") in (".git", "git~1") for part in parts):
        return "path reaches into git's own files"
    if any(char in '"\\' or ord(char) < 32 or ord(char) == 127 for char in path):
        return "path has a quote, a backslash or a control character"
    if any("\ud800" <= char <= "\udfff" for char in path):
        return "path is not UTF-8"
    return None


def path_clash(paths: Iterable[str]) -> str | None:
    """Say which two paths cannot exist side by side on every file system, if any."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        folded = path.casefold()
        if folded in seen:
            if seen[folded] == path:
                return f"{path} occurs twice"
            return f"{seen[folded]} and {path} differ only in case"
        seen[folded] = path
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            known = folders.setdefault(folder.casefold(), folder)
            if known != folder:
                return f"{known}/ and {folder}/ differ only in case"
    for folded, folder in folders.items():
        if folded in seen:
            return f"{folder} is both a file and a folder"
    return None
