"""An entry of the queue on disk: a patch file, or a folder for what adds files.

A folder holds ``message`` (what the header of a patch file says, without the author), ``files/``
(whole new files, at their paths in the tree) and, where it changes files that exist,
``hooks.patch``. Read, both forms are the same ``Patch``; nothing else knows how they are stored.

A name that ends in ``/`` is a folder's, in the series as in a commit's ``Patch:`` trailer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

from patchqueue.patch import (
    ENGINE,
    NULL_BLOB,
    Damage,
    FileDiff,
    Hunk,
    Patch,
    PatchSyntaxError,
    parse_patch,
    read_diffs,
    split_lines,
    without_name,
)
from patchqueue.snapshot import EXECUTABLE, FILE, Entry, path_clash, unsafe_path

NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*/[a-z0-9]+(?:-[a-z0-9]+)*(?:\.patch|/)")
"""``area/slug.patch`` or ``area/slug/``."""

Content = dict[str, Entry]
"""The files of an entry. Name and key together are the path; a patch file's only key is empty."""

MESSAGE, HOOKS, FILES = "message", "hooks.patch", "files/"
_SUFFIX = ".patch"

# What editors, merges and interpreters leave beside a source. In a diff somebody would see it.
_JUNK = re.compile(
    r".*~|\.#.*|#.*#|\..*\.sw[a-p]|.*\.(?:orig|rej|bak|tmp|py[cod])|__pycache__|\.DS_Store", re.I
)
_GITS_OWN = (".gitattributes", ".gitignore", ".gitmodules")
_BINARY_WITHIN = 8000
"""Bytes that git looks at to tell a binary file."""


def is_folder(name: str) -> bool:
    """Tell the form of an entry from its name."""
    return name.endswith("/")


def name_of(slug: str) -> str:
    """Return the entry's name for what a ``Patch:`` trailer says."""
    return slug if is_folder(slug) else slug + _SUFFIX


def stem(name: str) -> str:
    """Return ``area/slug``: no two entries may share it, whatever their forms."""
    return name.removesuffix("/").removesuffix(_SUFFIX)


def unsafe_name(name: str) -> str | None:
    """Say why an entry may not have this name, or return ``None`` if it may."""
    return unsafe_path(name.removesuffix("/"))


def names_in(patches: Path) -> list[str]:
    """Return the names of all entries that lie in ``patches/``, listed or not."""
    folders = [
        path.relative_to(patches).as_posix() + "/"
        for path in patches.glob("*/*")
        if path.is_dir() and not path.parent.name.startswith(".") and _holds_anything(path)
    ]
    loose = [path for pattern in ("*.patch", "*/*.patch") for path in patches.glob(pattern)]
    return sorted(
        folders + [path.relative_to(patches).as_posix() for path in loose if not path.is_dir()]
    )


def _holds_anything(folder: Path) -> bool:
    return folder.is_symlink() or any(not path.is_dir() for path in folder.rglob("*"))


def content_id(name: str, content: Content) -> str:
    """Identify what an entry holds: paths, modes, bytes."""
    if not is_folder(name):
        return hashlib.sha256(content[""].data).hexdigest()
    rows = [
        (key, entry.mode, hashlib.sha256(entry.data).hexdigest())
        for key, entry in sorted(content.items())
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_entry(patches: Path, name: str) -> tuple[Content, list[PatchSyntaxError]]:
    """Read an entry, and say what lies in its folder that does not belong there.

    Raises:
      OSError: it cannot be read.
    """
    if not is_folder(name):
        return {"": Entry(FILE, (patches / name).read_bytes())}, []
    root = patches / name.removesuffix("/")
    if root.is_symlink():
        return {}, [_stray("", "is a link, and an entry is a folder")]
    content: Content = {}
    strays: list[PatchSyntaxError] = []
    for item in sorted(os.scandir(root), key=lambda item: item.name):
        plain = item.is_file(follow_symlinks=False)
        if item.name == FILES.removesuffix("/") and item.is_dir(follow_symlinks=False):
            _collect(root, FILES, content, strays)
        elif item.name in (MESSAGE, HOOKS) and plain:
            content[item.name] = _read_file(root / item.name)
            if content[item.name].mode != FILE:
                strays.append(_stray(item.name, "is executable, and need not be"))
        else:
            text = f"does not belong to an entry, which has {MESSAGE}, {FILES} and {HOOKS}"
            strays.append(_stray(item.name, text))
    if clash := path_clash(key for key in content if key.startswith(FILES)):
        strays.append(_stray(FILES, clash, Damage.UNSAFE_PATH))
    return content, strays


def write_entry(patches: Path, name: str, content: Content) -> None:
    """Write an entry where there is none yet."""
    for key, entry in content.items():
        path = patches / (name + key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.data)
        if entry.mode == EXECUTABLE:
            path.chmod(0o755)


def parse_entry(name: str, content: Content) -> Patch:
    """Read an entry of either form.

    Raises:
      PatchSyntaxError: with the kind of damage, the file (``source``) and the line.
    """
    if not is_folder(name):
        return parse_patch(name, content[""].data)
    message = _parse_message(content)
    diffs = [
        _addition(key, entry) for key, entry in sorted(content.items()) if key.startswith(FILES)
    ]
    if not diffs:
        text = f"adds no file under {FILES}; an entry that adds none is a {_SUFFIX} file"
        raise PatchSyntaxError(Damage.NO_CHANGE, 0, text)
    hooks, signed = _parse_hooks(content)
    if twice := {diff.path for diff in hooks} & {diff.path for diff in diffs}:
        text = f"{min(twice)} is changed in {HOOKS} and added in {FILES}"
        raise PatchSyntaxError(Damage.MALFORMED, 0, text, HOOKS)
    ordered = tuple(sorted(diffs + hooks, key=lambda diff: diff.path))
    return Patch(name, *ENGINE, message, content[MESSAGE].data, ordered, signed)


def make_folder(message: bytes, diff: bytes) -> Content:
    """Return the folder for a message and a diff of whole commits, added files and all.

    Raises:
      PatchSyntaxError: the diff cannot be used.
    """
    diffs, _ = read_diffs(diff)
    rows = split_lines(diff)
    ends = [item.line - 1 for item in diffs[1:]] + [len(rows)]
    content = {MESSAGE: Entry(FILE, message)}
    hooks = b""
    for item, end in zip(diffs, ends, strict=True):
        if item.old_mode is None and item.new_mode is not None:
            data = b"".join(row for hunk in item.hunks for row in hunk.new)
            content[FILES + item.path] = Entry(item.new_mode, data)
        else:
            hooks += b"".join(rows[item.line - 1 : end])
    if hooks:
        content[HOOKS] = Entry(FILE, hooks)
    return content


def _stray(source: str, message: str, damage: Damage = Damage.STRAY) -> PatchSyntaxError:
    shown = source.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return PatchSyntaxError(damage, 0, message, shown)


def _bad_name(source: str) -> PatchSyntaxError | None:
    """Say what is wrong with the last name of a path under ``files/``."""
    name = source.rpartition("/")[2]
    if _JUNK.fullmatch(name):
        return _stray(source, "is what a program left behind, not a source")
    if name in _GITS_OWN:
        return _stray(source, "would be obeyed by git in this repository")
    if reason := unsafe_path(source):
        return _stray(source, reason, Damage.UNSAFE_PATH)
    return None


def _collect(root: Path, below: str, content: Content, strays: list[PatchSyntaxError]) -> None:
    items = sorted(os.scandir(root / below), key=lambda item: item.name)
    if not items:
        strays.append(_stray(below, "is empty, and git keeps no empty folder"))
    for item in items:
        source = below + item.name
        is_dir = item.is_dir(follow_symlinks=False)
        if item.is_symlink() or not (is_dir or item.is_file()):
            text = "is a link or a device; only files are kept"
            strays.append(_stray(source, text, Damage.UNSAFE_PATH))
        elif stray := _bad_name(source):
            strays.append(stray)
        elif is_dir:
            _collect(root, source + "/", content, strays)
        else:
            content[source] = _read_file(root / source)


def _read_file(path: Path) -> Entry:
    mode = EXECUTABLE if path.stat().st_mode & 0o100 else FILE
    return Entry(mode, path.read_bytes())


def _parse_message(content: Content) -> str:
    if MESSAGE not in content:
        raise PatchSyntaxError(Damage.HEADER, 0, "there is no message", MESSAGE)
    data = content[MESSAGE].data
    for number, row in enumerate(split_lines(data), 1):
        if row.endswith(b"\r\n"):
            raise PatchSyntaxError(Damage.CRLF, number, "the file has CRLF line ends", MESSAGE)
    try:
        text = data.decode().strip("\n")
    except UnicodeDecodeError as error:
        raise PatchSyntaxError(Damage.HEADER, 1, "the message is not UTF-8", MESSAGE) from error
    subject, _, rest = text.partition("\n")
    if "\0" in text:
        raise PatchSyntaxError(Damage.BINARY, 1, "the message holds a NUL", MESSAGE)
    if not subject.strip():
        raise PatchSyntaxError(Damage.HEADER, 1, "there is no subject", MESSAGE)
    if rest and not rest.startswith("\n"):
        text = "the subject is one line, then comes an empty one"
        raise PatchSyntaxError(Damage.HEADER, 2, text, MESSAGE)
    return without_name(text)[0]


def _addition(key: str, entry: Entry) -> FileDiff:
    path = key.removeprefix(FILES)
    parts = key.split("/")
    for depth in range(2, len(parts) + 1):
        if stray := _bad_name("/".join(parts[:depth])):
            raise stray
    if b"\0" in entry.data[:_BINARY_WITHIN]:
        raise PatchSyntaxError(Damage.BINARY, 0, f"{path} is binary and cannot be reviewed", key)
    lines = tuple(split_lines(entry.data))
    hunks = (Hunk(0, 0, (), lines, 0, 0),) if lines else ()
    return FileDiff(path, 0, None, entry.mode, NULL_BLOB, entry.blob, hunks, key)


def _parse_hooks(content: Content) -> tuple[list[FileDiff], bool]:
    if HOOKS not in content:
        return [], False
    try:
        diffs, signed = read_diffs(content[HOOKS].data, HOOKS)
    except PatchSyntaxError as error:
        error.source = HOOKS
        raise
    if not diffs:
        raise PatchSyntaxError(Damage.NO_CHANGE, 1, "changes no file: delete it", HOOKS)
    for diff in diffs:
        if diff.old_mode is None:
            text = f"{diff.path} is added here; a new file goes under {FILES}"
            raise PatchSyntaxError(Damage.MALFORMED, diff.line, text, HOOKS)
        if diff.new_mode is None:
            text = f"{diff.path} is deleted here; what deletes a file is a {_SUFFIX} file"
            raise PatchSyntaxError(Damage.MALFORMED, diff.line, text, HOOKS)
    return diffs, signed
