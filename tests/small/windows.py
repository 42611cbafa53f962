"""Model files as Keras writes them on Windows."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import h5py

_WEIGHTS = "model.weights.h5"


def rename_groups(archive: Path) -> None:
    """Gives the groups of a `.keras` file's weights the names that they have from Windows."""
    folder = archive.with_suffix(".unpacked")
    with zipfile.ZipFile(archive) as source:
        source.extractall(folder)
    copy_as_on_windows(folder / _WEIGHTS, folder / "windows.h5")
    with zipfile.ZipFile(archive, "w") as target:
        for name in ("metadata.json", "config.json"):
            target.write(folder / name, name)
        target.write(folder / "windows.h5", _WEIGHTS)
    shutil.rmtree(folder)


def copy_as_on_windows(source: Path, target: Path) -> None:
    """Copies HDF5 weights by structure, the names of layers' groups joined by backslashes."""
    with h5py.File(source) as file, h5py.File(target, "w") as copy:

        def rename(name: str, item: h5py.Dataset | h5py.Group) -> None:
            layer, slash, variable = name.partition("/vars")
            name = layer.replace("/", "\\") + slash + variable
            if isinstance(item, h5py.Dataset):
                copy[name] = item[()]
            elif not item.keys() or "vars" in item:
                copy.require_group(name)

        file.visititems(rename)
