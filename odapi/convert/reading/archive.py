"""The `.keras` archive: two JSON files and the weights, nothing else, and no larger than said."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from odapi.console.errors import UserError
from odapi.convert.reading.text import MAX_CONFIG_BYTES, one_line

CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"
MAX_METADATA_BYTES = 1 << 20
MAX_WEIGHT_EXPANSION = 100
"""How many times their packed size the weights may have; Keras itself stores them as they are."""

_MAX_READ = 1 << 17
"""Bytes that `zipfile` reads at once to open a file: its end, with a comment, is most. The table
of contents has three entries of some 100 bytes, and Python would read any into objects ten times as
large before anyone can look."""
_BLOCK = 1 << 20
_ENCRYPTED = 0x1
_PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DAMAGED = (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, zlib.error)
"""What `zipfile` raises where an archive contradicts itself."""


class Archive:
    """A `.keras` file whose members have been looked at, and whose JSON has been read.

    Attributes:
        config: the architecture, as text.
        metadata: `metadata.json`, as text.
    """

    def __init__(self, path: Path) -> None:
        """Opens an archive.

        Raises:
            UserError: it is damaged, or holds what a Keras model does not.
        """
        self._path = path
        try:
            with path.open("rb") as stream:
                limited = _LimitedReader(stream)
                archive = zipfile.ZipFile(limited)
                limited.limit = None
                self._members = _checked(archive, path)
                self.config = self._text(archive, CONFIG)
                self.metadata = self._text(archive, METADATA)
        except _DAMAGED as error:
            raise _damaged(path, error) from None

    def unpack_weights(self, target: Path) -> None:
        """Writes the weights to a file.

        Raises:
            UserError: they are damaged, or the file cannot be written.
        """
        try:
            output = target.open("wb")
        except OSError as error:
            raise _cannot_unpack(target, error) from None
        with output, zipfile.ZipFile(self._path) as archive:
            try:
                stream = archive.open(self._members[WEIGHTS])
            except _DAMAGED as error:
                raise _damaged(self._path, error) from None
            while block := self._block(stream):
                try:
                    output.write(block)
                except OSError as error:
                    raise _cannot_unpack(target, error) from None

    def _block(self, stream: zipfile.ZipExtFile) -> bytes:
        try:
            return stream.read(_BLOCK)
        except _DAMAGED as error:
            raise _damaged(self._path, error) from None

    def _text(self, archive: zipfile.ZipFile, name: str) -> str:
        # Python's zipfile goes no further than the size that the directory declares.
        return archive.read(self._members[name]).decode("utf-8")


class _LimitedReader:
    """A file of which `zipfile` reads no more at a time than `limit`, whatever the file says.

    An archive declares the size of its table of contents in three places, and which of them counts
    is for `zipfile` to know.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.limit: int | None = _MAX_READ
        self.seek, self.tell = stream.seek, stream.tell

    def seekable(self) -> bool:
        """As every file is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Reads, or raises ValueError for more than an archive of three members takes."""
        if self.limit is None:
            return self._stream.read(size)
        data = self._stream.read(self.limit + 1 if size < 0 else min(size, self.limit + 1))
        if len(data) > self.limit:
            raise ValueError(f"a table of contents of more than {self.limit:,} bytes")
        return data


def _checked(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The three members by name.

    Raises:
        UserError: there are others, or one of them is not what Keras writes.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    size = path.stat().st_size
    for member in archive.infolist():
        name = member.filename
        if name not in (CONFIG, METADATA, WEIGHTS):
            raise _foreign(path, f"the member {name!r}")
        if name in members:
            raise _foreign(path, f"the member {name!r} twice")
        if member.flag_bits & _ENCRYPTED:
            raise _foreign(path, f"the member {name!r}, encrypted")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise _foreign(path, f"the member {name!r}, a link")
        if member.compress_type not in _PACKED:
            raise _foreign(path, f"the member {name!r}, packed by method {member.compress_type}")
        most = {
            CONFIG: MAX_CONFIG_BYTES,
            METADATA: MAX_METADATA_BYTES,
            WEIGHTS: MAX_CONFIG_BYTES + MAX_WEIGHT_EXPANSION * member.compress_size,
        }[name]
        if member.compress_size > size:
            raise _foreign(path, f"{member.compress_size:,} bytes of {name!r}, in {size:,}")
        if member.file_size > most:
            raise _foreign(path, f"{member.file_size:,} bytes of {name!r}, at most {most:,}")
        members[name] = member
    if missing := [name for name in (CONFIG, METADATA, WEIGHTS) if name not in members]:
        raise UserError(
            "the file is not a Keras model",
            at=f"{path}: no {missing[0]}",
            hint="save it with model.save('model.keras')",
        )
    return members


def _foreign(path: Path, what: str) -> UserError:
    return UserError(
        f"the archive holds what a Keras model does not: {what}",
        at=str(path),
        hint=f"a .keras file has {CONFIG}, {METADATA} and {WEIGHTS}: save it again with "
        "model.save('model.keras')",
    )


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"the archive is damaged: {one_line(error)}", at=str(path), hint="copy it again"
    )


def _cannot_unpack(target: Path, error: OSError) -> UserError:
    return UserError(
        f"the weights cannot be unpacked: {error.strerror}",
        at=str(target.parent),
        hint="free some space, or set TMPDIR to a folder that has some",
    )
