"""``export``: the commits of a tree become the patch queue, the series and the lock.

The same commits give the same bytes on any git: the header is written here, and the options that
shape a diff are all fixed. A header whose author and message did not change is kept byte for byte.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from patchqueue.errors import ExitCode, QueueError
from patchqueue.files import staging_beside, swap_into_place
from patchqueue.git import Git, require_git
from patchqueue.lint import NAME, Problem, lint_patch
from patchqueue.patch import PatchSyntaxError, format_header, parse_patch, without_name
from patchqueue.project import Lock, Pin, Project, at_work, load_lock, load_pin, write_lock
from patchqueue.queue import Queue, Series, inputs_id, read_series, run_queue
from patchqueue.tree import BuiltTree, Stamp, load_snapshot, unfinished, working_state

# Every option of git's that shapes a diff, fixed, so that neither its defaults nor its version do.
_DIFF = ["diff-tree", "-p", "-r", "--no-commit-id", "--full-index", "--binary"]
_DIFF += ["--unified=3", "--inter-hunk-context=0", "--diff-algorithm=myers", "--indent-heuristic"]
_DIFF += ["--no-renames", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative"]
_DIFF += ["--src-prefix=a/", "--dst-prefix=b/", "--ignore-submodules=none"]


@dataclass(frozen=True)
class ExportReport:
    """What ``export`` wrote: patch paths by what became of them."""

    patches: int
    tree: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    written: bool
    """False if everything on disk was right already."""


@dataclass(frozen=True)
class _Commit:
    id: str
    tree: str
    parents: tuple[str, ...]
    author: str
    address: str
    message: str
    slug: str | None

    @property
    def label(self) -> str:
        return f"commit {self.id[:12]} {self.message.partition(chr(10))[0]}"


def export(project: Project, *, source: Path | None = None, wait: bool = False) -> ExportReport:
    """Regenerate ``patches/`` and the lock from the built tree, or from another repository.

    Args:
      source: A repository whose history holds a commit with the pristine tree; by default the
        built tree.
      wait: Wait for another run instead of failing.

    Raises:
      QueueError: 2 the repository cannot be exported; 1 a commit does not make a valid patch;
        3 no pristine commit; 4 uncommitted edits. Nothing was then written.
    """
    require_git()
    with at_work(project, wait=wait):
        pin = load_pin(project)
        tree = BuiltTree(project, pin)
        git = Git(source.resolve()) if source else tree.git
        if not git.dir.is_dir():
            raise QueueError(
                ExitCode.USAGE,
                "there is no git repository to export",
                at=str(source or project.show(project.target)),
                hint="python apply_patches.py apply",
            )
        head = _require_finished_work(git, pin)
        series = read_series(project.patches)
        on_disk = _patches_on_disk(project)
        stamp = None if source else _require_applied(project, tree)
        commits = _commits(git, pin)
        if len(commits) == 1 and series.entries:
            raise QueueError(
                ExitCode.USAGE,
                "the tree has no commit after the pristine one; exporting would empty the queue",
                at=str(git.tree),
                hint="python apply_patches.py apply",
            )
        queue = _make_queue(git, pin, commits, on_disk)
        _prove(project, pin, git, commits, queue)
        if stamp is not None:
            _require_known_patches(stamp, series, on_disk, queue)
        lock = Lock(commits[-1].tree, inputs_id(pin, queue))
        report = _write(project, series, on_disk, queue, lock)
        if stamp is not None:
            # Last: it vouches that every commit is in a patch. Killed before, the next run finds
            # the patches it would write and goes on from there.
            patches = queue.hashes
            tree.write_stamp(
                replace(stamp, head=head, tree=lock.tree, patches=patches, inputs=lock.inputs)
            )
    return report


def _require_finished_work(git: Git, pin: Pin) -> str:
    if state := unfinished(git):
        raise QueueError(
            ExitCode.USAGE,
            f"git is in the middle of something ({state})",
            at=str(git.tree),
            hint="finish or abort it first",
        )
    head, files = working_state(git, pin)
    if files:
        raise QueueError(
            ExitCode.EDITS,
            "uncommitted edits would not be exported",
            at="\n".join([str(git.tree), *files]),
            hint="commit them, or set them aside with git stash",
        )
    return head


def _require_applied(project: Project, tree: BuiltTree) -> Stamp:
    stamp = tree.stamp()
    if stamp is None:
        raise QueueError(
            ExitCode.USAGE,
            "the tree carries no stamp",
            at=project.show(project.target),
            hint="python apply_patches.py export --from REPOSITORY",
        )
    if not stamp.applied:
        raise QueueError(
            ExitCode.USAGE,
            "the patches are unapplied",
            at=project.show(project.target),
            hint="python apply_patches.py apply",
        )
    return stamp


def _require_known_patches(
    stamp: Stamp, series: Series, on_disk: dict[str, bytes], queue: Queue
) -> None:
    """Refuse to overwrite patches that arrived, or were edited, after the tree was built."""
    listed = Queue(tuple((name, on_disk.get(name, b"")) for name in series.names))
    now = listed.hashes
    if listed == queue or list(now.items()) == list(stamp.patches.items()):
        return
    names = sorted(
        name for name in now.keys() | stamp.patches.keys()
        if now.get(name) != stamp.patches.get(name)
    )  # fmt: skip
    raise QueueError(
        ExitCode.EDITS,
        "patches/ changed since the tree was built; exporting would undo that",
        at="\n".join(names or ["the order in patches/series"]),
        hint="without commits of your own in the tree: python apply_patches.py apply --relock\n"
        "with both: export after `git stash -- patches`, then merge",
    )


def _patches_on_disk(project: Project) -> dict[str, bytes]:
    paths = sorted(project.patches.rglob("*.patch")) if project.patches.is_dir() else []
    return {path.relative_to(project.patches).as_posix(): path.read_bytes() for path in paths}


def _commits(git: Git, pin: Pin) -> list[_Commit]:
    """Return the pristine commit and those after it, oldest first."""
    layout = "%H%x00%T%x00%P%x00%an%x00%ae%x00%B%x00"
    fields = git("log", "--first-parent", f"--format={layout}", "HEAD").decode().split("\0")
    commits: list[_Commit] = []
    for at in range(0, len(fields) - 1, 6):
        commit_id, tree, parents, author, address, text = fields[at : at + 6]
        message, slug = without_name(text)
        parent_ids = tuple(parents.split())
        commits.append(_Commit(commit_id.strip(), tree, parent_ids, author, address, message, slug))
        if tree == pin.tree:
            return commits[::-1]
        if len(parent_ids) > 1:
            raise QueueError(
                ExitCode.USAGE,
                "a merge cannot be exported as one patch",
                at=commits[-1].label,
                hint="make the history linear: git rebase",
            )
    raise QueueError(
        ExitCode.HASH_MISMATCH,
        f"no commit of this repository has the pinned tree {pin.tree}",
        at=str(git.tree),
        hint="python apply_patches.py apply  makes one that starts there",
    )


def _make_queue(git: Git, pin: Pin, commits: list[_Commit], on_disk: dict[str, bytes]) -> Queue:
    problems: list[Problem] = []
    files: list[tuple[str, bytes]] = []
    counts = Counter(commit.slug for commit in commits[1:])
    for commit in commits[1:]:
        name = f"{commit.slug}.patch"
        if commit.slug is None or not NAME.fullmatch(name):
            found = f"has 'Patch: {commit.slug}'" if commit.slug else "names no patch file"
            hint = "git commit --amend (or git rebase), last paragraph: 'Patch: AREA/SLUG'"
            problems.append(Problem(commit.label, 0, "name", found, hint))
            continue
        if counts[commit.slug] > 1:
            text = f"'Patch: {commit.slug}' occurs {counts[commit.slug]} times"
            hint = "give it another name, or squash the commits: git rebase"
            problems.append(Problem(commit.label, 0, "name", text, hint))
            continue
        diff = git(*_DIFF, commit.id)
        data = _header(commit, name, on_disk.get(name)) + diff
        files.append((name, data))
        problems += [
            replace(problem, path=commit.label, line=0) for problem in lint_patch(pin, name, data)
        ]
    if problems:
        raise QueueError(
            ExitCode.FAILED,
            f"{len(problems)} commit(s) do not make a valid patch; nothing was written",
            at="\n".join(problem.text for problem in problems),
            hint="mend them with git commit --amend or git rebase in " + str(git.tree),
        )
    return Queue(tuple(files))


def _header(commit: _Commit, name: str, known: bytes | None) -> bytes:
    if known is not None:
        try:
            patch = parse_patch(name, known)
        except PatchSyntaxError:
            patch = None
        wanted = (commit.author, commit.address, commit.message)
        if patch and (patch.author, patch.address, patch.message) == wanted:
            return patch.header
    return format_header(commit.author, commit.address, commit.message)


def _prove(project: Project, pin: Pin, git: Git, commits: list[_Commit], queue: Queue) -> None:
    """Apply what is about to be written: it must lead through the very trees of the commits."""
    steps = run_queue(project, pin, load_snapshot(git, commits[0].id), queue)
    for step, commit in zip(steps, commits[1:], strict=True):
        if step.tree != commit.tree:
            raise QueueError(
                ExitCode.HASH_MISMATCH,
                f"the exported patch does not give the commit's tree\n  expected {commit.tree}\n"
                f"  found    {step.tree}",
                at=commit.label,
            )
        patch = step.patch
        if (patch.author, patch.address, patch.message) != (
            commit.author,
            commit.address,
            commit.message,
        ):
            raise QueueError(
                ExitCode.FAILED,
                "the commit's message or author cannot be kept in a patch file",
                at=commit.label,
                hint="a line of the message must not be '---' or start with 'diff --git'; "
                "the subject is one line, then comes an empty one",
            )


def _write(
    project: Project, series: Series, on_disk: dict[str, bytes], queue: Queue, lock: Lock
) -> ExportReport:
    new = dict(queue.files)
    text = series.text(list(new)).encode()
    known = project.patches / "series"
    same = new == on_disk and known.exists() and known.read_bytes() == text
    if not same:
        _swap_patches(project, new, text)
    locked = load_lock(project) if project.lock_path.exists() else None
    if locked != lock:
        write_lock(project, lock)
    return ExportReport(
        patches=len(new),
        tree=lock.tree,
        added=tuple(name for name in new if name not in on_disk),
        changed=tuple(name for name in new if name in on_disk and new[name] != on_disk[name]),
        removed=tuple(name for name in on_disk if name not in new),
        written=not same or locked != lock,
    )


def _swap_patches(project: Project, files: dict[str, bytes], series: bytes) -> None:
    folder = project.patches
    with staging_beside(folder) as staging:
        if folder.is_dir():
            # What is neither a patch nor the series (a README) is not ours to drop.
            keep = shutil.ignore_patterns("*.patch")
            shutil.copytree(folder, staging, ignore=keep, dirs_exist_ok=True)
        for name, data in files.items():
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (staging / "series").write_bytes(series)
        for path in sorted(staging.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        swap_into_place(staging, folder)
