"""Applies patches exactly, or says precisely why it will not.

A hunk counts only at the line it states, in a file whose blob id is the one the patch was made
from, and only if the result has the blob id that the patch promises. ``git apply`` is not used:
it accepts offsets, and inside a folder of another repository it does nothing and reports success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from patchqueue.patch import FileDiff, Hunk, Patch, split_lines
from patchqueue.snapshot import Entry, Snapshot


class Outcome(Enum):
    """How a patch meets a tree. Only ``CLEAN`` is applied. Listed from good to bad."""

    CLEAN = "clean"
    ALREADY_APPLIED = "already applied"
    PARTLY_APPLIED = "partly applied"
    OTHER_FILE = "hunks fit, file differs elsewhere"
    OFFSET = "fits with an offset"
    TARGET_MISSING = "target missing"
    TARGET_EXISTS = "target exists"
    CONFLICT = "conflict"
    WRONG_RESULT = "wrong result"

    @property
    def hint(self) -> str:
        """What the user does next."""
        return _HINTS[self]


_REDO = "redo the change in the tree, commit it there, then: python apply_patches.py export"
_HINTS = {
    Outcome.CLEAN: "",
    Outcome.ALREADY_APPLIED: "take it out of patches/series, or look for its copy there",
    Outcome.PARTLY_APPLIED: f"drop the part that is there already: {_REDO}",
    Outcome.OTHER_FILE: f"read the hunks against the file as it now is; if they are right, {_REDO}",
    Outcome.OFFSET: f"check that the lines it would change are the right ones, then {_REDO}",
    Outcome.TARGET_MISSING: f"find where the file went, then {_REDO}",
    Outcome.TARGET_EXISTS: f"compare the file that exists with the patch's, then {_REDO}",
    Outcome.CONFLICT: _REDO,
    Outcome.WRONG_RESULT: "the patch was edited by hand without its index line; " + _REDO,
}
_SEVERITY = list(Outcome)


@dataclass(frozen=True)
class FileResult:
    """What became of one file of a patch.

    ``line`` is a line of the patch file, or of ``source`` in an entry's folder; 0 is all of it.
    """

    path: str
    outcome: Outcome
    detail: str
    line: int
    source: str = ""


@dataclass(frozen=True)
class PatchResult:
    """What became of a patch, and the files it leaves if it is clean (``None``: deleted)."""

    outcome: Outcome
    files: tuple[FileResult, ...]
    changes: dict[str, Entry | None]

    @property
    def worst(self) -> FileResult:
        """The file that decided the outcome."""
        return max(self.files, key=lambda result: _rank(result.outcome))


def try_patch(snapshot: Snapshot, patch: Patch) -> PatchResult:
    """Compare a patch with a snapshot, which stays as it is."""
    results: list[FileResult] = []
    changes: dict[str, Entry | None] = {}
    for diff in patch.diffs:
        outcome, detail, line, entry = _try_file(snapshot.get(diff.path), diff)
        results.append(FileResult(diff.path, outcome, detail, line, diff.source))
        if outcome is Outcome.CLEAN:
            changes[diff.path] = entry
    outcomes = {result.outcome for result in results}
    outcome = max(outcomes, key=_rank)
    if outcome is Outcome.ALREADY_APPLIED and len(outcomes) > 1:
        outcome = Outcome.PARTLY_APPLIED
    return PatchResult(outcome, tuple(results), changes if outcome is Outcome.CLEAN else {})


def shifted_changes(snapshot: Snapshot, patch: Patch) -> dict[str, Entry | None] | None:
    """Return what a patch does to files that it was not made from, or ``None`` if it cannot.

    Only for looking ahead: what comes of it is for a person to read, never for a build.
    """
    changes: dict[str, Entry | None] = {}
    for diff in patch.diffs:
        entry = snapshot.get(diff.path)
        if diff.old_mode is None or entry is None:
            outcome, _, _, changed = _try_file(entry, diff)
            if outcome is not Outcome.CLEAN:
                return None
            changes[diff.path] = changed
            continue
        lines = split_lines(entry.data)
        places = _nearest_places(lines, diff.hunks)
        if None in places or _overlap(diff.hunks, places):
            return None
        data = _spliced(lines, diff.hunks, places)
        if data and diff.new_mode is None:
            return None
        changes[diff.path] = Entry(diff.new_mode, data) if diff.new_mode else None
    return changes


def apply_changes(snapshot: Snapshot, changes: dict[str, Entry | None]) -> None:
    """Carry out the changes of a clean patch."""
    for path, entry in changes.items():
        if entry is None:
            del snapshot[path]
        else:
            snapshot[path] = entry


def _rank(outcome: Outcome) -> int:
    return _SEVERITY.index(outcome)


_Verdict = tuple[Outcome, str, int, Entry | None]


def _try_file(entry: Entry | None, diff: FileDiff) -> _Verdict:
    if diff.old_mode is None:
        return _try_creation(entry, diff)
    if entry is None:
        if diff.new_mode is None:
            return Outcome.ALREADY_APPLIED, "the file is gone already", diff.line, None
        return Outcome.TARGET_MISSING, "there is no such file in the tree", diff.line, None
    if diff.old_blob in ("", entry.blob) and entry.mode == diff.old_mode:
        return _apply_hunks(entry, diff)
    return _explain(entry, diff)


def _try_creation(entry: Entry | None, diff: FileDiff) -> _Verdict:
    if entry is not None:
        if (entry.blob, entry.mode) == (diff.new_blob, diff.new_mode):
            return Outcome.ALREADY_APPLIED, "the new file is there already", diff.line, None
        return Outcome.TARGET_EXISTS, "the new file exists with other content", diff.line, None
    return _apply_hunks(Entry(diff.new_mode or "", b""), diff)


def _apply_hunks(entry: Entry, diff: FileDiff) -> _Verdict:
    lines = split_lines(entry.data)
    if not all(_fits(lines, hunk.old, hunk.position) for hunk in diff.hunks):
        return _explain(entry, diff)
    data = _spliced(lines, diff.hunks, [hunk.position for hunk in diff.hunks])
    if diff.new_mode is None:
        if data:
            return Outcome.WRONG_RESULT, "deletes the file but not all its lines", diff.line, None
        return Outcome.CLEAN, "", diff.line, None
    after = Entry(diff.new_mode, data)
    if diff.new_blob and after.blob != diff.new_blob:
        detail = f"the result is blob {after.blob}, the index line promises {diff.new_blob}"
        return Outcome.WRONG_RESULT, detail, diff.line, None
    return Outcome.CLEAN, "", diff.line, after


def _spliced(lines: list[bytes], hunks: Sequence[Hunk], places: Sequence[int]) -> bytes:
    """Return a file with each hunk's new lines in place of its old ones."""
    result: list[bytes] = []
    done = 0
    for hunk, place in zip(hunks, places, strict=True):
        result += [*lines[done:place], *hunk.new]
        done = place + len(hunk.old)
    return b"".join(result + lines[done:])


def _overlap(hunks: Sequence[Hunk], places: Sequence[int]) -> bool:
    ends = [place + len(hunk.old) for hunk, place in zip(hunks, places, strict=True)]
    return any(end > place for end, place in zip(ends, places[1:], strict=False))


def _explain(entry: Entry, diff: FileDiff) -> _Verdict:
    """Say what stands between a patch and a file that is not the one it was made from."""
    if entry.blob == (diff.new_blob or entry.blob) and entry.mode == diff.new_mode:
        return Outcome.ALREADY_APPLIED, "the file is as the patch would leave it", diff.line, None
    lines = split_lines(entry.data)
    places = _nearest_places(lines, diff.hunks)
    shifts = [
        (number, place - hunk.position, hunk)
        for number, (hunk, place) in enumerate(zip(diff.hunks, places, strict=True), 1)
        if place is not None and place != hunk.position
    ]
    if None not in places and not shifts:
        detail = f"the file is blob {entry.blob} (mode {entry.mode}), " + (
            f"the patch was made from {diff.old_blob or 'another mode'} (mode {diff.old_mode})"
        )
        return Outcome.OTHER_FILE, detail, diff.line, None
    if None not in places:
        number, offset, hunk = shifts[0]
        detail = f"hunk {number} fits {offset:+d} lines from line {hunk.old_start} where it says"
        return Outcome.OFFSET, detail, hunk.line, None
    if diff.hunks and all(hunk.new and _places(lines, hunk, hunk.new) for hunk in diff.hunks):
        return Outcome.ALREADY_APPLIED, "the lines it adds are there already", diff.line, None
    number = places.index(None) + 1
    hunk = diff.hunks[number - 1]
    return Outcome.CONFLICT, _first_difference(lines, hunk, number), hunk.line, None


def _nearest_places(lines: list[bytes], hunks: Sequence[Hunk]) -> list[int | None]:
    """Return where each hunk fits, nearest to where the ones before it make it expected."""
    nearest: list[int | None] = []
    drift = 0
    for hunk in hunks:
        places = _places(lines, hunk, hunk.old)
        # Where the patch says comes first, however far the hunks before it have moved.
        expected = hunk.position if hunk.position in places else hunk.position + drift
        place = min(places, key=lambda place: abs(place - expected), default=None)
        drift = place - hunk.position if place is not None else drift
        nearest.append(place)
    return nearest


def _first_difference(lines: list[bytes], hunk: Hunk, number: int) -> str:
    for index, wanted in enumerate(hunk.old, hunk.position):
        found = lines[index] if index < len(lines) else None
        if found != wanted:
            return (
                f"hunk {number}, line {index + 1} of the file\n"
                f"  expected {_shown(wanted)}\n  found    {_shown(found)}"
            )
    return f"hunk {number} does not fit"


def _shown(line: bytes | None) -> str:
    return "the end of the file" if line is None else repr(line.decode(errors="replace"))


def _fits(lines: Sequence[bytes], wanted: Sequence[bytes], at: int) -> bool:
    return at + len(wanted) <= len(lines) and tuple(lines[at : at + len(wanted)]) == tuple(wanted)


def _places(lines: Sequence[bytes], hunk: Hunk, wanted: Sequence[bytes]) -> list[int]:
    """Return where one side of a hunk fits. As for git, a hunk at an end of the file stays there:

    what was put in front of the first line, or after the last, belongs nowhere else.
    """
    last = len(lines) - len(wanted)
    first = last if hunk.trailing == 0 else 0
    if hunk.old_start <= 1:
        last = min(last, 0)
    return [at for at in range(max(first, 0), last + 1) if _fits(lines, wanted, at)]
