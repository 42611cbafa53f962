"""The index of a TensorFlow checkpoint, read in Python before TensorFlow's own reader sees it.

TensorFlow takes its indexes for its own work: an entry that is no message, or a negative side of a
shape, ends the process (`CHECK failed`), and no `except` sees that. What passes here has the one
form that TensorFlow writes.

The format is LevelDB's table (`tensorflow/core/lib/io/table_format.txt`), uncompressed: entries of
a key and a message, in blocks, and an index block that says where those are.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import tensor_bundle_pb2

MAX_INDEX_BYTES = 64 << 20
"""EfficientNetV2L's, with its optimizer, has 300 kB."""

_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER = 5
"""Bytes after a block: how it is packed, and its checksum, which TensorFlow compares."""
_MAX_RANK = 254


class DamagedIndex(Exception):
    """What is wrong with an index."""


@dataclass(frozen=True)
class TensorEntry:
    """What an index says of a tensor.

    Attributes:
        name: in the checkpoint.
        dtype: of its values.
        shape: its sides.
    """

    name: str
    dtype: tf.DType
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def tensors(prefix: Path) -> list[TensorEntry]:
    """The tensors of a checkpoint, each of which its data files hold.

    Args:
        prefix: of its files.

    Raises:
        DamagedIndex: the index is not one that TensorFlow writes, or says what is not so.
        OSError: a file cannot be read.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    if index.stat().st_size > MAX_INDEX_BYTES:
        raise DamagedIndex(f"an index of {index.stat().st_size:,} bytes")
    entries = _table(index.read_bytes())
    header = tensor_bundle_pb2.BundleHeaderProto()
    _, first = next(entries, (b"?", b""))
    _parse(header, first, "header")
    shards = sorted(prefix.parent.glob(f"{prefix.name}.data-?????-of-?????"))
    if header.endianness != 0 or not 0 < header.num_shards == len(shards):
        raise DamagedIndex(
            f"its index speaks of {header.num_shards} data files, found {len(shards)}"
        )
    return [_tensor(key, value, shards) for key, value in entries]


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table, in order; the first key is empty: the header's."""
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise DamagedIndex("its index does not end as one")
    reader = _ByteReader(data[-_FOOTER:-8])
    for _ in range(2):  # of the block of filters, which is empty, and is opened all the same
        handle = reader.varint(), reader.varint()
        blocks = _entries(_block(data, *handle))
    last = None
    for _, value in blocks:
        reader = _ByteReader(value)
        for key, found in _entries(_block(data, reader.varint(), reader.varint())):
            if (last is None) != (key == b"") or (last is not None and key <= last):
                raise DamagedIndex("its index is not in order")
            last = key
            yield key, found


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER > len(data) - _FOOTER or data[end] != 0:
        raise DamagedIndex("its index has a block that is packed, or is not there")
    return data[offset:end]


def _entries(block: bytes) -> list[tuple[bytes, bytes]]:
    """Keys, which go on from the one before, and values of a block."""
    count = struct.unpack("<I", block[-4:])[0] if len(block) >= 4 else 0
    end = len(block) - 4 * (count + 1)
    if count < 1 or end < 0:
        raise DamagedIndex("its index has a block without a beginning")
    restarts = struct.unpack(f"<{count}I", block[end:-4])
    reader, key, found, whole = _ByteReader(block[:end]), b"", [], {0}
    while reader.position < end:
        start = reader.position
        shared, rest, length = reader.varint(), reader.varint(), reader.varint()
        if shared > len(key):
            raise DamagedIndex("its index has a name that goes on from nothing")
        if shared == 0:
            whole.add(start)
        key = key[:shared] + reader.take(rest)
        found.append((key, reader.take(length)))
    # From these TensorFlow begins to read.
    if restarts[0] != 0 or not whole.issuperset(restarts):
        raise DamagedIndex("its index begins where no entry does")
    return found


class _ByteReader:
    """Bytes that are read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        """The next bytes, all of them there."""
        if count > len(self._data) - self.position:
            raise DamagedIndex("its index ends in the middle of an entry")
        self.position += count
        return self._data[self.position - count : self.position]

    def varint(self) -> int:
        """The next number, of 32 bits as all of these have."""
        number = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                if number >= 1 << 32:
                    break
                return number
        raise DamagedIndex("its index has a number that is too large")


def _parse(message: object, value: bytes, name: str) -> None:
    try:
        message.ParseFromString(value)
    except DecodeError:
        raise DamagedIndex(f"its index has no message for {name!r}") from None


def _tensor(key: bytes, value: bytes, shards: list[Path]) -> TensorEntry:
    name = key.decode(errors="replace")
    entry = tensor_bundle_pb2.BundleEntryProto()
    _parse(entry, value, name)
    sides = tuple(side.size for side in entry.shape.dim)
    if entry.slices or entry.shape.unknown_rank or len(sides) > _MAX_RANK:
        raise DamagedIndex(f"{name!r} is in slices, or has no shape")
    if min(sides, default=0) < 0 or math.prod(max(1, side) for side in sides) >= 1 << 62:
        raise DamagedIndex(f"{name!r} has the shape {'x'.join(map(str, sides[:8]))}")
    try:
        dtype = tf.dtypes.as_dtype(entry.dtype)
    except TypeError:
        raise DamagedIndex(f"{name!r} has the type {entry.dtype}") from None
    tensor = TensorEntry(name, dtype, sides)
    if not 0 <= entry.shard_id < len(shards) or entry.offset < 0 or entry.size < 0:
        raise DamagedIndex(f"{name!r} is in a file that is not there")
    file = shards[entry.shard_id]
    if entry.offset + entry.size > file.stat().st_size:
        raise DamagedIndex(f"{name!r} declares {entry.size:,} bytes that {file.name} does not hold")
    if dtype == tf.string:
        _check_texts(tensor, file, entry.offset, entry.size)
    elif not dtype.is_numpy_compatible or entry.size != tensor.count * dtype.size:
        raise DamagedIndex(
            f"{name!r} has {entry.size:,} bytes for {tensor.count:,} of {dtype.name}"
        )
    return tensor


def _check_texts(tensor: TensorEntry, file: Path, offset: int, size: int) -> None:
    """Texts have their lengths before them, which TensorFlow makes room for."""
    if tensor.count > size:
        raise DamagedIndex(f"{tensor.name!r} has {size:,} bytes for {tensor.count:,} texts")
    with file.open("rb") as stream:
        stream.seek(offset)
        reader = _ByteReader(stream.read(min(size, 10 * tensor.count)))
    lengths = sum(reader.varint() for _ in range(tensor.count))
    if reader.position + 4 + lengths != size:
        raise DamagedIndex(f"{tensor.name!r} has {size:,} bytes for texts of {lengths:,}")
