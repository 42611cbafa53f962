"""The queue on disk: ``patches/series`` and the entries it lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchqueue.entry import (
    Content,
    content_id,
    is_folder,
    names_in,
    parse_entry,
    read_entry,
    stem,
    unsafe_name,
)
from patchqueue.errors import ExitCode, QueueError
from patchqueue.exact import FileResult, Outcome, PatchResult, apply_changes, try_patch
from patchqueue.patch import FileDiff, Patch, PatchSyntaxError
from patchqueue.project import Lock, Pin, Project
from patchqueue.snapshot import Entry, Snapshot, path_clash, snapshot_id

_LINT = "python apply_patches.py lint"


@dataclass(frozen=True)
class Series:
    """The order of application, with the comments that stand in the file."""

    head: tuple[str, ...]
    """Comment lines at the top, up to an empty line."""
    entries: tuple[tuple[str, tuple[str, ...], int], ...]
    """Entry's name, the comment lines right before it, line number."""

    @property
    def names(self) -> list[str]:
        """Entries' names in order."""
        return [name for name, _, _ in self.entries]

    def text(self, names: Sequence[str]) -> str:
        """Return the file for another order, each entry keeping its comments."""
        comments = {stem(name): lines for name, lines, _ in self.entries}
        rows = [*self.head]
        for name in names:
            rows += [*comments.get(stem(name), ()), name]
        return "".join(row + "\n" for row in rows)


@dataclass(frozen=True)
class Queue:
    """Names and contents of the entries, in order."""

    entries: tuple[tuple[str, Content], ...]

    @property
    def hashes(self) -> dict[str, str]:
        """Entry's name to sha256 of its content, in order."""
        return {name: content_id(name, content) for name, content in self.entries}


@dataclass(frozen=True)
class Step:
    """One patch that applied cleanly: what it changed and the tree it led to."""

    patch: Patch
    changes: dict[str, Entry | None]
    tree: str


def read_series(folder: Path) -> Series:
    """Read ``series``; a missing file is an empty queue."""
    path = folder / "series"
    try:
        rows = path.read_text("utf-8").splitlines() if path.exists() else []
    except UnicodeDecodeError as error:
        raise QueueError(
            ExitCode.FAILED, f"the series is not UTF-8: {error}", at=str(path)
        ) from error
    head: list[str] = []
    entries: list[tuple[str, tuple[str, ...], int]] = []
    pending: list[str] = []
    for number, row in enumerate(rows, 1):
        name = row.strip()
        if name and not name.startswith("#"):
            entries.append((name, tuple(pending), number))
            pending = []
            continue
        pending.append(row)
        if not name and not entries:
            head, pending = head + pending, []
    if not entries:
        head += pending
    return Series(tuple(head), tuple(entries))


def load_queue(project: Project) -> Queue:
    """Read the entries that the series lists.

    Raises:
      QueueError: exit code 1 if one is missing, is listed twice or holds what does not belong.
    """
    where = project.show(project.patches / "series")
    contents: dict[str, Content] = {}
    stems: set[str] = set()
    for name, _, line in read_series(project.patches).entries:
        at = f"{where}:{line}: {name}"
        if unsafe_name(name):
            raise QueueError(ExitCode.FAILED, "not a path under patches/", at=at, hint=_LINT)
        if stem(name) in stems:
            raise QueueError(ExitCode.FAILED, "a patch is listed twice", at=at, hint=_LINT)
        stems.add(stem(name))
        try:
            contents[name] = load_content(project, name)
        except OSError as error:
            hint = "restore it, or take its line out of the series"
            if isinstance(error, IsADirectoryError):
                hint = f"write a folder as {name}/"
            raise QueueError(
                ExitCode.FAILED,
                "a patch of the series cannot be read",
                at=f"{at}: {error.strerror}",
                hint=hint,
            ) from error
    return Queue(tuple(contents.items()))


def load_content(project: Project, name: str) -> Content:
    """Read one entry.

    Raises:
      OSError: it cannot be read.
      QueueError: exit code 1 if its folder holds what does not belong there.
    """
    content, strays = read_entry(project.patches, name)
    if strays:
        where = _where(project, name)
        raise QueueError(
            ExitCode.FAILED,
            "the entry holds what does not belong there",
            at="\n".join(f"{where}{stray.source}: {stray}" for stray in strays),
            hint="move it away, or delete it",
        )
    return content


def unlisted(folder: Path) -> list[str]:
    """Return the names of the entries in ``patches/`` that its series does not list."""
    return sorted(set(names_in(folder)) - set(read_series(folder).names))


def inputs_id(pin: Pin, queue: Queue) -> str:
    """Identify pin and patches together: same id, same tree."""
    return hashlib.sha256(json.dumps([pin.id, list(queue.hashes.items())]).encode()).hexdigest()


def parse_queue(project: Project, pin: Pin, queue: Queue) -> list[Patch]:
    """Read all patches of a queue.

    Raises:
      QueueError: exit code 1, naming patch and line.
    """
    patches = []
    for name, content in queue.entries:
        try:
            patch = parse_entry(name, content)
        except PatchSyntaxError as error:
            raise QueueError(
                ExitCode.FAILED,
                f"patch cannot be used ({error.damage.value}): {error}",
                at=_where(project, name, error),
                hint=_LINT,
            ) from error
        _refuse_generated(project, pin, patch)
        patches.append(patch)
    for patch, diff, owner in touched_additions(patches):
        raise QueueError(
            ExitCode.FAILED,
            f"{patch.name} changes a file that {owner.name} adds: {diff.path}",
            at=_where(project, patch.name, diff),
            hint=f"make the change in {_where(project, owner.name)}, where the whole file is",
        )
    return patches


def touched_additions(patches: Sequence[Patch]) -> Iterator[tuple[Patch, FileDiff, Patch]]:
    """Yield each change to a file that the folder of an earlier entry adds, and that entry.

    The folder would no longer hold the file as it is in the tree, where people look for it.
    """
    owners: dict[str, Patch] = {}
    for patch in patches:
        for diff in patch.diffs:
            if diff.path in owners:
                yield patch, diff, owners[diff.path]
        if is_folder(patch.name):
            owners |= {diff.path: patch for diff in patch.diffs if diff.old_mode is None}


def run_queue(project: Project, pin: Pin, pristine: Snapshot, queue: Queue) -> list[Step]:
    """Apply all patches, in memory, exactly. ``pristine`` stays as it is.

    Raises:
      QueueError: exit code 1, naming patch, file, hunk and the next command.
    """
    snapshot = dict(pristine)
    steps: list[Step] = []
    for patch in parse_queue(project, pin, queue):
        result = try_patch(snapshot, patch)
        if result.outcome is not Outcome.CLEAN:
            raise _patch_failed(project, patch.name, result)
        apply_changes(snapshot, result.changes)
        if any(diff.old_mode is None for diff in patch.diffs) and (clash := path_clash(snapshot)):
            text = f"the patch adds a path that clashes: {clash}"
            raise QueueError(ExitCode.FAILED, text, at=_where(project, patch.name))
        steps.append(Step(patch, result.changes, snapshot_id(snapshot)))
    return steps


def check_lock(
    project: Project, lock: Lock | None, tree: str, inputs: str, reasons: Sequence[str] = ()
) -> None:
    """Compare a result with the lock.

    Args:
      reasons: What changed since the last build, for the message.

    Raises:
      QueueError: exit code 3 with both ids.
    """
    if lock is not None and lock.tree == tree:
        return
    if lock is None:
        cause = "there is no lock yet"
    elif lock.inputs != inputs:
        cause = "pin or patches changed since the lock was written"
    else:
        cause = "pin and patches are those of the lock"
    raise QueueError(
        ExitCode.HASH_MISMATCH,
        f"the patched tree is not the locked one ({cause})\n"
        f"  expected {lock.tree if lock else 'nothing'}\n  found    {tree}",
        at="\n".join([project.show(project.lock_path), *reasons]),
        hint="if you edited patches by hand and want this result:\n"
        "python apply_patches.py apply --relock",
    )


def _where(
    project: Project, name: str, place: FileDiff | FileResult | PatchSyntaxError | None = None
) -> str:
    where = f"{project.show(project.patches)}/{name}"
    if place is None:
        return where
    return where + place.source + (f":{place.line}" if place.line else "")


def _refuse_generated(project: Project, pin: Pin, patch: Patch) -> None:
    for diff in patch.diffs:
        if pin.is_generated(diff.path):
            raise QueueError(
                ExitCode.FAILED,
                f"the patch changes a file that a later build step writes: {diff.path}",
                at=_where(project, patch.name, diff),
                hint="take that file out of the patch",
            )


def _patch_failed(project: Project, name: str, result: PatchResult) -> QueueError:
    worst = result.worst
    failed = [item for item in result.files if item.outcome is not Outcome.CLEAN]
    more = "".join(f"\n{item.path}: {item.outcome.value}" for item in failed if item is not worst)
    return QueueError(
        ExitCode.FAILED,
        f"patch does not apply: {result.outcome.value}",
        at=f"{_where(project, name, worst)}\n{worst.path}: {worst.detail}{more}",
        hint=result.outcome.hint,
    )
