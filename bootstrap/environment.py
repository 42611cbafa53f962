"""Puts the patched tree and the `odapi` command into the interpreter that runs this.

    python -m bootstrap.environment

writes two files, in that interpreter's own directories:

    site-packages/odapi.pth   import path: research, research/slim and the checkout; and
                              TF_USE_LEGACY_KERAS=1, unless the user has set it
    bin/odapi                 `python -m odapi`
"""

from __future__ import annotations

import argparse
import shlex
import sys
import sysconfig
from pathlib import Path

from bootstrap.errors import BuildError, run
from bootstrap.files import write_atomically

_ROOT = Path(__file__).resolve().parent.parent


def pth_text(root: Path) -> str:
    """The lines of `odapi.pth` for the checkout at `root`.

    Upstream's modules import each other as `object_detection.*` (below research/) and `nets.*`
    (below research/slim/). TensorFlow chooses between Keras 2 and 3 once, at its import, so the
    variable has to be there before any user code runs; a .pth file is read at every start.
    """
    research = root / "third_party/models/research"
    keras_2 = "import os; os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')"
    return "\n".join([str(research), str(research / "slim"), str(root), keras_2, ""])


def launcher_text(python: str) -> str:
    """A shell script that runs `odapi` with `python` and leaves the caller's directory alone.

    -P keeps the current directory off the import path: a user's own `tests` or `datasets`
    folder must not shadow a package. sh, because a `#!` line ends at the first space.
    """
    return f'#!/bin/sh\nexec {shlex.quote(python)} -P -m odapi "$@"\n'


def install(root: Path, site_packages: Path, scripts: Path, python: str) -> bool:
    """Writes both files where they differ from what they should be; returns whether it did."""
    try:
        pth = write_atomically(site_packages / "odapi.pth", pth_text(root))
        launcher = write_atomically(scripts / "odapi", launcher_text(python), mode=0o755)
    except OSError as error:
        hint = "make the directory writable, or build without --system"
        raise BuildError(error.strerror, error.filename, hint, 2) from error
    return pth or launcher


def main() -> int:
    argparse.ArgumentParser(
        prog="python -m bootstrap.environment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    paths = sysconfig.get_paths()
    changed = install(_ROOT, Path(paths["purelib"]), Path(paths["scripts"]), sys.executable)
    print(f"import path and odapi command written to {sys.prefix}" if changed else "up to date")
    return 0


if __name__ == "__main__":
    run(main)
