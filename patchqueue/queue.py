"""The queue on disk: ``patches/series`` and the patch files it lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from patchqueue.errors import ExitCode, QueueError
from patchqueue.exact import Outcome, PatchResult, apply_changes, try_patch
from patchqueue.patch import Patch, PatchSyntaxError, parse_patch
from patchqueue.project import Lock, Pin, Project
from patchqueue.snapshot import Entry, Snapshot, snapshot_id, unsafe_path

_LINT = "python apply_patches.py lint"


@dataclass(frozen=True)
class Series:
    """The order of application, with the comments that stand in the file."""

    head: tuple[str, ...]
    """Comment lines at the top, up to an empty line."""
    entries: tuple[tuple[str, tuple[str, ...], int], ...]
    """Patch path, the comment lines right before it, line number."""

    @property
    def names(self) -> list[str]:
        """Patch paths in order."""
        return [name for name, _, _ in self.entries]

    def text(self, names: Sequence[str]) -> str:
        """Return the file for another order, each entry keeping its comments."""
        comments = {name: lines for name, lines, _ in self.entries}
        rows = [*self.head]
        for name in names:
            rows += [*comments.get(name, ()), name]
        return "".join(row + "\n" for row in rows)


@dataclass(frozen=True)
class Queue:
    """Names and contents of the patches, in order."""

    files: tuple[tuple[str, bytes], ...]

    @property
    def hashes(self) -> dict[str, str]:
        """Patch path to sha256 of its content, in order."""
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.files}


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
    """Read the patches that the series lists.

    Raises:
      QueueError: exit code 1 if one is missing or listed twice.
    """
    where = project.show(project.patches / "series")
    files: dict[str, bytes] = {}
    for name, _, line in read_series(project.patches).entries:
        at = f"{where}:{line}: {name}"
        if unsafe_path(name):
            raise QueueError(ExitCode.FAILED, "not a path under patches/", at=at, hint=_LINT)
        if name in files:
            raise QueueError(ExitCode.FAILED, "a patch is listed twice", at=at, hint=_LINT)
        try:
            files[name] = (project.patches / name).read_bytes()
        except OSError as error:
            raise QueueError(
                ExitCode.FAILED,
                "a patch of the series cannot be read",
                at=f"{at}: {error.strerror}",
                hint="restore the file, or take its line out of the series",
            ) from error
    return Queue(tuple(files.items()))


def unlisted(folder: Path) -> list[str]:
    """Return the patch files in a folder that its series does not list."""
    listed = set(read_series(folder).names)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.patch")}
    return sorted(found - listed)


def inputs_id(pin: Pin, queue: Queue) -> str:
    """Identify pin and patches together: same id, same tree."""
    return hashlib.sha256(json.dumps([pin.id, list(queue.hashes.items())]).encode()).hexdigest()


def parse_queue(project: Project, pin: Pin, queue: Queue) -> list[Patch]:
    """Read all patches of a queue.

    Raises:
      QueueError: exit code 1, naming patch and line.
    """
    patches = []
    for name, data in queue.files:
        where = _where(project, name)
        try:
            patch = parse_patch(name, data)
        except PatchSyntaxError as error:
            raise QueueError(
                ExitCode.FAILED,
                f"patch cannot be used ({error.damage.value}): {error}",
                at=f"{where}:{error.line}",
                hint=_LINT,
            ) from error
        _refuse_generated(pin, patch, where)
        patches.append(patch)
    return patches


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
            raise _patch_failed(result, _where(project, patch.name))
        apply_changes(snapshot, result.changes)
        steps.append(Step(patch, result.changes, snapshot_id(snapshot)))
    return steps


def check_lock(project: Project, lock: Lock | None, tree: str, inputs: str) -> None:
    """Compare a result with the lock.

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
        at=project.show(project.lock_path),
        hint="if you edited patches by hand and want this result:\n"
        "python apply_patches.py apply --relock",
    )


def _where(project: Project, name: str) -> str:
    return f"{project.show(project.patches)}/{name}"


def _refuse_generated(pin: Pin, patch: Patch, where: str) -> None:
    for diff in patch.diffs:
        if pin.is_generated(diff.path):
            raise QueueError(
                ExitCode.FAILED,
                f"the patch changes a file that a later build step writes: {diff.path}",
                at=f"{where}:{diff.line}",
                hint="take that file out of the patch",
            )


def _patch_failed(result: PatchResult, where: str) -> QueueError:
    worst = result.worst
    failed = [item for item in result.files if item.outcome is not Outcome.CLEAN]
    more = "".join(f"\n{item.path}: {item.outcome.value}" for item in failed if item is not worst)
    return QueueError(
        ExitCode.FAILED,
        f"patch does not apply: {result.outcome.value}",
        at=f"{where}:{worst.line}\n{worst.path}: {worst.detail}{more}",
        hint=result.outcome.hint,
    )
