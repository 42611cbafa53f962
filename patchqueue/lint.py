"""Static checks of the queue: they need neither the archive nor a built tree."""

from __future__ import annotations

import contextlib
import functools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from patchqueue import removal
from patchqueue.entry import (
    MESSAGE,
    NAME,
    Content,
    is_folder,
    parse_entry,
    read_entry,
    stem,
    unsafe_name,
)
from patchqueue.patch import FIRST_LINE, Patch, PatchSyntaxError, body_text, trailers
from patchqueue.project import Pin, Project, load_lock
from patchqueue.queue import Queue, inputs_id, read_series, touched_additions, unlisted

_STATUS = re.compile(
    r"Pending|Submitted https?://\S+|Backport [0-9a-f]{7,40}|Inappropriate \[[^\[\]]*\S[^\[\]]*\]"
)
_STATUS_FORMS = "Pending | Submitted URL | Backport COMMIT | Inappropriate [reason]"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where, and what to do. ``line`` is 0 for a whole file."""

    path: str
    line: int
    rule: str
    message: str
    hint: str

    @property
    def text(self) -> str:
        """One line, as compilers print them."""
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.message} [{self.rule}]" + (f"; {self.hint}" if self.hint else "")


def lint(project: Project, pin: Pin) -> list[Problem]:
    """Check the series, every entry of it, and that the lock is theirs."""
    folder = project.show(project.patches)
    problems, contents = _lint_series(project)
    for name in unlisted(project.patches):
        hint = "add its line to the series or delete it"
        text = "the entry is not in the series"
        problems.append(Problem(f"{folder}/{name}", 0, "not-in-series", text, hint))
    patches: list[Patch] = []
    for name, content in contents.items():
        found = lint_entry(pin, name, content)
        problems += [replace(problem, path=f"{folder}/{problem.path}") for problem in found]
        with contextlib.suppress(PatchSyntaxError):  # It is among the problems.
            patches.append(parse_entry(name, content))
    for patch, diff, owner in touched_additions(patches):
        text = f"changes {diff.path}, which {owner.name} adds"
        hint = f"make the change in {folder}/{owner.name}"
        where = f"{folder}/{patch.name}{diff.source}"
        problems.append(Problem(where, diff.line, "added-elsewhere", text, hint))
    lock = load_lock(project)
    inputs = inputs_id(pin, Queue(tuple(contents.items())))
    if not problems and (lock is None or lock.inputs != inputs):
        text = "the lock was written for other patches or another pin"
        hint = "python apply_patches.py apply --relock"
        problems.append(Problem(project.show(project.lock_path), 0, "lock", text, hint))
    return problems


def _lint_series(project: Project) -> tuple[list[Problem], dict[str, Content]]:
    """Check the lines of the series, and read what they name."""
    folder = project.show(project.patches)
    where = f"{folder}/series"
    series = read_series(project.patches)
    problems: list[Problem] = []
    contents: dict[str, Content] = {}
    counts = Counter(stem(name) for name in series.names)
    seen: set[str] = set()
    for name, _, line in series.entries:
        path = project.patches / name
        if reason := unsafe_name(name):
            problems.append(Problem(where, line, "unsafe-path", f"{name}: {reason}", ""))
        elif stem(name) in seen:
            text = f"{stem(name)} is listed {counts[stem(name)]} times"
            problems.append(Problem(where, line, "series-twice", text, "keep one of the lines"))
        elif not (path.is_dir() if is_folder(name) else path.is_file()):
            text = f"{name} does not exist"
            hint = "restore it or take the line out"
            if path.is_dir():
                text, hint = f"{name} is a folder", f"write it as {name}/"
            problems.append(Problem(where, line, "series-missing", text, hint))
        else:
            contents[name], strays = read_entry(project.patches, name)
            problems += [
                Problem(f"{folder}/{name}{stray.source}", 0, stray.damage.value, str(stray), "")
                for stray in strays
            ]
        seen.add(stem(name))
    return problems, contents


def lint_entry(pin: Pin, name: str, content: Content) -> list[Problem]:
    """Check one entry. ``Problem.path`` is its name, or a file in its folder."""
    problems: list[Problem] = []

    def add(rule: str, message: str, hint: str = "", line: int = 0, source: str = "") -> None:
        problems.append(Problem(name + source, line, rule, message, hint))

    if not NAME.fullmatch(name):
        text = "the name is not area/slug.patch or area/slug/ in lower case with hyphens"
        add("name", text, "rename it")
    try:
        patch = parse_entry(name, content)
    except PatchSyntaxError as error:
        add(error.damage.value, str(error), "", error.line, error.source)
        return problems
    if not is_folder(name) and not patch.header.startswith(FIRST_LINE.encode() + b"\n"):
        add("first-line", f"the first line is not '{FIRST_LINE}'", "it must not change", 1)
    if patch.signed:
        add("signature", "ends in git's version, which changes with git", "delete from '-- ' on")
    for diff in patch.diffs:
        if pin.is_generated(diff.path):
            text = f"changes {diff.path}, which a later build step writes"
            add("generated", text, "take it out of the patch", diff.line, diff.source)
    source = MESSAGE if is_folder(name) else ""
    _lint_message(patch, functools.partial(add, source=source))
    return problems


def _lint_message(patch: Patch, add: Callable[..., None]) -> None:
    if not body_text(patch.message):
        add("body", "does not say why it exists", "write a body under the subject")
    found = trailers(patch.message)
    if b"\nPatch: " in patch.header:
        add("patch-trailer", "has a 'Patch:' line", "delete it: the entry's name says it")
    statuses = found.get("Upstream-Status", [])
    if not statuses:
        add("upstream-status", "has no Upstream-Status trailer", f"one of: {_STATUS_FORMS}")
    for status in statuses:
        if not _STATUS.fullmatch(status):
            text = f"malformed Upstream-Status: {status!r}"
            add("upstream-status-malformed", text, f"one of: {_STATUS_FORMS}")
    if len(statuses) > 1:
        add("upstream-status-malformed", "has several Upstream-Status trailers", "keep one")
    if not any(found.get("Remove-When", [])):
        text = "has no Remove-When trailer"
        add("remove-when", text, "say under which condition the patch can go")
    for value in found.get(removal.TRAILER, []):
        try:
            removal.RemoveTest.parse(value)
        except ValueError as error:
            text = f"malformed {removal.TRAILER} {value!r}: {error}"
            add("remove-test", text, f"write it as {removal.FORMS}")
