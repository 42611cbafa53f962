"""``export``: the commits of a tree become the patch queue, the series and the lock.

The same commits give the same bytes on any git: the header is written here, and the options that
shape a diff are all fixed. A header whose author and message did not change is kept byte for byte.
A commit whose ``Patch:`` trailer ends in ``/`` becomes a folder, any other a patch file.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from patchqueue.entry import (
    NAME,
    Content,
    is_folder,
    make_folder,
    name_of,
    names_in,
    parse_entry,
    stem,
    write_entry,
)
from patchqueue.errors import ExitCode, QueueError
from patchqueue.files import staging_beside, swap_into_place
from patchqueue.git import Git, require_git
from patchqueue.lint import Problem, lint_entry
from patchqueue.patch import ENGINE, Patch, PatchSyntaxError, format_header, without_name
from patchqueue.project import Lock, Pin, Project, at_work, load_lock, load_pin, write_lock
from patchqueue.queue import (
    Queue,
    Series,
    inputs_id,
    load_content,
    read_series,
    run_queue,
    unlisted,
)
from patchqueue.snapshot import FILE, Entry
from patchqueue.tree import BuiltTree, Stamp, load_snapshot, unfinished, working_state

# Every option of git's that shapes a diff, fixed, so that neither its defaults nor its version do.
_DIFF = ["diff-tree", "-p", "-r", "--no-commit-id", "--full-index", "--binary"]
_DIFF += ["--unified=3", "--inter-hunk-context=0", "--diff-algorithm=myers", "--indent-heuristic"]
_DIFF += ["--no-renames", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative"]
_DIFF += ["--src-prefix=a/", "--dst-prefix=b/", "--ignore-submodules=none"]


@dataclass(frozen=True)
class ExportReport:
    """What ``export`` wrote: entries' names by what became of them."""

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
        on_disk = _entries_on_disk(project)
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
    stamp: Stamp, series: Series, on_disk: dict[str, Content], queue: Queue
) -> None:
    """Refuse to overwrite patches that arrived, or were edited, after the tree was built."""
    listed = Queue(tuple((name, on_disk[name]) for name in series.names if name in on_disk))
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


def _entries_on_disk(project: Project) -> dict[str, Content]:
    """Read everything that ``_swap_patches`` replaces, and refuse what nobody could get back."""
    if names := unlisted(project.patches):
        raise QueueError(
            ExitCode.EDITS,
            "not in the series, so exporting would delete it",
            at="\n".join(f"{project.show(project.patches)}/{name}" for name in names),
            hint="add its line to patches/series, or move it away",
        )
    return {name: load_content(project, name) for name in names_in(project.patches)}


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


def _make_queue(git: Git, pin: Pin, commits: list[_Commit], on_disk: dict[str, Content]) -> Queue:
    problems: list[Problem] = []
    entries: list[tuple[str, Content]] = []
    counts = Counter(stem(commit.slug) for commit in commits[1:] if commit.slug)
    for commit in commits[1:]:
        if problem := _unusable(commit, counts):
            problems.append(problem)
            continue
        name = name_of(commit.slug)
        try:
            content = _make_content(git, commit, name, on_disk.get(name))
            found = lint_entry(pin, name, content)
        except PatchSyntaxError as error:
            found = [Problem(name, 0, error.damage.value, str(error), "")]
        else:
            entries.append((name, content))
        problems += [replace(problem, path=commit.label, line=0) for problem in found]
    if problems:
        raise QueueError(
            ExitCode.FAILED,
            f"{len(problems)} commit(s) do not make a valid patch; nothing was written",
            at="\n".join(problem.text for problem in problems),
            hint="mend them with git commit --amend or git rebase in " + str(git.tree),
        )
    return Queue(tuple(entries))


def _unusable(commit: _Commit, counts: Counter[str]) -> Problem | None:
    """Say why a commit cannot become an entry, whatever it changes."""
    if commit.slug is None or not NAME.fullmatch(name_of(commit.slug)):
        found = f"has 'Patch: {commit.slug}'" if commit.slug else "names no patch file"
        hint = "git commit --amend (or git rebase), last paragraph: 'Patch: AREA/SLUG'"
        return Problem(commit.label, 0, "name", found, hint)
    if (count := counts[stem(commit.slug)]) > 1:
        text = f"'Patch: {commit.slug}' occurs {count} times"
        hint = "give it another name, or squash the commits: git rebase"
        return Problem(commit.label, 0, "name", text, hint)
    if not is_folder(commit.slug) and (commit.author, commit.address) == ENGINE:
        # What was a folder has no author, and a patch file needs one.
        text = "has no author but this command"
        return Problem(commit.label, 0, "author", text, "git commit --amend --reset-author")
    return None


def _make_content(git: Git, commit: _Commit, name: str, known: Content | None) -> Content:
    diff = git(*_DIFF, commit.id)
    header = _header(commit, name, known)
    if is_folder(name):
        return make_folder(header, diff)
    return {"": Entry(FILE, header + diff)}


def _header(commit: _Commit, name: str, known: Content | None) -> bytes:
    if known is not None:
        try:
            patch = parse_entry(name, known)
        except PatchSyntaxError:
            patch = None
        if patch and _says_the_same(patch, commit):
            return patch.header
    if is_folder(name):
        return commit.message.encode()
    return format_header(commit.author, commit.address, commit.message)


def _says_the_same(patch: Patch, commit: _Commit) -> bool:
    """Compare author and message. A folder keeps no author: git blame knows who wrote what."""
    if patch.message != commit.message:
        return False
    return is_folder(patch.name) or (patch.author, patch.address) == (commit.author, commit.address)


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
        if not _says_the_same(step.patch, commit):
            raise QueueError(
                ExitCode.FAILED,
                "the commit's message or author cannot be kept in a patch file",
                at=commit.label,
                hint="a line of the message must not be '---' or start with 'diff --git'; "
                "the subject is one line, then comes an empty one",
            )


def _write(
    project: Project, series: Series, on_disk: dict[str, Content], queue: Queue, lock: Lock
) -> ExportReport:
    new = dict(queue.entries)
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


def _swap_patches(project: Project, entries: dict[str, Content], series: bytes) -> None:
    folder = project.patches

    def replaced(place: str, names: list[str]) -> list[str]:
        """Choose the entries, which are written anew. A README beside them is not ours to drop."""
        in_area = Path(place).parent == folder and not Path(place).name.startswith(".")
        found = [name for name in names if in_area and Path(place, name).is_dir()]
        return found + [name for name in names if name.endswith(".patch")]

    with staging_beside(folder) as staging:
        if folder.is_dir():
            shutil.copytree(folder, staging, ignore=replaced, dirs_exist_ok=True)
        for name, content in entries.items():
            write_entry(staging, name, content)
        (staging / "series").write_bytes(series)
        for path in staging.iterdir():
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        swap_into_place(staging, folder)
