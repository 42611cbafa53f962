"""What an image build takes from the network, fetched once and kept: a base system and wheels.

Registries are those that apt and pip are set up for on this machine. Their addresses are read when
they are needed, and go into files of the cache and of the test run only.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SUITE = "bookworm"
PYTHON = "3.11"
"""Debian bookworm's, and that of the Dockerfile's own base."""

PACKAGES = ("ca-certificates", "python3", "python3-venv")

# Takes back what mmdebstrap took from this machine, and puts places there over which a build can
# mount files: a mount over nothing would leave an empty file in every image.
TIDY = """
cd "$1"
rm -rf etc/apt/sources.list.d/* etc/apt/apt.conf.d/99mmdebstrap var/lib/apt/lists/*
: >etc/apt/sources.list
: >etc/apt/apt.conf.d/99host
: >etc/hostname
: >etc/resolv.conf
mkdir wheels
"""

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def cache() -> Path:
    """The folder that everything is kept in; may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "odapi-keras-image"


def apt_sources() -> list[str]:
    """The lines of sources.list for Debian's suite, from this machine's apt."""
    form = "deb $(SITE) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    lines = dict.fromkeys(_output(command).splitlines())
    found = [line for line in lines if line.split()[2].startswith(SUITE)]
    if not found:
        pytest.skip(f"apt on this machine has no Debian {SUITE} (apt-get update may find it)")
    return found


def apt_settings() -> str:
    """How this machine's apt reaches its sources: proxies, certificates, checks."""
    lines = _output(["apt-config", "dump", "--no-empty"]).splitlines()
    ours = re.compile(r"Acquire::(?!IndexTargets|Changelogs)")
    return "".join(f"{line}\n" for line in lines if ours.match(line))


def base_system() -> Path:
    """A root file system with Python, as an archive."""
    key = hashlib.sha256("\n".join([SUITE, *PACKAGES, TIDY]).encode()).hexdigest()[:12]
    archive = cache() / f"base-{key}.tar"
    if not archive.exists():
        _forget("base-*.tar")
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            settings = Path(folder, "apt.conf")
            settings.write_text(apt_settings())
            target = Path(folder, "base.tar")
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--aptopt={settings}"]
            command += [f"--include={','.join(PACKAGES)}", f"--customize-hook={TIDY}"]
            _output([*command, SUITE, str(target), *apt_sources()])
            target.rename(archive)
    return archive


def wheels(lock: Path) -> Path:
    """A folder with the wheels of a lock, each checked against its hash."""
    key = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = cache() / f"wheels-{key}"
    if not folder.exists():
        _forget("wheels-*")
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            target = Path(scratch, "wheels")
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
            command += ["--only-binary", ":all:", "--python-version", PYTHON, "--no-cache-dir"]
            _output([*command, "--dest", str(target), "-r", str(lock)])
            target.rename(folder)
    return folder


def registry_hosts() -> set[str]:
    """The hosts that apt and pip of this machine are told of, which no image may know."""
    told = [*apt_sources(), apt_settings()]
    told.append(_output([sys.executable, "-m", "pip", "config", "list"]))
    told += [value for key, value in os.environ.items() if "proxy" in key.lower()]
    return set(re.findall(r"\w+://(?:[^/@\s']*@)?([^/:\s']+)", "\n".join(told)))


def _forget(pattern: str) -> None:
    """Removes what an earlier recipe made."""
    cache().mkdir(parents=True, exist_ok=True)
    for path in cache().glob(pattern):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
