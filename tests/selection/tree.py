"""Which files of the patched tree differ from those of another commit, without building its tree.

A patch says in full which file it finds and which it leaves, by git's ids. So the last patch that
touches a file says what the tree has there, and the first what the snapshot has.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from patchqueue.project import Project, load_pin
from patchqueue.queue import load_queue, parse_queue
from tests.selection.base import Base, export

Content = tuple[str, str | None]
"""Git's id of a file's bytes, and its mode: None where there is no file."""


def changed(root: Path, base: Base) -> set[str]:
    """Paths in the tree whose content differs, or which only one of the two trees has.

    Both commits must pin the same snapshot. Files that the build generates are not looked at.

    Args:
      root: of the checkout, whose queue is taken as it lies there.
      base: what to compare with.

    Raises:
      OSError: the base has no patches.
      QueueError: one of the queues cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="base-") as scratch:
        export(root, base, ["patches", "third_party/upstream.toml"], Path(scratch))
        before = _touched(Path(scratch))
    now = _touched(root)
    untouched = {path: first for path, (first, _) in {**before, **now}.items()}
    return {
        path
        for path, pristine in untouched.items()
        if before.get(path, (None, pristine))[1] != now.get(path, (None, pristine))[1]
    }


def _touched(root: Path) -> dict[str, tuple[Content, Content]]:
    """What the snapshot has, and what the last patch leaves, at each path that a patch touches."""
    project = Project.at(root)
    found: dict[str, tuple[Content, Content]] = {}
    for patch in parse_queue(project, load_pin(project), load_queue(project)):
        for diff in patch.diffs:
            old = (diff.old_blob, diff.old_mode)
            first = found[diff.path][0] if diff.path in found else old
            found[diff.path] = first, (diff.new_blob, diff.new_mode)
    return found
