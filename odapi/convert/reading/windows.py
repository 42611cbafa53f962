r"""Weights that Keras wrote on Windows, where it joins the names in HDF5 by `\`.

HDF5's own separator is `/` everywhere. Keras on another system looks for `layers/conv2d`, and the
file has one group of the name `layers\conv2d`.
"""

from __future__ import annotations

from pathlib import Path

import h5py

from odapi.console.errors import UserError
from odapi.convert.reading import hdf5

_SEPARATOR = "\\"


def is_from_windows(file: h5py.File) -> bool:
    """Whether names in an open file are joined as Windows does."""
    return any(_SEPARATOR in key for key in file)


def copy_with_slashes(source: Path, target: Path, display_name: str) -> None:
    """Writes a file of weights once more, its names joined by `/`.

    The file itself is only read: it is somebody else's, and may be damaged.

    Args:
        source: an HDF5 file by Keras' structure.
        target: path of the copy.
        display_name: of the source, in messages.

    Raises:
        UserError: two of its names become one, or there is no room for the copy.
    """
    with hdf5.open_checked(source, display_name) as file:
        try:
            with h5py.File(target, "w") as copy:
                copy.create_group("vars")  # of the model itself, which has none, and is looked for
                file.visititems(lambda name, item: _copy_item(name, item, copy, display_name))
        except OSError as error:
            raise UserError(
                f"the weights cannot be copied: {error}",
                at=str(target.parent),
                hint="free some space, or set TMPDIR to a folder that has some",
            ) from None


def _copy_item(
    name: str, item: h5py.Group | h5py.Dataset, copy: h5py.File, display_name: str
) -> None:
    name = name.replace(_SEPARATOR, "/")
    if isinstance(item, h5py.Group):
        copy.require_group(name)  # Keras looks for those of layers without weights, too
    elif name in copy:
        raise UserError(
            f"the weights file has {name} twice",
            at=display_name,
            hint="save the weights again with Keras",
        )
    else:
        copy[name] = item[()]
