"""The built tree: a git repository with one commit per patch, and a stamp that vouches for it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from patchqueue.errors import ExitCode, QueueError
from patchqueue.files import staging_beside, swap_into_place, write_atomic
from patchqueue.git import Git, require_git
from patchqueue.patch import ENGINE, with_name
from patchqueue.project import Pin, Project
from patchqueue.queue import Step
from patchqueue.snapshot import EXECUTABLE, FILE, Entry, Snapshot, blob_id, snapshot_id, tree_id

COMMITTER = f"{ENGINE[0]} <{ENGINE[1]}>"
DATE = "946684800 +0000"
"""Every commit's date. Commit ids then depend on content alone."""

_STAMP_FORMAT = 1
_UNFINISHED = ("rebase-merge", "rebase-apply", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD")


@dataclass(frozen=True)
class Stamp:
    """Written last into a finished tree. A tree without one is not ours."""

    pin: str
    patches: dict[str, str]
    """Patch path to sha256, in order of application."""
    inputs: str
    tree: str
    head: str
    applied: bool
    """False after ``unapply``."""
    format: int = _STAMP_FORMAT


@dataclass(frozen=True)
class Edits:
    """What a rebuild of the tree would lose."""

    files: tuple[str, ...] = ()
    """``XY path`` as in ``git status --short``."""
    commits: tuple[str, ...] = ()
    """``abbreviated-id subject`` of commits that are in no patch."""
    moved: str = ""
    """How HEAD differs from the commit that was built, if it does."""

    def __bool__(self) -> bool:
        return bool(self.files or self.commits or self.moved)

    def lines(self) -> list[str]:
        """Return one line for each edit."""
        rows = [f"edited  {name}" for name in self.files]
        rows += [f"commit  {name}" for name in self.commits]
        return rows + ([self.moved] if self.moved else [])


class BuiltTree:
    """The tree at the project's target, if there is one."""

    def __init__(self, project: Project, pin: Pin) -> None:
        self._project = project
        self._pin = pin
        self.path = project.target
        self.git = Git(self.path)

    @property
    def exists(self) -> bool:
        """Whether there is anything at the target; an empty folder (a mount point) is nothing."""
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            return True
        return self.path.is_dir() and any(self.path.iterdir())

    def stamp(self) -> Stamp | None:
        """Return the stamp, or ``None`` if this engine did not finish this tree."""
        try:
            return Stamp(**json.loads(_stamp_path(self.path).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write_stamp(self, stamp: Stamp) -> None:
        """Replace the stamp of a tree whose commits were exported."""
        write_atomic(_stamp_path(self.path), _stamp_text(stamp))

    def edits(self, stamp: Stamp) -> Edits:
        """Return what was changed since the tree was built: files, commits, stashes, HEAD."""
        head, files = working_state(self.git, self._pin)
        # --all takes in every branch and the stash, not only what is checked out.
        commits = self.git.lines("log", "--all", "HEAD", "--format=%h %s", "--not", stamp.head)
        moved = ""
        if head != stamp.head and not commits:
            moved = f"HEAD is at {head[:12]}, the tree was built at {stamp.head[:12]}"
        return Edits(tuple(files), tuple(commits), moved)

    def save_edits(self) -> Path:
        """Save uncommitted edits as a patch and all commits as a bundle; return their folder."""
        folder = self.saved_folder()
        _, files = working_state(self.git, self._pin)
        if files:
            (folder / "edits.patch").write_bytes(self._working_diff())
        self.git("bundle", "create", "--quiet", str(folder / "commits.bundle"), "HEAD", "--all")
        return folder

    def saved_folder(self) -> Path:
        """Make a folder for what would be lost, named after the time."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        folder = self._project.saved / now
        folder.mkdir(parents=True)
        return folder

    def _working_diff(self) -> bytes:
        with tempfile.TemporaryDirectory(prefix="patchqueue-") as scratch:
            index = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
            self.git("read-tree", "HEAD", environment=index)
            self.git("add", "--all", environment=index)
            outside = [f":(exclude,glob){glob}" for glob in self._pin.generated]
            return self.git(
                "diff", "--cached", "--binary", "--full-index", "--no-renames", "--no-ext-diff",
                "HEAD", "--", ".", *outside, environment=index,
            )  # fmt: skip

    def mismatches(self, expected_tree: str) -> list[str]:
        """Hash every file on disk and return how the tree differs from a tree id.

        Files that later build steps write are left out on both sides.
        """
        committed = committed_files(self.git)
        found = {p: f for p, f in committed.items() if self._pin.is_generated(p)}
        found |= _hash_folder(self.path, self._pin)
        if tree_id(found) == expected_tree:
            return []
        rows = [f"missing   {path}" for path in sorted(committed.keys() - found.keys())]
        rows += [f"extra     {path}" for path in sorted(found.keys() - committed.keys())]
        common = sorted(committed.keys() & found.keys())
        rows += [f"different {path}" for path in common if committed[path] != found[path]]
        if tree_id(committed) != expected_tree:
            rows.append(f"HEAD is tree {tree_id(committed)}, expected {expected_tree}")
        return rows


def working_state(git: Git, pin: Pin) -> tuple[str, list[str]]:
    """Return the id of HEAD and the changed and untracked files, generated ones left out.

    Raises:
      QueueError: exit code 1 if the repository is damaged.
    """
    options = ("--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames")
    output = git("status", *options)
    head, files = "", []
    for record in output.decode(errors="surrogateescape").split("\0"):
        if record.startswith("# branch.oid "):
            head = record.split(" ", 2)[2]
        elif record.startswith("1 "):
            _, state, *_, path = record.split(" ", 8)
            files.append((path, state.replace(".", " ")))
        elif record.startswith("u "):
            files.append((record.split(" ", 10)[10], "UU"))
        elif record.startswith("? "):
            files.append((record[2:], "??"))
    return head, [f"{state} {path}" for path, state in files if not pin.is_generated(path)]


def unfinished(git: Git) -> str | None:
    """Name the rebase, merge or pick that is under way in a repository, if any."""
    return next((name for name in _UNFINISHED if (git.dir / name).exists()), None)


def committed_files(git: Git, commit: str = "HEAD") -> dict[str, tuple[str, str]]:
    """Return ``path -> (mode, blob id)`` of a commit."""
    files = {}
    for record in git("ls-tree", "-r", "-z", "--full-tree", commit).decode().split("\0")[:-1]:
        info, path = record.split("\t", 1)
        mode, _, blob = info.split(" ")
        files[path] = (mode, blob)
    return files


def build_tree(
    project: Project,
    pin: Pin,
    pristine: Snapshot,
    steps: Sequence[Step],
    stamp_fields: dict,
    keep: Path | None = None,
) -> Stamp:
    """Write the tree beside the target, check it, stamp it, and swap it into place.

    Args:
      keep: A folder into which the old tree is moved, instead of being deleted.

    Raises:
      QueueError: if git fails or makes other trees than were computed.
    """
    require_git()
    with staging_beside(project.target) as staging:
        git = Git(staging)
        git("init", "--quiet", "--template=", "--object-format=sha1", "--initial-branch=main")
        for key, value in (("core.autocrlf", "false"), ("core.fileMode", "true"), ("gc.auto", "0")):
            git("config", key, value)
        git("fast-import", "--quiet", "--done", stdin=import_stream(pristine, steps))
        head = _check_commits(git, pin, steps)
        git("reset", "--quiet", "--hard")
        _hide_generated(git, pin)
        tree = steps[-1].tree if steps else pin.tree
        stamp = Stamp(tree=tree, head=head, **stamp_fields)
        _stamp_path(staging).write_bytes(_stamp_text(stamp))
        swap_into_place(staging, project.target, keep and keep / project.target.name)
    return stamp


def _stamp_path(tree: Path) -> Path:
    return tree / ".git" / "patchqueue.json"


def _stamp_text(stamp: Stamp) -> bytes:
    return (json.dumps(asdict(stamp), indent=1) + "\n").encode()


def import_stream(pristine: Snapshot, steps: Sequence[Step], branch: str = "main") -> bytes:
    """Return all commits as one ``git fast-import`` stream: one process for the whole queue."""
    parts: list[bytes] = []

    def commit(author: str, message: str, changes: dict[str, Entry | None]) -> None:
        text = message.encode()
        parts.append(f"commit refs/heads/{branch}\nauthor {author} {DATE}\n".encode())
        parts.append(f"committer {COMMITTER} {DATE}\ndata {len(text)}\n".encode() + text + b"\n")
        for path, entry in changes.items():
            if entry is None:
                parts.append(f"D {path}\n".encode())
            else:
                parts.append(f"M {entry.mode} inline {path}\ndata {len(entry.data)}\n".encode())
                parts.extend((entry.data, b"\n"))

    commit(COMMITTER, "Pristine snapshot\n", dict(pristine))
    for step in steps:
        patch = step.patch
        author = f"{patch.author} <{patch.address}>"
        commit(author, with_name(patch.message, patch.slug), step.changes)
    parts.append(b"done\n")
    return b"".join(parts)


def _check_commits(git: Git, pin: Pin, steps: Sequence[Step]) -> str:
    """Compare the trees that git made with those computed, and return the last commit's id."""
    rows = [row.split() for row in git.lines("log", "--reverse", "--format=%T %H", "main")]
    expected = [pin.tree, *(step.tree for step in steps)]
    if [row[0] for row in rows] != expected:
        raise QueueError(
            ExitCode.HASH_MISMATCH,
            "git made other trees than were computed",
            at=str(git.tree),
            hint="is the disk damaged? nothing was replaced; run apply again",
        )
    return rows[-1][1]


def _hide_generated(git: Git, pin: Pin) -> None:
    """Keep files that later build steps write out of ``git status`` and ``git commit -a``."""
    tracked = git("ls-files", "-z").decode().split("\0")[:-1]
    hidden = [path for path in tracked if pin.is_generated(path)]
    if hidden:
        paths = "".join(path + "\0" for path in hidden).encode()
        git("update-index", "--skip-worktree", "-z", "--stdin", stdin=paths)
    rows = [glob if glob.startswith("**/") else "/" + glob for glob in pin.generated]
    folder = git.dir / "info"
    folder.mkdir(exist_ok=True)
    (folder / "exclude").write_text("".join(row + "\n" for row in rows))


def _hash_folder(root: Path, pin: Pin) -> dict[str, tuple[str, str]]:
    files: dict[str, tuple[str, str]] = {}
    for folder, folders, names in os.walk(root):
        if Path(folder) == root:
            folders.remove(".git")
        for name in [*names, *(item for item in folders if Path(folder, item).is_symlink())]:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if pin.is_generated(relative):
                continue
            if path.is_symlink():
                files[relative] = ("120000", blob_id(os.fsencode(path.readlink())))
            else:
                mode = EXECUTABLE if path.stat().st_mode & 0o100 else FILE
                files[relative] = (mode, blob_id(path.read_bytes()))
    return files


def load_snapshot(git: Git, commit: str) -> Snapshot:
    """Read all files of a commit into memory.

    Raises:
      QueueError: exit code 3 if git's objects are damaged.
    """
    files = committed_files(git, commit)
    request = "".join(blob + "\n" for _, blob in files.values()).encode()
    output = git("cat-file", "--batch", stdin=request)
    snapshot: Snapshot = {}
    at = 0
    for path, (mode, _) in files.items():
        end = output.index(b"\n", at)
        size = int(output[at:end].split()[2])
        snapshot[path] = Entry(mode, output[end + 1 : end + 1 + size])
        at = end + size + 2
    if snapshot_id(snapshot) != tree_id(files):
        raise QueueError(
            ExitCode.HASH_MISMATCH, "the repository's objects are damaged", at=str(git.tree)
        )
    return snapshot
