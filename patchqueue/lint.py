"""Static checks of the queue: they need neither the archive nor a built tree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from patchqueue import removal
from patchqueue.patch import (
    FIRST_LINE,
    Patch,
    PatchSyntaxError,
    body_text,
    parse_patch,
    trailers,
)
from patchqueue.project import Pin, Project, load_lock
from patchqueue.queue import Queue, inputs_id, read_series, unlisted
from patchqueue.snapshot import unsafe_path

NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*/[a-z0-9]+(?:-[a-z0-9]+)*\.patch")
"""``area/slug.patch``."""

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
    """Check the series, every patch in it, and that the lock is theirs."""
    folder = project.show(project.patches)
    series = read_series(project.patches)
    problems: list[Problem] = []
    where = f"{folder}/series"
    counts = Counter(series.names)
    files: dict[str, bytes] = {}
    for name, _, line in series.entries:
        path = project.patches / name
        if reason := unsafe_path(name):
            problems.append(Problem(where, line, "unsafe-path", f"{name}: {reason}", ""))
        elif name in files:
            text = f"{name} is listed {counts[name]} times"
            problems.append(Problem(where, line, "series-twice", text, "keep one of the lines"))
        elif not path.is_file():
            text = f"{name} does not exist"
            hint = "restore it or take the line out"
            problems.append(Problem(where, line, "series-missing", text, hint))
        else:
            files[name] = path.read_bytes()
    for name in unlisted(project.patches):
        hint = "add its line to the series or delete it"
        text = "the file is not in the series"
        problems.append(Problem(f"{folder}/{name}", 0, "not-in-series", text, hint))
    for name, data in files.items():
        found = lint_patch(pin, name, data)
        problems += [replace(problem, path=f"{folder}/{name}") for problem in found]
    lock = load_lock(project)
    inputs = inputs_id(pin, Queue(tuple(files.items())))
    if not problems and (lock is None or lock.inputs != inputs):
        text = "the lock was written for other patches or another pin"
        hint = "python apply_patches.py apply --relock"
        problems.append(Problem(project.show(project.lock_path), 0, "lock", text, hint))
    return problems


def lint_patch(pin: Pin, name: str, data: bytes) -> list[Problem]:
    """Check one patch file. ``Problem.path`` is its name."""
    problems: list[Problem] = []

    def add(rule: str, message: str, hint: str = "", line: int = 0) -> None:
        problems.append(Problem(name, line, rule, message, hint))

    if not NAME.fullmatch(name):
        add("name", "the name is not area/slug.patch in lower case with hyphens", "rename it")
    try:
        patch = parse_patch(name, data)
    except PatchSyntaxError as error:
        add(error.damage.value, str(error), "", error.line)
        return problems
    if not patch.header.startswith(FIRST_LINE.encode() + b"\n"):
        add("first-line", f"the first line is not '{FIRST_LINE}'", "it must not change", 1)
    if patch.signed:
        add("signature", "ends in git's version, which changes with git", "delete from '-- ' on")
    for diff in patch.diffs:
        if pin.is_generated(diff.path):
            text = f"changes {diff.path}, which a later build step writes"
            add("generated", text, "take it out of the patch", diff.line)
    _lint_message(patch, add)
    return problems


def _lint_message(patch: Patch, add: Callable[..., None]) -> None:
    if not body_text(patch.message):
        add("body", "does not say why it exists", "write a body under the subject")
    found = trailers(patch.message)
    if b"\nPatch: " in patch.header:
        add("patch-trailer", "has a 'Patch:' line", "delete it: the file's name says it")
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
