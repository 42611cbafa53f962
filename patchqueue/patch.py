"""The patch file: git mail format, read strictly and written in one canonical form."""

from __future__ import annotations

import email.errors
import email.header
import email.utils
import re
from dataclasses import dataclass
from enum import Enum

from patchqueue.snapshot import EXECUTABLE, FILE, unsafe_path

NULL_BLOB = "0" * 40
ENGINE = ("patchqueue", "patchqueue@localhost")
"""Name and address that commit what has no author of its own."""
FIRST_LINE = f"From {NULL_BLOB} Mon Sep 17 00:00:00 2001"
SIGNATURE = b"-- \n"

_DIFF = re.compile(rb"diff --git a/(.+) b/(.+)\n")
_INDEX = re.compile(rb"index ([0-9a-f]+)\.\.([0-9a-f]+)(?: ([0-7]{6}))?\n")
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_MODE = re.compile(rb"(old|new|deleted file|new file) mode ([0-7]{6})\n")
_TRAILER = re.compile(r"([A-Za-z][A-Za-z0-9-]*): ?(.*)")
_NAME_TRAILER = "Patch"


class Damage(Enum):
    """What can be wrong with a patch file itself, whatever tree it is meant for."""

    CRLF = "crlf"
    HEADER = "header"
    MALFORMED = "malformed"
    SHORT_INDEX = "short-index"
    UNSAFE_PATH = "unsafe-path"
    NO_CHANGE = "no-change"
    BINARY = "binary"
    STRAY = "stray"


class PatchSyntaxError(Exception):
    """An entry that cannot be used.

    ``source`` is the file in the entry's folder, empty for a patch file; ``line`` counts from 1
    and is 0 for a whole file.
    """

    def __init__(self, damage: Damage, line: int, message: str, source: str = "") -> None:
        super().__init__(message)
        self.damage = damage
        self.line = line
        self.source = source


@dataclass(frozen=True)
class Hunk:
    """One ``@@`` block. ``old`` and ``new`` are whole lines with their line ends."""

    line: int
    old_start: int
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]
    context: int
    """How many lines are in both."""
    trailing: int
    """How many of them come after the last change; none: the hunk ends with the file."""

    @property
    def position(self) -> int:
        """Index, from 0, of the first line of ``old`` in the file it belongs to."""
        # An empty range names the line *after* which it stands.
        return self.old_start - 1 if self.old else self.old_start


@dataclass(frozen=True)
class FileDiff:
    """The change to one file. A mode of ``None`` means that the file does not exist."""

    path: str
    line: int
    old_mode: str | None
    new_mode: str | None
    old_blob: str
    new_blob: str
    hunks: tuple[Hunk, ...]
    source: str = ""
    """The file that says so, in an entry's folder; empty in a patch file."""


@dataclass(frozen=True)
class Patch:
    """A parsed entry. ``name`` is its path under ``patches/``: ``area/slug.patch`` or a folder."""

    name: str
    author: str
    address: str
    message: str
    """Subject, empty line, body and trailers; ends with a line end."""
    header: bytes
    """Everything up to the first ``diff --git``, or the file ``message``, byte for byte."""
    diffs: tuple[FileDiff, ...]
    signed: bool
    """Whether the file ends in a git version line, which would change with git."""

    @property
    def slug(self) -> str:
        """The name without its suffix: what the ``Patch:`` trailer of the commit says."""
        return self.name.removesuffix(".patch")

    @property
    def subject(self) -> str:
        """First line of the message."""
        return self.message.partition("\n")[0]


def parse_patch(name: str, data: bytes) -> Patch:
    """Read a patch file.

    Raises:
      PatchSyntaxError: with the kind of damage and the line.
    """
    lines = split_lines(data)
    start = next((i for i, row in enumerate(lines) if row.startswith(b"diff --git ")), len(lines))
    header = b"".join(lines[:start])
    for number, row in enumerate(lines[:start], 1):
        if row.endswith(b"\r\n"):
            raise PatchSyntaxError(Damage.CRLF, number, "the file has CRLF line ends")
    author, address, message = _parse_header(header)
    diffs, signed = _DiffReader(lines, start).read()
    if not diffs:
        raise PatchSyntaxError(Damage.NO_CHANGE, len(lines), "the patch changes no file")
    return Patch(name, author, address, message, header, tuple(diffs), signed)


def read_diffs(data: bytes, source: str = "") -> tuple[list[FileDiff], bool]:
    """Read a diff without a header, and whether it ends in a git version line.

    Raises:
      PatchSyntaxError: with the kind of damage and the line.
    """
    return _DiffReader(split_lines(data), 0, source).read()


def format_header(author: str, address: str, message: str) -> bytes:
    """Return the canonical header: fixed first line, no date, no statistics."""
    subject, _, body = message.partition("\n")
    name = author if not re.search(r'[,;:@"<>()\[\]\\]', author) else _quoted(author)
    head = f"{FIRST_LINE}\nFrom: {name} <{address}>\nSubject: [PATCH] {subject}\n"
    return f"{head}{body.rstrip()}\n---\n\n".encode()


def trailers(message: str) -> dict[str, list[str]]:
    """Return the trailers of a message: its last paragraph, if all of it is ``Key: value``."""
    body = message.rstrip().partition("\n")[2]
    last = body.rpartition("\n\n")[2].strip("\n")
    found: dict[str, list[str]] = {}
    for row in last.split("\n") if last else []:
        if row[:1] in (" ", "\t") and found:
            continue
        match = _TRAILER.fullmatch(row)
        if not match:
            return {}
        found.setdefault(match[1], []).append(match[2].strip())
    return found


def body_text(message: str) -> str:
    """Return the message without its subject and its trailers."""
    body = message.rstrip().partition("\n")[2]
    if trailers(message):
        body = body.rpartition("\n\n")[0]
    return body.strip()


def with_name(message: str, slug: str) -> str:
    """Add the trailer that tells a commit which patch file it is."""
    separator = "" if trailers(message) else "\n"
    return f"{message.rstrip()}\n{separator}{_NAME_TRAILER}: {slug}\n"


def without_name(message: str) -> tuple[str, str | None]:
    """Split the ``Patch:`` trailer off a commit message; undoes ``with_name``."""
    message = message.strip("\n")
    names = trailers(message).get(_NAME_TRAILER, [])
    if not names:
        return message + "\n", None
    head, _, last = message.rpartition("\n\n")
    kept = [row for row in last.split("\n") if not row.startswith(_NAME_TRAILER + ":")]
    rest = head + ("\n\n" + "\n".join(kept) if kept else "")
    return rest.strip("\n") + "\n", names[-1]


def split_lines(data: bytes) -> list[bytes]:
    """Split at line feeds only, as git does, keeping them; a carriage return is content."""
    rows = [row + b"\n" for row in data.split(b"\n")]
    rows[-1] = rows[-1][:-1]
    return rows if rows[-1] else rows[:-1]


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _parse_header(header: bytes) -> tuple[str, str, str]:
    try:
        text = header.decode()
    except UnicodeDecodeError as error:
        raise PatchSyntaxError(Damage.HEADER, 1, "the header is not UTF-8") from error
    head, _, body = text.partition("\n\n")
    if not head.startswith("From "):
        raise PatchSyntaxError(Damage.HEADER, 1, f"the first line is not '{FIRST_LINE}'")
    fields: dict[str, str] = {}
    for row in re.sub(r"\n[ \t]+", " ", head).split("\n")[1:]:
        key, colon, value = row.partition(": ")
        if not colon or key in fields:
            raise PatchSyntaxError(Damage.HEADER, 2, f"not a header line: {row!r}")
        fields[key] = value.strip()
    author, address = email.utils.parseaddr(fields.get("From", ""))
    author = _decoded(author)
    if not author or not address:
        raise PatchSyntaxError(Damage.HEADER, 2, "there is no 'From: Name <address>' line")
    if re.search(r"[<>\n]", author + address):
        raise PatchSyntaxError(Damage.HEADER, 2, "the author's name cannot be used in a commit")
    subject = re.sub(r"^\[PATCH[^\]]*\]\s*", "", _decoded(fields.get("Subject", ""))).strip()
    if not subject:
        raise PatchSyntaxError(Damage.HEADER, 3, "there is no subject")
    body = re.split(r"^---\n", "\n" + body, maxsplit=1, flags=re.MULTILINE)[0].strip("\n")
    message = subject + "\n" + (f"\n{body}\n" if body else "")
    return author, address, without_name(message)[0]


def _decoded(value: str) -> str:
    try:
        return str(email.header.make_header(email.header.decode_header(value)))
    except (email.errors.HeaderParseError, UnicodeError, LookupError) as error:
        raise PatchSyntaxError(
            Damage.HEADER, 1, f"the header field cannot be decoded: {value!r}"
        ) from error


class _DiffReader:
    """Reads the part of a patch file that follows the header."""

    def __init__(self, lines: list[bytes], start: int, source: str = "") -> None:
        self._lines = lines
        self._at = start
        self._source = source

    def read(self) -> tuple[list[FileDiff], bool]:
        diffs: list[FileDiff] = []
        while self._at < len(self._lines):
            if self._here() == SIGNATURE:
                return diffs, True
            diff = self._read_file()
            if any(known.path == diff.path for known in diffs):
                raise PatchSyntaxError(Damage.MALFORMED, diff.line, f"{diff.path} is changed twice")
            diffs.append(diff)
        return diffs, False

    def _here(self) -> bytes:
        return self._lines[self._at] if self._at < len(self._lines) else b""

    def _fail(self, message: str, damage: Damage = Damage.MALFORMED) -> PatchSyntaxError:
        return PatchSyntaxError(damage, min(self._at + 1, len(self._lines)), message)

    def _read_file(self) -> FileDiff:
        line = self._at + 1
        path = self._read_path()
        modes: dict[bytes, str] = {}
        blobs: tuple[str, str] | None = None
        while True:
            row = self._here()
            if row.endswith(b"\r\n"):
                raise self._fail("the file has CRLF line ends", Damage.CRLF)
            if match := _MODE.fullmatch(row):
                modes[match[1]] = match[2].decode()
            elif match := _INDEX.fullmatch(row):
                blobs = match[1].decode(), match[2].decode()
                if len(blobs[0]) != 40 or len(blobs[1]) != 40:
                    raise self._fail("the index line has shortened ids", Damage.SHORT_INDEX)
                if match[3]:
                    modes[b"old"] = modes[b"new"] = match[3].decode()
            else:
                break
            self._at += 1
        self._check_middle(path, modes)
        hunks = self._read_hunks()
        created, deleted = b"new file" in modes, b"deleted file" in modes
        old_mode = None if created else modes.get(b"deleted file") or modes.get(b"old")
        new_mode = None if deleted else modes.get(b"new file") or modes.get(b"new")
        if (old_mode is None) != created or (new_mode is None) != deleted:
            raise PatchSyntaxError(Damage.MALFORMED, line, f"{path}: the file's mode is missing")
        if blobs is None and (hunks or created or deleted):
            raise PatchSyntaxError(Damage.SHORT_INDEX, line, f"{path}: there is no index line")
        old_blob, new_blob = blobs or ("", "")
        if old_blob == new_blob and old_mode == new_mode:
            raise PatchSyntaxError(Damage.NO_CHANGE, line, f"{path}: nothing is changed")
        if created != (old_blob == NULL_BLOB) or deleted != (new_blob == NULL_BLOB):
            raise PatchSyntaxError(
                Damage.MALFORMED, line, f"{path}: index line and file mode contradict each other"
            )
        return FileDiff(path, line, old_mode, new_mode, old_blob, new_blob, hunks, self._source)

    def _read_path(self) -> str:
        row = self._here()
        if row.endswith(b"\r\n"):
            raise self._fail("the file has CRLF line ends", Damage.CRLF)
        match = _DIFF.fullmatch(row)
        # Without renames both names are equal, so the line splits in the middle, whatever
        # spaces the name holds.
        middle = len(b"diff --git a/") + (len(row) - len(b"diff --git a/ b/\n")) // 2
        path = row[len(b"diff --git a/") : middle]
        if not match or row != b"diff --git a/%s b/%s\n" % (path, path):
            raise self._fail("expected 'diff --git a/PATH b/PATH' with the same path twice")
        try:
            text = path.decode()
        except UnicodeDecodeError as error:
            raise self._fail("the path is not UTF-8") from error
        if reason := unsafe_path(text):
            raise self._fail(f"{text}: {reason}", Damage.UNSAFE_PATH)
        self._at += 1
        return text

    def _check_middle(self, path: str, modes: dict[bytes, str]) -> None:
        row = self._here()
        for mode in modes.values():
            if mode not in (FILE, EXECUTABLE):
                raise self._fail(f"{path}: mode {mode} is not a file's", Damage.UNSAFE_PATH)
        if row.startswith((b"GIT binary patch", b"Binary files ")):
            raise self._fail(f"{path} is binary and cannot be reviewed", Damage.BINARY)
        if row.startswith((b"rename ", b"copy ", b"similarity ", b"dissimilarity ")):
            raise self._fail(f"{path}: write a rename as one deleted and one new file")
        if row.startswith(b"--- "):
            raw = path.encode()
            self._expect_name(b"--- ", b"a/" + raw, b"new file" in modes)
            self._expect_name(b"+++ ", b"b/" + raw, b"deleted file" in modes)

    def _expect_name(self, mark: bytes, name: bytes, absent: bool) -> None:
        wanted = mark + (b"/dev/null" if absent else name)
        # Git ends a name that holds a space with a tab, for tools that expect a date there.
        if self._here().rstrip(b"\t\r\n") != wanted:
            named = self._here()[4:].strip().decode(errors="replace")
            raise self._fail(f"expected '{wanted.decode()}', found {named!r}")
        self._at += 1

    def _read_hunks(self) -> tuple[Hunk, ...]:
        hunks: list[Hunk] = []
        while match := _HUNK.match(self._here()):
            hunk = self._read_hunk(match)
            if hunks and hunk.position < hunks[-1].position + len(hunks[-1].old):
                raise PatchSyntaxError(
                    Damage.MALFORMED, hunk.line, "the hunk overlaps the one before it"
                )
            hunks.append(hunk)
        row = self._here()
        if row and row != SIGNATURE and not row.startswith(b"diff --git "):
            raise self._fail("expected a hunk or another file; is a count after @@ wrong?")
        return tuple(hunks)

    def _read_hunk(self, match: re.Match[bytes]) -> Hunk:
        line = self._at + 1
        old_left, new_left = (1 if count is None else int(count) for count in match.group(2, 4))
        old: list[bytes] = []
        new: list[bytes] = []
        changed, context, trailing = False, 0, 0
        self._at += 1
        while old_left or new_left or self._here().startswith(b"\\"):
            row = self._here()
            mark, content = row[:1], row[1:]
            if mark == b"\n":
                # An editor that strips trailing blanks empties the lines that were a blank.
                mark, content = b" ", b"\n"
            if mark == b"\\":
                self._strip_line_end(old, new)
            elif mark == b" " and old_left and new_left:
                old.append(content)
                new.append(content)
                old_left, new_left = old_left - 1, new_left - 1
                context, trailing = context + 1, trailing + 1
            elif mark == b"-" and old_left:
                old.append(content)
                old_left, changed, trailing = old_left - 1, True, 0
            elif mark == b"+" and new_left:
                new.append(content)
                new_left, changed, trailing = new_left - 1, True, 0
            else:
                raise self._fail("the hunk's lines do not add up to the counts after @@")
            self._at += 1
        if not changed:
            raise PatchSyntaxError(Damage.NO_CHANGE, line, "the hunk changes nothing")
        return Hunk(line, int(match[1]), tuple(old), tuple(new), context, trailing)

    def _strip_line_end(self, old: list[bytes], new: list[bytes]) -> None:
        """Act on ``\\ No newline at end of file``, which speaks of the line before it."""
        mark = self._lines[self._at - 1][:1]
        for side, marks in ((old, b" -"), (new, b" +")):
            if mark in (marks[:1], marks[1:]) and side:
                side[-1] = side[-1].removesuffix(b"\n")
