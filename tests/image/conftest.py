"""The image, built from the project's Dockerfile with the CPU lock, without an image registry.

What python:3.11-slim-bookworm would be is made by mmdebstrap. That, the wheels and the layers are
kept below ~/.cache/odapi-keras-image, from where

    podman --root images --runroot run rmi --all --force

frees the disk of the layers; the rest may be deleted as it is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image import material
from tests.image.podman import Podman

ROOT = Path(__file__).parents[2]
BASE = "localhost/odapi-base"
IMAGE = "localhost/odapi-keras"
REQUIREMENTS = "requirements/cpu.lock"

Build = Callable[..., str]
"""build(context, name, **build_arguments) returns the log."""


@pytest.fixture(scope="session")
def podman() -> Podman:
    """podman, or a skip that says what is missing."""
    missing = [tool for tool in ("podman", "runc", "mmdebstrap") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian packages of these names)")
    if os.geteuid():
        pytest.skip("mmdebstrap and podman are run as root here")
    return Podman(material.cache())


@pytest.fixture(scope="session")
def base(podman: Podman) -> str:
    """The base image."""
    archive = material.base_system()
    name = f"{BASE}:{archive.stem}"
    if name not in podman("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines():
        podman("import", archive, name)
    return name


@pytest.fixture(scope="session")
def build(podman: Podman, base: str, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds a Dockerfile as a user behind a package mirror would: a pip.conf as a secret."""
    folder = tmp_path_factory.mktemp("build")
    pip, sources, settings = (folder / name for name in ("pip.conf", "sources.list", "apt.conf"))
    pip.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    sources.write_text("\n".join(material.apt_sources()) + "\n")
    settings.write_text(material.apt_settings())
    mounts = {
        material.wheels(ROOT / REQUIREMENTS): "/wheels",
        sources: "/etc/apt/sources.list",
        settings: "/etc/apt/apt.conf.d/99host",
        material.CA_BUNDLE: material.CA_BUNDLE,
    }
    options = [f"--secret=id=pip,src={pip}"]
    options += [f"--volume={source}:{target}:ro" for source, target in mounts.items()]

    def run(context: Path, name: str, **arguments: str) -> str:
        all_arguments = {"BASE_IMAGE": base, "REQUIREMENTS": REQUIREMENTS} | arguments
        return podman.build(context, name, all_arguments, options)

    return run


@pytest.fixture(scope="session")
def image(build: Build) -> str:
    """The image, in the state of this checkout."""
    build(ROOT, IMAGE)
    return IMAGE
