"""``report``: the health of the queue, a row for each patch."""

from __future__ import annotations

from dataclasses import dataclass

from patchqueue.archive import pristine_snapshot
from patchqueue.patch import Patch, trailers
from patchqueue.project import Project, load_pin
from patchqueue.queue import load_queue, parse_queue
from patchqueue.removal import Removal, removal


@dataclass(frozen=True)
class Row:
    """One patch."""

    patch: str
    area: str
    subject: str
    files: int
    added: int
    """Lines."""
    removed: int
    upstream_status: str
    remove_when: str
    can_go: Removal


def report(project: Project) -> list[Row]:
    """Look at every patch of the queue, and at the pinned snapshot.

    Raises:
      QueueError: 1 a patch cannot be read; 2 there is no usable pin; 3 wrong archive.
    """
    pin = load_pin(project)
    pristine = pristine_snapshot(project, pin)
    return [
        _row(patch, removal(patch, pristine))
        for patch in parse_queue(project, pin, load_queue(project))
    ]


def _row(patch: Patch, can_go: Removal) -> Row:
    found = trailers(patch.message)
    added = removed = 0
    for diff in patch.diffs:
        for hunk in diff.hunks:
            context = hunk.context
            added += len(hunk.new) - context
            removed += len(hunk.old) - context
    return Row(
        patch=patch.slug,
        area=patch.slug.partition("/")[0],
        subject=patch.subject,
        files=len(patch.diffs),
        added=added,
        removed=removed,
        upstream_status=" ".join(found.get("Upstream-Status", ["none"])),
        remove_when=" ".join(found.get("Remove-When", ["not said"])),
        can_go=can_go,
    )
