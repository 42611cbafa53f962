"""Where a project keeps its pin, its patches and its built tree, and what the pin and lock say."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from patchqueue.errors import ExitCode, QueueError
from patchqueue.files import clear_temporary, exclusive, recover, write_atomic
from patchqueue.snapshot import unsafe_path


@dataclass(frozen=True)
class Project:
    """The paths of one vendored tree. ``Project(root)`` is the usual layout."""

    root: Path
    pin_path: Path
    lock_path: Path
    patches: Path
    target: Path

    @classmethod
    def at(cls, root: Path) -> Project:
        """Return the usual layout: ``third_party/`` and ``patches/`` under ``root``."""
        root = root.resolve()
        third_party = root / "third_party"
        return cls(
            root=root,
            pin_path=third_party / "upstream.toml",
            lock_path=third_party / "models.lock",
            patches=root / "patches",
            target=third_party / "models",
        )

    @property
    def cache(self) -> Path:
        """Verified archives."""
        return self.target.parent / ".cache"

    @property
    def saved(self) -> Path:
        """Edits that ``--force`` moved out of the way."""
        return self.target.parent / ".saved"

    @property
    def mutex(self) -> Path:
        """The file whose advisory lock serialises the commands that write."""
        return self.target.parent / f".{self.target.name}.lockfile"

    def show(self, path: Path) -> str:
        """Return a path as a user at the root of the project would type it."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return str(path)


@contextmanager
def at_work(project: Project, *, wait: bool) -> Iterator[bool]:
    """Hold the project's lock, clear up after dead runs, and say whether there were any.

    Raises:
      QueueError: exit code 5 if another run holds the lock and ``wait`` is false.
    """
    with exclusive(project.mutex, wait=wait):
        leftovers = [recover(folder) for folder in (project.target, project.patches)]
        written = (project.lock_path.parent, project.cache, project.target / ".git")
        leftovers += [clear_temporary(folder) for folder in written]
        yield any(leftovers)


@dataclass(frozen=True)
class Pin:
    """The contents of ``upstream.toml``."""

    package: str
    version: str
    filename: str
    sha256: str
    size: int
    unpacked_limit: int
    tree: str
    layout: dict[str, str]
    generated: tuple[str, ...]
    """Globs of files that later build steps write; they never count as edits."""

    @cached_property
    def id(self) -> str:
        """Changes when, and only when, another tree or another way to build it is pinned."""
        fields = (self.sha256, self.tree, sorted(self.layout.items()), self.generated)
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()

    @cached_property
    def _generated_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(glob_to_regex(glob) for glob in self.generated) or r"(?!)")

    def is_generated(self, path: str) -> bool:
        """Tell whether a path in the tree is written by a later build step."""
        return self._generated_pattern.fullmatch(path) is not None


@dataclass(frozen=True)
class Lock:
    """The result that pin and patches must give: ``models.lock``."""

    tree: str
    inputs: str


def load_pin(project: Project) -> Pin:
    """Read the pin.

    Raises:
      QueueError: exit code 2 if the file is missing, is not TOML or lacks a field.
    """
    path = project.pin_path
    text = _read_text(project, path, "the pin")
    if text is None:
        raise QueueError(ExitCode.USAGE, "there is no pin", at=project.show(path))
    return parse_pin(project, text)


def parse_pin(project: Project, text: str) -> Pin:
    """Read the text of a pin.

    Raises:
      QueueError: exit code 2 if it is not TOML or lacks a field.
    """
    path = project.pin_path
    data = _parse_toml(project, path, "the pin", text)
    try:
        archive, snapshot, layout = data["archive"], data["snapshot"], data["layout"]
        pin = Pin(
            package=str(archive["package"]),
            version=str(archive["version"]),
            filename=str(archive["filename"]),
            sha256=_hex(archive["sha256"], 64),
            size=int(archive["size"]),
            unpacked_limit=int(archive["unpacked_limit"]),
            tree=_hex(snapshot["tree"], 40),
            layout={str(source): str(to) for source, to in layout["paths"].items()},
            generated=tuple(str(glob) for glob in layout["generated"]),
        )
        for value in (pin.filename, *pin.layout.values()):
            if reason := unsafe_path(value):
                raise ValueError(f"{value}: {reason}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise QueueError(
            ExitCode.USAGE, f"the pin cannot be used: {what}", at=project.show(path)
        ) from error
    return pin


def load_lock(project: Project) -> Lock | None:
    """Read the lock, or return ``None`` if there is none yet.

    Raises:
      QueueError: exit code 2 if the file cannot be understood.
    """
    text = _read_text(project, project.lock_path, "the lock")
    if text is None:
        return None
    data = _parse_toml(project, project.lock_path, "the lock", text)
    try:
        return Lock(tree=_hex(data["tree"], 40), inputs=_hex(data["inputs"], 64))
    except (KeyError, ValueError) as error:
        raise QueueError(
            ExitCode.USAGE,
            f"the lock cannot be used: {error}",
            at=project.show(project.lock_path),
            hint="python apply_patches.py apply --relock",
        ) from error


def write_lock(project: Project, lock: Lock) -> None:
    """Replace the lock file."""
    text = (
        "# What pin and patches give. Written by `apply_patches.py export`, and by\n"
        "# `apply_patches.py apply --relock` after patches were edited by hand.\n"
        f'tree = "{lock.tree}"\n'
        f'inputs = "{lock.inputs}"\n'
    )
    write_atomic(project.lock_path, text.encode())


def _read_text(project: Project, path: Path, name: str) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise _not_toml(project, path, name, error) from error


def _parse_toml(project: Project, path: Path, name: str, text: str) -> dict:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(project, path, name, error) from error


def _not_toml(project: Project, path: Path, name: str, error: ValueError) -> QueueError:
    return QueueError(ExitCode.USAGE, f"{name} is not valid TOML: {error}", at=project.show(path))


def _hex(value: object, digits: int) -> str:
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{digits}}}", value):
        raise ValueError(f"{value!r} is not {digits} lower-case hex digits")
    return value


def glob_to_regex(glob: str) -> str:
    """Translate ``*`` (within one name) and ``**`` (across folders), as gitignore reads them."""
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    tokens = re.split(r"(\*\*/|\*\*|\*)", glob)
    return "".join(pieces.get(token, re.escape(token)) for token in tokens)
