"""The last landed commit, and the files of this repository that it did not have so."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from odapi.console.errors import UserError

LANDED = "origin/main"
NOTED = Path(".ci/landed")
"""Holds the id of a commit that landed, for checkouts without a remote."""
VARIABLE = "ODAPI_CHANGED_SINCE"


@dataclass(frozen=True)
class Base:
    """A commit to compare with.

    Attributes:
      commit: its id, in full.
      why: how it was found, for people.
    """

    commit: str
    why: str

    def __str__(self) -> str:
        return f"{self.commit[:8]} ({self.why})"


def find(root: Path, named: str | None = None) -> Base | None:
    """The commit that landed last, as well as this checkout can tell.

    That is the one named, else where `HEAD` left `origin/main`, else the one that `.ci/landed`
    names. An older one than the last does no harm: more counts as changed.

    Args:
      root: of the checkout.
      named: a revision, or nothing.

    Returns:
      None where there is nothing to compare with: no git, no note, a shallow clone.

    Raises:
      UserError: there is no such revision.
    """
    if named:
        commit = _commit(root, named)
        if not commit:
            hint = f"name a commit that this clone has, in --changed-since or {VARIABLE}"
            raise UserError("no such revision", named, hint)
        return Base(commit, named)
    landed = _git(root, "merge-base", "HEAD", LANDED)
    if landed and landed.strip() != _commit(root, "HEAD"):
        return Base(landed.strip(), f"where HEAD left {LANDED}")
    note = root / NOTED
    noted = _commit(root, note.read_text(encoding="utf-8").strip()) if note.is_file() else None
    return Base(noted, str(NOTED)) if noted else None


def changed(root: Path, base: Base) -> set[str]:
    """Files that differ from the base, edited and new ones that git does not ignore included."""
    differ = _git(root, "diff", "--name-only", "--no-renames", "-z", base.commit, "--")
    new = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return {path for listed in (differ, new) for path in (listed or "").split("\0") if path}


def text_at(root: Path, base: Base, path: str) -> str | None:
    """A file as it was; None if there was none."""
    return _git(root, "show", f"{base.commit}:{path}")


def export(root: Path, base: Base, paths: list[str], into: Path) -> None:
    """Writes files and folders as they were below `into`.

    Raises:
      OSError: the base does not have them all.
    """
    made = subprocess.run(
        ["git", "archive", "--format=tar", base.commit, "--", *paths],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        raise OSError(made.stderr.decode(errors="replace").strip())
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(into, filter="data")


def _commit(root: Path, revision: str) -> str:
    found = _git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return (found or "").strip()


def _git(root: Path, *arguments: str) -> str | None:
    try:
        run = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return None if run.returncode else run.stdout
