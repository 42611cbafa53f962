"""Ways to break the engine, for the negative controls: without these rules a crash does harm."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import patchqueue.export
import patchqueue.files
import patchqueue.tree


def without_exchange() -> None:
    """As on a file system that cannot exchange two names: not a fault, another way to swap."""
    patchqueue.files._exchange = lambda first, second: False


def build_in_place() -> None:
    """Write into the target itself, instead of beside it with a swap at the end."""

    @contextlib.contextmanager
    def staging(target: Path) -> Iterator[Path]:
        patchqueue.files.shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        yield target

    patchqueue.tree.staging_beside = staging
    patchqueue.tree.swap_into_place = lambda new, target, keep=None: None


def export_in_place() -> None:
    """Write the entries where they belong one after the other, instead of beside them."""

    @contextlib.contextmanager
    def staging(target: Path) -> Iterator[Path]:
        yield target

    def copy_nothing(*arguments, **options):
        for path in arguments[0].glob("*/*"):
            patchqueue.files.shutil.rmtree(path) if path.is_dir() else path.unlink()

    patchqueue.export.staging_beside = staging
    patchqueue.export.shutil = SimpleNamespace(copytree=copy_nothing)
    patchqueue.export.swap_into_place = lambda new, target: None


def export_stamped_early() -> None:
    """Vouch for the tree's commits before the patches that hold them are written."""
    write = patchqueue.export._write
    write_stamp = patchqueue.tree.BuiltTree.write_stamp
    late: list[tuple] = []

    def pretend(*arguments):
        late.append(arguments)
        return patchqueue.export.ExportReport(0, "0" * 40, (), (), (), True)

    def stamp_then_write(self, stamp):
        write_stamp(self, stamp)
        write(*late.pop())

    patchqueue.export._write = pretend
    patchqueue.tree.BuiltTree.write_stamp = stamp_then_write
