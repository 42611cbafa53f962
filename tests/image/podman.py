"""podman, as far as the tests of the image need it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_LIMIT = 8192
"""Of open files and of processes: what any machine allows, and more than TensorFlow needs."""


class BuildFailed(Exception):
    """An image build ended with an error; the message is its whole log."""


class Podman:
    """Builds and runs images, in a storage of its own: the user's images are not touched.

    runc, because crun refuses a mixture of cgroup versions; cgroupfs and files instead of systemd
    and its journal, which a test machine need not run.
    """

    def __init__(self, storage: Path) -> None:
        self._command = ["podman", "--root", str(storage / "images")]
        self._command += ["--runroot", str(storage / "run"), "--runtime", "runc"]
        self._command += ["--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        # podman's defaults lie above what a machine may allow its root, who may be a container's.
        self._limits = []
        for name in ("nofile", "nproc"):
            self._limits += ["--ulimit", f"{name}={_LIMIT}:{_LIMIT}"]

    def __call__(self, *arguments: str | Path, timeout: float = 600) -> str:
        """Runs a podman command; returns its output. Fails the test if it does not end with 0."""
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, f"podman {arguments[0]}: {done.stdout}{done.stderr}"
        return done.stdout

    def build(
        self, context: Path, name: str, arguments: dict[str, str], options: Sequence[str]
    ) -> str:
        """Builds the Dockerfile of a folder, shows the log as it comes, and returns it.

        The network is the host's: a bridge needs tools and rights that a test machine may lack.

        Raises:
          BuildFailed: the build did.
        """
        command = [*self._command, "build", "--tag", name, "--network", "host", *self._limits]
        for key, value in arguments.items():
            command += ["--build-arg", f"{key}={value}"]
        log = []
        with subprocess.Popen(
            [*command, *options, context],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout:
                print(line, end="", flush=True)
                log.append(line)
        if process.returncode:
            raise BuildFailed("".join(log))
        return "".join(log)

    def start(self, image: str, *arguments: str, options: Sequence[str] = ()) -> subprocess.Popen:
        """Starts a container without network and returns the podman process in front of it."""
        command = [*self._command, "run", "--rm", "--network", "none", *self._limits, *options]
        return subprocess.Popen(
            [*command, image, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self, image: str, *arguments: str, options: Sequence[str] = (), timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Runs a container without network to its end; its two outputs are one."""
        with self.start(image, *arguments, options=options) as process:
            try:
                output, _ = process.communicate(timeout=timeout)
            finally:
                process.terminate()
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def inspect(self, image: str) -> dict[str, Any]:
        """Everything podman knows of an image."""
        return json.loads(self("image", "inspect", image))[0]
