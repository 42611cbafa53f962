"""``apply``, ``unapply``, ``status`` and ``verify``."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from patchqueue.archive import load_verified, pristine_snapshot
from patchqueue.errors import ExitCode, QueueError
from patchqueue.project import Lock, Pin, Project, at_work, load_lock, load_pin, write_lock
from patchqueue.queue import Queue, check_lock, inputs_id, load_queue, run_queue
from patchqueue.tree import BuiltTree, Edits, Stamp, build_tree


class State(Enum):
    """The built tree in relation to pin and patches."""

    ABSENT = "absent"
    UP_TO_DATE = "up to date"
    STALE = "stale"
    EDITED = "edited"
    UNAPPLIED = "unapplied"
    FOREIGN = "not built by this command"


@dataclass(frozen=True)
class Report:
    """What a command found or did."""

    state: State
    changed: bool
    """Whether the tree was rebuilt."""
    tree: str
    patches: int
    reasons: tuple[str, ...] = ()
    """Why the tree was rebuilt, or would be."""
    edits: Edits = field(default_factory=Edits)
    saved: Path | None = None
    """Where edits were saved before they were overwritten."""
    accepted: str = ""
    """The tree that the lock named until ``relock`` accepted another, or "nothing"."""


def apply(
    project: Project,
    *,
    archive: Path | None = None,
    force: bool = False,
    relock: bool = False,
    wait: bool = False,
) -> Report:
    """Bring the tree to pin + patches; do nothing if it is there already.

    Raises:
      QueueError: exit codes as documented in ``ExitCode``; the tree is then as it was.
    """
    with at_work(project, wait=wait) as interrupted:
        pin, queue = load_pin(project), load_queue(project)
        inputs = inputs_id(pin, queue)
        data = load_verified(project, pin, archive) if archive else None
        tree = BuiltTree(project, pin)
        report = _inspect(tree, pin, queue)
        lock = _lock_to_replace(project) if relock else load_lock(project)
        if report.state is State.UP_TO_DATE:
            if not relock:
                check_lock(project, lock, report.tree, inputs)
                return report
            write_lock(project, Lock(report.tree, inputs))
            return replace(report, accepted=_accepted(lock, report.tree))
        _refuse_edits(project, report, force)
        pristine = pristine_snapshot(project, pin, data)
        steps = run_queue(project, pin, pristine, queue)
        result = steps[-1].tree if steps else pin.tree
        if relock:
            # Before the tree: a run that is killed in between can be finished without --relock.
            write_lock(project, Lock(result, inputs))
        else:
            check_lock(project, lock, result, inputs, report.reasons)
        saved, keep = _save(tree, report)
        fields = {"pin": pin.id, "patches": queue.hashes, "inputs": inputs, "applied": True}
        build_tree(project, pin, pristine, steps, fields, keep)
    reasons = report.reasons + (("an earlier run was interrupted",) if interrupted else ())
    accepted = _accepted(lock, result) if relock else ""
    return Report(
        State.UP_TO_DATE, True, result, len(steps), reasons, saved=saved, accepted=accepted
    )


def _lock_to_replace(project: Project) -> Lock | None:
    """Read the lock, which may be anything: a merge that both sides wrote to leaves no TOML."""
    with contextlib.suppress(QueueError):
        return load_lock(project)
    return None


def _accepted(lock: Lock | None, tree: str) -> str:
    if lock is None:
        return "nothing"
    return "" if lock.tree == tree else lock.tree


def unapply(
    project: Project, *, archive: Path | None = None, force: bool = False, wait: bool = False
) -> Report:
    """Bring the tree to the pristine snapshot.

    Raises:
      QueueError: exit codes as documented in ``ExitCode``; the tree is then as it was.
    """
    with at_work(project, wait=wait):
        pin = load_pin(project)
        data = load_verified(project, pin, archive) if archive else None
        tree = BuiltTree(project, pin)
        report = _inspect(tree, pin, Queue(()))
        if report.state is State.UNAPPLIED and not report.edits:
            return report
        _refuse_edits(project, report, force)
        pristine = pristine_snapshot(project, pin, data)
        saved, keep = _save(tree, report)
        fields = {"pin": pin.id, "patches": {}, "inputs": "", "applied": False}
        build_tree(project, pin, pristine, [], fields, keep)
    return Report(State.UNAPPLIED, True, pin.tree, 0, saved=saved)


def status(project: Project) -> Report:
    """Tell where the tree stands, from its stamp and git's view of its files."""
    pin, queue = load_pin(project), load_queue(project)
    return _inspect(BuiltTree(project, pin), pin, queue)


def verify(project: Project) -> Report:
    """Hash every file of the tree and compare with the lock.

    Raises:
      QueueError: exit code 3, with what differs.
    """
    pin, queue = load_pin(project), load_queue(project)
    tree = BuiltTree(project, pin)
    report = _inspect(tree, pin, queue)
    if report.state in (State.ABSENT, State.FOREIGN, State.STALE):
        raise QueueError(
            ExitCode.HASH_MISMATCH,
            f"the tree is {report.state.value}",
            at="\n".join([project.show(project.target), *report.reasons]),
            hint="python apply_patches.py apply",
        )
    stamp = tree.stamp()
    if stamp.applied:
        check_lock(project, load_lock(project), stamp.tree, inputs_id(pin, queue))
    if rows := tree.mismatches(stamp.tree):
        raise QueueError(
            ExitCode.HASH_MISMATCH,
            f"the tree is not the {'locked' if stamp.applied else 'pristine'} one\n"
            f"  expected {stamp.tree}",
            at="\n".join([project.show(project.target), *rows]),
            hint="commit and export what you want to keep, or set it aside with\n"
            "python apply_patches.py apply --force",
        )
    return report


def _inspect(tree: BuiltTree, pin: Pin, queue: Queue) -> Report:
    if not tree.exists:
        return Report(State.ABSENT, False, "", 0, ("there is no tree yet",))
    stamp = tree.stamp()
    if stamp is None:
        return Report(State.FOREIGN, False, "", 0, ("the tree carries no stamp",))
    try:
        edits = tree.edits(stamp)
    except QueueError as error:
        if error.code is not ExitCode.FAILED:
            raise
        return Report(State.FOREIGN, False, "", 0, (f"its repository is damaged: {error.what}",))
    reasons = _reasons(stamp, pin, queue)
    if edits:
        state, reasons = State.EDITED, (*reasons, "the tree was edited")
    elif not stamp.applied and stamp.pin == pin.id:
        state = State.UNAPPLIED
    else:
        state = State.STALE if reasons else State.UP_TO_DATE
    return Report(state, False, stamp.tree, len(stamp.patches), reasons, edits)


def _reasons(stamp: Stamp, pin: Pin, queue: Queue) -> tuple[str, ...]:
    reasons = ["the pin changed"] if stamp.pin != pin.id else []
    if not stamp.applied:
        return (*reasons, "the patches are unapplied")
    old, new = stamp.patches, queue.hashes
    reasons += [f"{name} is new" for name in new if name not in old]
    reasons += [f"{name} is gone" for name in old if name not in new]
    reasons += [f"{name} changed" for name in new if name in old and new[name] != old[name]]
    if [n for n in old if n in new] != [n for n in new if n in old]:
        reasons.append("the order of the patches changed")
    return tuple(reasons)


def _save(tree: BuiltTree, report: Report) -> tuple[Path | None, Path | None]:
    """Return where edits are saved, and where the whole tree is to go because it is not ours."""
    if report.state is State.FOREIGN:
        folder = tree.saved_folder()
        return folder, folder
    return (tree.save_edits() if report.edits else None), None


def _refuse_edits(project: Project, report: Report, force: bool) -> None:
    if force or report.state not in (State.EDITED, State.FOREIGN):
        return
    rows = report.edits.lines() or list(report.reasons)
    raise QueueError(
        ExitCode.EDITS,
        "the tree has edits that would be lost",
        at="\n".join([project.show(project.target), *rows]),
        hint="commit them there and run: python apply_patches.py export\n"
        f"or give --force, which saves them under {project.show(project.saved)} first",
    )
