"""``bump``: what becomes of every patch on another snapshot, and the way there.

The queue is tried patch by patch on the new files, each on top of those that fitted before it.
Unlike ``apply``, a patch whose lines are found elsewhere in the file counts as fitting, because
the next thing that happens is that a person looks.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from email.parser import BytesHeaderParser
from enum import Enum
from pathlib import Path

from patchqueue.archive import Contents, pristine_snapshot, read_contents
from patchqueue.commands import State, status
from patchqueue.entry import is_folder
from patchqueue.errors import ExitCode, QueueError
from patchqueue.exact import FileResult, Outcome, apply_changes, shifted_changes, try_patch
from patchqueue.files import recover, staging_beside, write_atomic
from patchqueue.git import Git, require_git
from patchqueue.patch import Patch, split_lines
from patchqueue.project import Pin, Project, at_work, load_pin, parse_pin
from patchqueue.queue import load_queue, parse_queue
from patchqueue.removal import Removal, removal
from patchqueue.snapshot import Entry, Snapshot, snapshot_id
from patchqueue.tree import BuiltTree, import_stream

OLD, NEW = "snapshot/old", "snapshot/new"
"""Branches of the repository that ``--port`` makes, beside ``main``."""

_GROWTH = 4
"""How many times larger than the pinned one an archive may unpack; more is taken for a bomb."""
_SIMILAR = 0.5
"""Share of equal lines from which a file counts as a renamed one, as git's default has it."""


class Verdict(Enum):
    """What becomes of a patch on another snapshot."""

    CLEAN = "clean"
    ELSEWHERE = "fits, file differs elsewhere"
    OFFSET = "fits with an offset"
    UPSTREAM = "already upstream"
    CONFLICT = "conflict"
    HOOKS = "hooks conflict"
    EXISTS = "a file that we add exists upstream now"
    RENAMED = "target renamed"
    DELETED = "target deleted"

    @property
    def fits(self) -> bool:
        """Whether the patch can be carried over as it is."""
        return self in (Verdict.CLEAN, Verdict.ELSEWHERE, Verdict.OFFSET)


_VERDICTS = {
    Outcome.CLEAN: Verdict.CLEAN,
    Outcome.OTHER_FILE: Verdict.ELSEWHERE,
    Outcome.OFFSET: Verdict.OFFSET,
    Outcome.ALREADY_APPLIED: Verdict.UPSTREAM,
}


@dataclass(frozen=True)
class Trial:
    """One patch."""

    patch: str
    verdict: Verdict
    evidence: tuple[str, ...]
    """One line for each file that is not as the patch expects it."""
    can_go: Removal
    """Whether its Remove-Test holds on the new snapshot."""


@dataclass(frozen=True)
class BumpReport:
    """A snapshot and the queue tried on it."""

    pin: Pin
    """What would be pinned."""
    files: int
    added: int
    """Files that the pinned snapshot lacks."""
    removed: int
    changed: int
    crlf: int
    """Files with CRLF line ends. They were compared as if they had LF."""
    missing: tuple[str, ...]
    """Entries of the layout that the archive lacks."""
    trials: tuple[Trial, ...]
    written: bool
    """Whether the pin now names this snapshot."""

    @property
    def counts(self) -> Counter[Verdict]:
        """Patches for each verdict."""
        return Counter(trial.verdict for trial in self.trials)

    @property
    def fits(self) -> bool:
        """Whether every patch can be carried over as it is."""
        return all(trial.verdict.fits for trial in self.trials)


def bump(
    project: Project,
    archive: Path,
    *,
    without: Sequence[str] = (),
    port: Path | None = None,
    write: bool = False,
    wait: bool = False,
) -> BumpReport:
    """Try the queue on another archive.

    Args:
      archive: A source archive (``.tar.gz``). It is read, checked as the pinned one is, and
        nothing in it is run.
      without: Entries of [layout.paths] that the new pin is to leave out.
      port: Make a repository here to carry the patches over in: the queue on the pinned snapshot
        as ``main``, and both snapshots as ``OLD`` and ``NEW``.
      write: Pin the archive.
      wait: Wait for another run instead of failing.

    Raises:
      QueueError: 2 the archive cannot be pinned, or ``port`` is there already; 3 it is damaged or
        hostile; 4 the tree has edits that a port would leave behind.
    """
    with at_work(project, wait=wait):
        pin = load_pin(project)
        data = _read(archive)
        candidate = _candidate(project, pin, archive.name, without)
        contents = read_contents(candidate, data)
        new_pin = _pin_of(candidate, data, contents)
        patches = parse_queue(project, pin, load_queue(project))
        old = pristine_snapshot(project, pin)
        new, crlf = _with_lf(contents.snapshot)
        report = BumpReport(
            pin=new_pin,
            files=len(new),
            added=len(new.keys() - old.keys()),
            removed=len(old.keys() - new.keys()),
            changed=sum(old[path] != new[path] for path in old.keys() & new.keys()),
            crlf=crlf,
            missing=contents.missing,
            trials=tuple(_try_all(old, new, patches)),
            written=write,
        )
        if port or write:
            _require_usable(project, report)
        if write and not port:
            _require_fit(report, archive.name)
        text = _pin_text(project, new_pin, without) if write else ""
        if write:
            write_atomic(project.cache / new_pin.filename, data)
        if port:
            _make_port(project, pin, new, port.resolve())
        if write:
            write_atomic(project.pin_path, text.encode())
    return report


def _candidate(project: Project, pin: Pin, filename: str, without: Sequence[str]) -> Pin:
    """The pin under which the archive is read; its hashes are still those of the old one."""
    if unknown := sorted(set(without) - pin.layout.keys()):
        raise QueueError(
            ExitCode.USAGE,
            f"not in [layout.paths]: {', '.join(unknown)}",
            at=project.show(project.pin_path),
        )
    return replace(
        pin,
        filename=filename,
        unpacked_limit=_GROWTH * pin.unpacked_limit,
        layout={name: to for name, to in pin.layout.items() if name not in without},
    )


def _read(archive: Path) -> bytes:
    try:
        return archive.read_bytes()
    except OSError as error:
        raise QueueError(
            ExitCode.USAGE, f"cannot read the archive: {error.strerror}", at=str(archive)
        ) from error


def _pin_of(candidate: Pin, data: bytes, contents: Contents) -> Pin:
    fields = BytesHeaderParser().parsebytes(contents.metadata)
    return replace(
        candidate,
        # A source distribution is named with underscores, the package index goes by hyphens.
        package=str(fields.get("Name", "")).replace("_", "-"),
        version=str(fields.get("Version", "")),
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        unpacked_limit=contents.unpacked,
        tree=snapshot_id(contents.snapshot),
    )


def _with_lf(snapshot: Snapshot) -> tuple[Snapshot, int]:
    """Return the snapshot with LF line ends, and how many files had others."""
    converted = {
        path: Entry(entry.mode, entry.data.replace(b"\r\n", b"\n"))
        for path, entry in snapshot.items()
        if b"\r\n" in entry.data and b"\0" not in entry.data
    }
    return snapshot | converted, len(converted)


def _try_all(old: Snapshot, new: Snapshot, patches: Iterable[Patch]) -> Iterable[Trial]:
    snapshot = dict(new)
    behind: dict[str, str] = {}
    """Path to the patch whose change to it is not in ``snapshot``."""
    for patch in patches:
        result = try_patch(snapshot, patch)
        verdict = _VERDICTS.get(result.outcome, Verdict.CONFLICT)
        if verdict.fits:
            changes = result.changes or shifted_changes(snapshot, patch)
            if changes:
                apply_changes(snapshot, changes)
            else:
                verdict = Verdict.CONFLICT  # One file is elsewhere, another is upstream already.
        if verdict is Verdict.CONFLICT:
            verdict = _kind_of_conflict(patch, new)
        lost = [item.path for item in result.files if item.outcome is Outcome.TARGET_MISSING]
        moved = {path: _renamed(path, old, new) for path in lost}
        if lost and all(path in old and path not in new for path in lost):
            verdict = Verdict.RENAMED if all(moved.values()) else Verdict.DELETED
        evidence = tuple(
            _evidence(item, moved.get(item.path), behind.get(item.path))
            for item in result.files
            if item.outcome is not Outcome.CLEAN
        )
        if not verdict.fits and verdict is not Verdict.UPSTREAM:
            behind |= {diff.path: patch.slug for diff in patch.diffs}
        yield Trial(patch.slug, verdict, evidence, removal(patch, new))


def _kind_of_conflict(patch: Patch, new: Snapshot) -> Verdict:
    if any(diff.old_mode is None and diff.path in new for diff in patch.diffs):
        return Verdict.EXISTS
    return Verdict.HOOKS if is_folder(patch.name) else Verdict.CONFLICT


def _evidence(item: FileResult, moved: tuple[str, float] | None, behind: str | None) -> str:
    text = f"{item.path}: {item.outcome.value}, {item.detail}"
    if moved:
        text += f"\n  {moved[0]} has {moved[1]:.0%} of its lines"
    if behind:
        text += f"\n  {behind}, which comes before and did not fit, changes it too"
    return text


def _renamed(path: str, old: Snapshot, new: Snapshot) -> tuple[str, float] | None:
    """Find the new file that is most like one that went, and how much like it."""
    if path not in old:
        return None
    lines = Counter(split_lines(old[path].data))
    best = ("", 0.0)
    for candidate in new.keys() - old.keys():
        if Path(candidate).suffix == Path(path).suffix:
            other = Counter(split_lines(new[candidate].data))
            share = (lines & other).total() / max(lines.total(), other.total(), 1)
            best = max(best, (candidate, share), key=lambda item: item[1])
    return best if best[1] >= _SIMILAR else None


def _require_usable(project: Project, report: BumpReport) -> None:
    reason = hint = ""
    named = f"{report.pin.package}-{report.pin.version}.tar.gz"
    if not report.pin.package:
        reason = "it has no PKG-INFO, which says what the package index calls it"
        hint = "give the source distribution as the index has it"
    elif _folded(named) != _folded(report.pin.filename):
        reason = f"its PKG-INFO is of {named}"
        hint = "the package index knows an archive by this name only"
    elif report.missing:
        reason = f"the archive lacks {', '.join(report.missing)}"
        hint = " ".join(f"--without {name}" for name in report.missing)
        hint += "  leaves that out of [layout.paths]"
    elif report.crlf:
        reason = f"{report.crlf} files of the archive have CRLF line ends"
        hint = "patches are exact and have LF; find an archive of the same snapshot that has, too"
    if reason:
        at = project.show(project.pin_path)
        raise QueueError(ExitCode.USAGE, f"cannot be pinned: {reason}", at=at, hint=hint)


def _require_fit(report: BumpReport, name: str) -> None:
    if not report.fits:
        raise QueueError(
            ExitCode.USAGE,
            "patches do not fit; with this archive pinned nothing could be built",
            at=name,
            hint="give --port FOLDER as well, to carry them over in",
        )


def _folded(name: str) -> str:
    """Return a file name as the package index compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _make_port(project: Project, pin: Pin, new: Snapshot, port: Path) -> None:
    """Clone the tree, with both snapshots as branches, so that ``git rebase`` does the work."""
    require_git()
    tree = BuiltTree(project, pin)
    found = status(project)
    if found.state is not State.UP_TO_DATE:
        raise QueueError(
            ExitCode.EDITS if found.edits else ExitCode.USAGE,
            f"the tree is {found.state.value}; its patches cannot be carried over",
            at="\n".join([project.show(project.target), *found.edits.lines()]),
            hint="export or apply first, so that the tree is what the patches say",
        )
    recover(port)
    if port.exists():
        if _is_port(port, snapshot_id(new)):
            return
        hint = "delete it, or name a folder that is not there yet"
        raise QueueError(ExitCode.USAGE, "there is something already", at=str(port), hint=hint)
    found_head = tree.git.lines("rev-parse", "HEAD")[0]
    with staging_beside(port) as staging:
        shutil.copytree(tree.git.dir, staging / ".git", dirs_exist_ok=True)
        git = Git(staging)
        # The clone is a place to work in: nothing is hidden there, and nothing vouched for.
        shutil.rmtree(git.dir / "info", ignore_errors=True)
        for name in ("index", "patchqueue.json"):
            (git.dir / name).unlink(missing_ok=True)
        # HEAD is what was exported; a developer's branch need not be main.
        git("update-ref", "refs/heads/main", found_head)
        git("symbolic-ref", "HEAD", "refs/heads/main")
        first = git.lines("rev-list", "--max-parents=0", "main")[0]
        git("branch", OLD, first)
        git("fast-import", "--quiet", "--done", stdin=import_stream(new, [], branch=NEW))
        git("reset", "--quiet", "--hard", "main")
        staging.rename(port)


def _is_port(port: Path, tree: str) -> bool:
    """Tell whether an interrupted run made this very repository, and nobody used it since."""
    git = Git(port)
    try:
        unused = git.lines("rev-parse", f"{NEW}^{{tree}}") == [tree]
        return unused and not git.lines("status", "--porcelain", "--untracked-files=all")
    except (QueueError, OSError):
        return False


def _pin_text(project: Project, pin: Pin, without: Sequence[str]) -> str:
    """Return the pin's file with other values, and the comments it had."""
    text = project.pin_path.read_text("utf-8")
    for name in without:
        text = re.sub(rf"^[ \t]*\"?{re.escape(name)}\"?\s*=.*\n", "", text, flags=re.MULTILINE)
    for key in ("package", "version", "filename", "sha256", "size", "unpacked_limit", "tree"):
        value = getattr(pin, key)
        shown = str(value) if isinstance(value, int) else f'"{value}"'
        pattern = rf'^([ \t]*{key}\s*=\s*)("[^"\n]*"|\d+)'
        text, count = re.subn(pattern, lambda found: found[1] + shown, text, flags=re.MULTILINE)  # noqa: B023
        if count != 1:
            raise QueueError(
                ExitCode.USAGE,
                f"cannot find the one line that sets {key}",
                at=project.show(project.pin_path),
                hint=f"write it as: {key} = {shown}",
            )
    if parse_pin(project, text) != pin:
        raise QueueError(
            ExitCode.USAGE,
            "the pin does not read as it was written",
            at=project.show(project.pin_path),
            hint="is a value there written in an unusual way?",
        )
    return text
