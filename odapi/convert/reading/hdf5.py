"""HDF5 files of weights: only numbers, only in this file, and no more than it holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from odapi.console.errors import UserError
from odapi.convert.reading.text import one_line

MAX_OBJECTS = 30_000
"""Groups and data sets, at 0.3 ms each; EfficientNetV2L with its optimizer has 6,000."""
MAX_ATTRIBUTE_BYTES = 64 << 20
"""The largest is the architecture of a whole model: 3 MB for EfficientNetV2L."""
MAX_TEXT_BYTES = 1 << 30
"""Of names, if each were as long as all that is no weight in the file."""
MAX_EXPANSION = 100
"""How many times its stored size a compressed data set may have. Weights give 1.1, zeros 1,000."""
_SMALL = 1 << 20
"""Bytes below which nothing needs a bound."""
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_LZF,
}
_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, UnicodeError)
"""What h5py raises where a file contradicts itself."""


@dataclass(frozen=True)
class DatasetInfo:
    """A data set: its path in the file, its shape, and its bytes when read."""

    name: str
    shape: tuple[int, ...]
    size: int

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def open_checked(path: Path, display_name: str | None = None) -> h5py.File:
    """Opens a file and looks at everything in it but the values.

    Args:
        path: of the file.
        display_name: its name in messages, if that is another one.

    Raises:
        UserError: it is damaged, or holds or links to what is no weight.
    """
    display_name = display_name or str(path)
    try:
        file = h5py.File(path)
    except OSError as error:  # truncated: the signature is there and the rest is not
        raise _damaged(display_name, error) from None
    try:
        list_datasets(file, display_name)
    except BaseException:
        file.close()
        raise
    return file


def list_datasets(file: h5py.File, path: str) -> list[DatasetInfo]:
    """The data sets of a file, after everything in it was looked at but the values.

    Raises:
        UserError: as `open_checked`.
    """
    try:
        return list(_walk(file, path))
    except _DAMAGED as error:
        raise _damaged(path, error) from None


def _walk(file: h5py.File, path: str) -> Iterator[DatasetInfo]:
    seen = {_address(file["/"])}
    pending: list[tuple[str, h5py.Group]] = [("", file["/"])]
    attributes = _Attributes(path)
    attributes.add(file["/"], "/")
    remaining = file.id.get_filesize()
    while pending:
        prefix, group = pending.pop()
        for key in group:
            name = f"{prefix}/{key}"
            item = _linked(group, key, name, path)
            if _address(item) in seen:
                raise _refused(path, name, "is linked from two places, or holds itself")
            seen.add(_address(item))
            if len(seen) > MAX_OBJECTS:
                raise _refused(path, name, f"is one of more than {MAX_OBJECTS:,} objects")
            attributes.add(item, name)
            if isinstance(item, h5py.Group):
                pending.append((name, item))
            else:
                remaining -= item.id.get_storage_size()
                if remaining < 0:  # two data sets may say that the same bytes are theirs
                    raise _refused(path, name, "is more than there is in the file")
                yield _dataset(item, name, path)
    attributes.check_references(remaining)


def _linked(group: h5py.Group, key: str, name: str, path: str) -> h5py.Group | h5py.Dataset:
    link = group.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink):
        where = getattr(link, "filename", None) or getattr(link, "path", "elsewhere")
        raise _refused(path, name, f"is a link to {where!r}, and only what is in the file is read")
    item = group[key]
    if not isinstance(item, h5py.Group | h5py.Dataset):
        raise _refused(path, name, "is neither a group nor a data set")
    return item


def _address(item: h5py.Group | h5py.Dataset) -> int:
    return h5py.h5o.get_info(item.id).addr


def _dataset(item: h5py.Dataset, name: str, path: str) -> DatasetInfo:
    layout = item.id.get_create_plist()
    if layout.get_external_count() or item.is_virtual:
        raise _refused(path, name, "has its values in another file")
    if item.dtype.kind not in "fiub" or item.shape is None:
        raise _refused(path, name, f"holds {item.dtype}, and weights are numbers")
    filters = {layout.get_filter(index)[0] for index in range(layout.get_nfilters())}
    if filters - _FILTERS:
        raise _refused(path, name, f"is packed by filter {min(filters - _FILTERS)}")
    size = math.prod(item.shape) * item.dtype.itemsize
    stored = item.id.get_storage_size()
    if size > max(_SMALL, stored * (MAX_EXPANSION if filters else 1)) or (size and not stored):
        raise _refused(
            path,
            name,
            f"declares {size:,} bytes ({_by(item.shape)}), and the file holds {stored:,}",
        )
    if item.chunks and math.prod(item.chunks) * item.dtype.itemsize > max(_SMALL, 2 * size):
        raise _refused(path, name, f"is kept in pieces of {_by(item.chunks)}, larger than itself")
    return DatasetInfo(name, item.shape, size)


class _Attributes:
    """The attributes of a file's objects: their sizes are looked at before any is read."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._references: list[tuple[str, int]] = []

    def add(self, item: h5py.Group | h5py.Dataset, name: str) -> None:
        """Looks at those of an object.

        Raises:
            UserError: one is too large.
        """
        for key in item.attrs:
            attribute = item.attrs.get_id(key)
            count = math.prod(attribute.shape or ())
            place = f"{name}, attribute {key!r}"
            text = h5py.check_string_dtype(attribute.dtype)
            if text is None and attribute.dtype.kind not in "fiub":
                # Lists within, whose lengths stand elsewhere, and references to other objects.
                raise _refused(self._path, place, f"holds {attribute.dtype}")
            if text is not None and text.length is None:
                self._references.append((place, count))
            elif (size := count * attribute.dtype.itemsize) > MAX_ATTRIBUTE_BYTES:
                raise _refused(self._path, place, f"has {size:,} bytes")

    def check_references(self, remaining: int) -> None:
        """Looks at texts that stand elsewhere in the file, where many may share a long one.

        Args:
            remaining: bytes of the file that are no weights: no text is longer.

        Raises:
            UserError: they may come to too much.
        """
        for name, count in self._references:
            if count * remaining > MAX_TEXT_BYTES:
                raise _refused(self._path, name, f"may have {count * remaining:,} bytes")


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _refused(path: str, name: str, reason: str) -> UserError:
    return UserError(
        f"the weights file holds what is no weight: {name} {reason}",
        at=f"{path}, {name}",
        hint="save the weights again with Keras: model.save_weights(...) or model.save(...)",
    )


def _damaged(path: str, error: Exception) -> UserError:
    return UserError(f"the file is damaged: {one_line(error)}", at=path, hint="copy it again")
