"""From the pin to the pristine files: fetch, verify, read. Nothing is unpacked to disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from patchqueue.errors import ExitCode, QueueError
from patchqueue.files import write_atomic
from patchqueue.project import Pin, Project
from patchqueue.snapshot import (
    EXECUTABLE,
    FILE,
    Entry,
    Snapshot,
    path_clash,
    snapshot_id,
    unsafe_path,
)


def pristine_snapshot(project: Project, pin: Pin, archive: bytes | None = None) -> Snapshot:
    """Return the pinned files, from ``archive``, the cache or the package index.

    Raises:
      QueueError: exit code 3 if the archive or the tree in it is not the pinned one.
    """
    data = archive if archive is not None else _cached_or_fetched(project, pin)
    snapshot = read_archive(pin, data)
    found = snapshot_id(snapshot)
    if found != pin.tree:
        raise QueueError(
            ExitCode.HASH_MISMATCH,
            f"the archive's files are not the pinned tree\n  expected {pin.tree}\n"
            f"  found    {found}",
            at=project.show(project.pin_path),
            hint="the sha256 is right, so [snapshot] tree or [layout] in the pin is wrong",
        )
    return snapshot


def load_verified(project: Project, pin: Pin, path: Path) -> bytes:
    """Read an archive that the user named, check its sha256 and keep a copy in the cache."""
    try:
        data = _read_at_most(path, pin.size)
    except OSError as error:
        raise QueueError(
            ExitCode.USAGE, f"cannot read the archive: {error.strerror}", at=str(path)
        ) from error
    _check_hash(pin, data, str(path), f"get {pin.filename} anew and try again")
    cached = project.cache / pin.filename
    if not (cached.exists() and cached.read_bytes() == data):
        write_atomic(cached, data)
    return data


def read_archive(pin: Pin, data: bytes) -> Snapshot:
    """Read a source archive (``.tar.gz``) whose hash was checked, as the pin's layout maps it.

    A correct hash proves that the archive is the one somebody pinned, not that it is harmless:
    every member is checked, those that the layout leaves out too.

    Raises:
      QueueError: exit code 3 if it is damaged or hostile.
    """
    contents = read_contents(pin, data)
    if contents.missing:
        raise _refused(pin, f"lacks {', '.join(contents.missing)}")
    return contents.snapshot


@dataclass(frozen=True)
class Contents:
    """What a source archive holds."""

    snapshot: Snapshot
    missing: tuple[str, ...]
    """Entries of the pin's layout that are not in the archive."""
    unpacked: int
    """Size in bytes of the archive without compression."""
    metadata: bytes
    """``PKG-INFO``, or nothing."""


def read_contents(pin: Pin, data: bytes) -> Contents:
    """Read a source archive, complete or not.

    Raises:
      QueueError: exit code 3 if it is damaged or hostile.
    """
    try:
        return _read_tar(pin, _gunzip(data, pin))
    # ValueError: what tarfile lets through of a header with numbers that make no sense.
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise _refused(pin, f"cannot be read: {error}") from error


def _read_tar(pin: Pin, raw: bytes) -> Contents:
    names: list[str] = []
    snapshot: Snapshot = {}
    used: set[str] = set()
    metadata = b""
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
        last = -1
        for member in tar:
            if member.size < 0 or member.offset <= last:
                # tarfile would go back by that many bytes, and read the same members for ever.
                raise _refused(pin, f"holds {member.name!r} with a size of {member.size}")
            last = member.offset
            name = member.name.removesuffix("/")
            if reason := unsafe_path(name):
                raise _refused(pin, f"holds {name!r}: {reason}")
            if member.isdir():
                continue
            if not member.isreg() or member.sparse is not None:
                raise _refused(pin, f"holds {name!r}, which is a link, a device or sparse")
            names.append(name)
            inner = name.partition("/")[2]
            if inner == "PKG-INFO":
                metadata = tar.extractfile(member).read()
            for source, destination in pin.layout.items():
                if inner == source or inner.startswith(source + "/"):
                    content = tar.extractfile(member).read()
                    mode = EXECUTABLE if member.mode & 0o111 else FILE
                    snapshot[destination + inner[len(source) :]] = Entry(mode, content)
                    used.add(source)
    if clash := path_clash(names) or path_clash(snapshot):
        raise _refused(pin, f"holds names that clash: {clash}")
    return Contents(snapshot, tuple(sorted(pin.layout.keys() - used)), len(raw), metadata)


def _gunzip(data: bytes, pin: Pin) -> bytes:
    with gzip.open(io.BytesIO(data)) as stream:
        raw = stream.read(pin.unpacked_limit + 1)
    if len(raw) > pin.unpacked_limit:
        raise _refused(pin, f"unpacks to more than the {pin.unpacked_limit} bytes the pin allows")
    return raw


def _refused(pin: Pin, reason: str) -> QueueError:
    return QueueError(
        ExitCode.HASH_MISMATCH,
        f"the archive {reason}",
        at=pin.filename,
        hint="nothing was written; check what [archive] in the pin names",
    )


def _read_at_most(path: Path, size: int) -> bytes:
    """Read one byte more than expected, so that a longer file shows as a mismatch."""
    with path.open("rb") as file:
        return file.read(size + 1)


def _check_hash(pin: Pin, data: bytes, where: str, hint: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if len(data) > pin.size:
        found = f"another file, longer than {pin.size} bytes"
    if found != pin.sha256:
        raise QueueError(
            ExitCode.HASH_MISMATCH,
            f"the archive is not the pinned one (sha256)\n  expected {pin.sha256}\n"
            f"  found    {found}",
            at=where,
            hint=hint,
        )


def _cached_or_fetched(project: Project, pin: Pin) -> bytes:
    cached = project.cache / pin.filename
    if cached.exists():
        data = _read_at_most(cached, pin.size)
        if hashlib.sha256(data).hexdigest() == pin.sha256:
            return data
        print(f"{project.show(cached)} is damaged: fetching it again", file=sys.stderr)
    data = fetch(pin)
    write_atomic(cached, data)
    return data


def fetch(pin: Pin) -> bytes:
    """Download the source archive with pip.

    pip runs a source archive's ``setup.py`` to learn its metadata *while downloading*. With
    ``--require-hashes`` it compares the hash first, so that only the pinned archive is ever run.
    ``--no-binary`` names the one package: with ``:all:`` pip would build setuptools from source.

    Raises:
      QueueError: 1 it cannot be had; 3 the index serves another file.
    """
    print(f"fetching {pin.filename}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="patchqueue-") as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{pin.package}=={pin.version} --hash=sha256:{pin.sha256}\n")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
        command += ["--quiet", "--no-deps", "--no-binary", pin.package, "--require-hashes"]
        command += ["--requirement", str(requirements), "--dest", folder]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        path = Path(folder, pin.filename)
        if done.returncode == 0 and path.is_file():
            data = _read_at_most(path, pin.size)
            _check_hash(pin, data, pin.filename, "the package index served another file")
            return data
    if "DO NOT MATCH THE HASHES" in done.stderr:
        found = [line.split()[-1] for line in done.stderr.splitlines() if " Got " in line]
        raise QueueError(
            ExitCode.HASH_MISMATCH,
            f"the package index serves another archive (sha256)\n  expected {pin.sha256}\n"
            f"  found    {' '.join(found)}",
            at=f"{pin.package} {pin.version}",
            hint="do not trust it; give the right one with --archive FILE",
        )
    errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    reason = errors[-1] if errors else done.stderr.strip()[-500:]
    raise QueueError(
        ExitCode.FAILED,
        f"could not fetch the archive: {reason}",
        at=f"{pin.package} {pin.version}",
        hint=f"check the network, or give the file: --archive {pin.filename}",
    )
