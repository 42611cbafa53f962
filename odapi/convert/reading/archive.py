"""The `.keras` archive: two JSON files and the weights, nothing else, and no larger than said."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path

from odapi.convert.reading.text import MAX_CONFIG_BYTES, one_line
from odapi.errors import UserError

CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"
MAX_METADATA_BYTES = 1 << 20
MAX_WEIGHT_EXPANSION = 100
"""How many times their packed size the weights may have; Keras itself stores them as they are."""

_MAX_DIRECTORY_BYTES = 1 << 16
"""The archive's table of contents: three entries of some 100 bytes. Python reads all of it into
objects ten times as large before anyone can look."""
_BLOCK = 1 << 20
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
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
        _check_directory(path)
        try:
            with zipfile.ZipFile(path) as archive:
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


def _check_directory(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - (1 << 16) - 42))
        tail = stream.read()
    end = tail.rfind(_END)
    declared = int.from_bytes(tail[end + 12 : end + 16], "little")
    # The directory of a large archive is declared elsewhere again, and that wins.
    if declared > _MAX_DIRECTORY_BYTES or (size < 1 << 32 and _END_64 in tail[: max(end, 0)]):
        raise _foreign(path, f"a table of contents of {declared:,} bytes")


def _checked(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The three members by name.

    Raises:
        UserError: there are others, or one of them is not what Keras writes.
    """
    members: dict[str, zipfile.ZipInfo] = {}
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
