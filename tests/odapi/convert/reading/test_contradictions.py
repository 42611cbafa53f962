"""Containers that contradict themselves: HDF5, zip, SavedModel; and what stands in place of a file.

Where native code would end the process, a control shows in a process of its own that it does.
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tensorflow.core.protobuf import tensor_bundle_pb2

from odapi.console.errors import UserError
from odapi.convert.reading import bundle, saved_model
from odapi.convert.source import load_classifier
from tests.odapi.convert.reading import mutations
from tests.odapi.convert.reading.networks import archive, config, load, refusal

INDEX = "variables/variables.index"
DATA = "variables/variables.data-00000-of-00001"


def _varint(number: int) -> bytes:
    low = number & 0x7F
    return bytes([low]) if number < 0x80 else bytes([low | 0x80]) + _varint(number >> 7)


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    body, restarts = b"", []
    for key, value in entries:
        restarts.append(len(body))
        body += _varint(0) + _varint(len(key)) + _varint(len(value)) + key + value
    restarts = restarts or [0]
    return body + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def _table(entries: list[tuple[bytes, bytes]]) -> bytes:
    """An index as TensorFlow writes it, of any entries, with the right checksums."""
    out = b""

    def put(block: bytes) -> bytes:
        nonlocal out
        handle = _varint(len(out)) + _varint(len(block))
        out += block + b"\0" + struct.pack("<I", mutations._checksum(block + b"\0"))
        return handle

    data, empty = put(_block(entries)), put(_block([]))
    footer = empty + put(_block([(b"\xff", data)]))
    return out + footer.ljust(40, b"\0") + struct.pack("<Q", bundle._MAGIC)


def _header(shards: int = 1) -> tuple[bytes, bytes]:
    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=shards)
    header.version.producer = 1
    return b"", header.SerializeToString()


def _entry(sides: list[int], **fields: Any) -> tuple[bytes, bytes]:
    entry = tensor_bundle_pb2.BundleEntryProto(**{"dtype": 1, "size": 8, **fields})
    for side in sides:
        entry.shape.dim.add(size=side)
    return b"weight", entry.SerializeToString()


ENDING = {
    "no message": [_header(), (b"weight", b"\xff\xff\xff")],
    "negative": [_header(), _entry([-5])],
    "overflow": [_header(), _entry([2**62, 2**62])],
    "rank": [_header(), _entry([1] * 300)],
}
"""Indexes on which TensorFlow's own reader ends the process."""
WRONG = {
    **ENDING,
    "type": [_header(), _entry([2], dtype=77)],
    "size": [_header(), _entry([3])],
    "beyond": [_header(), _entry([2], offset=2**40)],
    "shard": [_header(), _entry([2], shard_id=3)],
    "no header": [_entry([2])],
    "shards": [_header(2**31 - 1), _entry([2])],
    "order": [_header(), _entry([2]), _entry([2])],
    "texts": [_header(), _entry([2**40], dtype=7)],
    "long text": [_header(), _entry([], dtype=7, size=20)],
}


@pytest.mark.parametrize("name", WRONG)
def test_an_index_that_tensorflow_would_not_write(folder, name):
    (folder / "2" / INDEX).write_bytes(_table(WRONG[name]))

    error = refusal(lambda: load_classifier(str(folder / "2")))

    assert "cannot be read" in error.message and "variables" in error.at


def test_without_the_look_the_process_ends(folder):
    (folder / "2" / INDEX).write_bytes(_table(ENDING["negative"]))
    prefix = str(folder / "2" / saved_model.CHECKPOINT)
    read = f"import tensorflow as tf; tf.train.load_checkpoint({prefix!r})"

    ended = subprocess.run([sys.executable, "-c", read], capture_output=True, check=False)

    assert ended.returncode == -signal.SIGABRT


def test_what_the_look_finds_is_what_tensorflow_finds(whole):
    import tensorflow as tf

    prefix = whole / "2" / saved_model.CHECKPOINT
    reader = tf.train.load_checkpoint(str(prefix))

    found = {tensor.name: (list(tensor.shape), tensor.dtype) for tensor in bundle.tensors(prefix)}

    types = reader.get_variable_to_dtype_map()
    assert found == {
        name: (shape, types[name]) for name, shape in reader.get_variable_to_shape_map().items()
    }
    assert len(found) > 6


@pytest.mark.parametrize("name", ["keras_metadata.pb", INDEX, DATA, "saved_model.pb"])
@pytest.mark.parametrize("what", ["pipe", "folder", "link"])
def test_what_stands_in_place_of_a_member(folder, name, what):
    member = folder / "2" / name
    member.rename(folder / "real")
    if what == "pipe":
        os.mkfifo(member)
    elif what == "folder":
        member.mkdir()
    else:
        member.symlink_to(folder / "real")

    error = refusal(lambda: load_classifier(str(folder / "2")))

    assert "no file" in error.message or "link" in error.message or "no SavedModel" in error.message


@pytest.mark.parametrize("name", ["model.json", "model.h5", "model.keras"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)

    error = refusal(lambda: load_classifier(str(tmp_path / name), "weights.h5"))

    assert "neither a file nor a folder" in error.message


def test_metadata_of_nothing_but_nodes(folder):
    (folder / "2" / "keras_metadata.pb").write_bytes(b"\x0a\x00" * (saved_model.MAX_NODES + 1))

    assert "nodes" in refusal(lambda: load_classifier(str(folder / "2"))).message


def _packed(folder: Path, zeros: int) -> Path:
    """A `.keras` file of Keras 3 with so many megabytes of zeros after its weights, packed."""
    target = folder / "packed.keras"
    with (
        zipfile.ZipFile(folder / "3.keras") as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            with new.open(name, "w") as member:
                member.write(old.read(name))
                for _ in range(zeros if name.endswith(".h5") else 0):
                    member.write(bytes(1 << 20))
    return target


def test_an_archive_that_says_more_of_itself_than_it_has(folder):
    target = _packed(folder, 200)
    data = bytearray(target.read_bytes())
    at = data.rfind(b"PK\x01\x02")  # the last entry: the packed size in the table of contents
    while b"model.weights.h5" not in data[at + 46 : at + 62]:
        at = data.rfind(b"PK\x01\x02", 0, at)
    data[at + 20 : at + 24] = struct.pack("<I", 2**31 - 1)
    target.write_bytes(data)

    error = refusal(lambda: load_classifier(str(target)))

    assert "2,147,483,647" in error.message


@pytest.mark.parametrize("hidden", [False, True])
def test_a_long_table_of_contents_is_not_read(folder, hidden):
    """Hidden: the signature stands in the end record itself, so that a search finds it too late."""
    target = folder / "many.keras"
    with zipfile.ZipFile(target, "w") as new:
        for number in range(20_000):
            new.writestr(f"{number:0100}", b"")
    data = bytearray(target.read_bytes())
    if hidden:
        data[-18:-14] = b"PK\x05\x06"
        target.write_bytes(data)
        with zipfile.ZipFile(target) as whole:
            assert len(whole.namelist()) == 20_000

    assert "table of contents" in refusal(lambda: load_classifier(str(target))).message


def test_large_configurations_are_read_whole(folder):
    """The bound is for the table of contents alone."""
    target = archive(
        folder / "3.keras",
        folder / "long.keras",
        lambda name, old: old + b" " * (1 << 20) if name == "config.json" else old,
    )

    assert load_classifier(str(target)).model.count_params() > 0


def test_packed_data_sets_in_a_packed_archive(folder):
    """Each is packed a hundredfold, which is allowed, and together ten thousandfold."""
    inner = folder / "inner.h5"
    archive(
        folder / "3.keras",
        folder / "unused.keras",
        lambda name, old: inner.write_bytes(old) and old if name.endswith(".h5") else old,
    )
    with h5py.File(inner, "r+") as file:
        noise = np.random.default_rng(0).bytes(400)
        values = np.frombuffer((noise + bytes(40_000 - 400)) * 100, "u1")
        for number in range(40):
            file.create_dataset(f"more{number}", data=values, compression="gzip", chunks=(40_000,))
    target = folder / "packed.keras"
    with (
        zipfile.ZipFile(folder / "3.keras") as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, inner.read_bytes() if name.endswith(".h5") else old.read(name))

    assert "for its size" in refusal(lambda: load_classifier(str(target))).message


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (h5py.vlen_dtype(np.int8), np.zeros(3, np.int8)),
        (np.dtype([("a", "i4"), ("b", "f8")]), (1, 2.0)),
    ],
    ids=["lists", "records"],
)
def test_attributes_of_other_things_than_numbers_and_texts(folder, dtype, value):
    values = np.empty(2, object if dtype.kind == "O" else dtype)
    values[:] = [value, value]
    with h5py.File(folder / "2.weights.h5", "r+") as file:
        file.attrs.create("layer_names", values, dtype=dtype)

    error = refusal(lambda: load(folder, config(folder, 2)))

    assert "layer_names" in error.message


def test_two_data_sets_of_the_same_bytes(folder):
    """Eight of them declare eight times what there is."""
    path = folder / "2.weights.h5"
    with h5py.File(path, "w") as file:
        place = file.create_dataset("real", data=np.ones(1 << 18, "f4")).id.get_offset()
        for count in range(1001, 1009):
            file.create_dataset(f"w{count}", data=np.full(count, 2, "f4"))
        others = {count: file[f"w{count}"].id.get_offset() for count in range(1001, 1009)}
    data = path.read_bytes()
    for count, other in others.items():
        for old, new in ((other, place), (count, 1 << 18), (4 * count, 1 << 20)):
            data = data.replace(struct.pack("<Q", old), struct.pack("<Q", new))
    path.write_bytes(data)
    with h5py.File(path) as file:  # libhdf5 has nothing against it
        assert all((file[f"w{count}"][()] == 1).all() for count in others)

    error = refusal(lambda: load(folder, config(folder, 2)))

    assert "more than there is in the file" in error.message


def test_a_damaged_chunk(folder):
    with h5py.File(folder / "2.h5", "r+") as file:
        name = next(name for name in _all(file) if name.endswith("kernel:0"))
        values = file[name][()]
        del file[name]
        file.create_dataset(name, data=values, compression="gzip")
        at = file[name].id.get_chunk_info(0).byte_offset
    data = bytearray((folder / "2.h5").read_bytes())
    data[at : at + 40] = b"\x55" * 40
    (folder / "2.h5").write_bytes(data)

    with pytest.raises(UserError, match="filter"):
        load_classifier(str(folder / "2.h5"))


def _all(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names
