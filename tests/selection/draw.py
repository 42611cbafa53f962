"""A part of what there is, another with every tree."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from patchqueue.project import Project, load_lock


def tree_id(root: Path) -> str:
    """The id of the patched tree, from the lock; empty if there is none."""
    lock = load_lock(Project.at(root))
    return lock.tree if lock else ""


def part(names: Collection[str], tree: str, share: int) -> set[str]:
    """One in `share` of some names, at least one, by a hash of the tree's id and the name."""
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{tree}\n{name}".encode()).digest())
    return set(drawn[: -(-len(names) // share)])
