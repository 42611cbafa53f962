"""HDF5 and zip files that hold what is no weight: refused by name, within bounds."""

from __future__ import annotations

import json
import resource
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from odapi.console.errors import UserError
from odapi.convert.source import load_classifier

KERNEL = "conv0/conv0/kernel:0"
Damage = Callable[[h5py.File, Path], None]


def refused(source: Path, weights: Path | None = None) -> UserError:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as caught:
        load_classifier(str(source), weights and str(weights))
    assert caught.value.exit_code == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kilobytes
    return caught.value


def _replaced(file: h5py.File, make: Callable[[h5py.Group], object]) -> None:
    del file[KERNEL]
    make(file)


def _external_storage(file: h5py.File, folder: Path) -> None:
    size = file[KERNEL].size * 4
    (folder / "secret").write_bytes(b"not for the checkpoint" * size)
    shape = file[KERNEL].shape
    external = [(str(folder / "secret"), 0, size)]
    _replaced(file, lambda f: f.create_dataset(KERNEL, shape=shape, dtype="f4", external=external))


def _virtual(file: h5py.File, folder: Path) -> None:
    shape = file[KERNEL].shape
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones(shape, "f4")
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "x", shape)
    _replaced(file, lambda f: f.create_virtual_dataset(KERNEL, layout))


def _linked(link: Callable[[Path], object]) -> Damage:
    def damage(file: h5py.File, folder: Path) -> None:
        del file[KERNEL]
        file[KERNEL] = link(folder)

    return damage


def _cycle(file: h5py.File, folder: Path) -> None:
    file["conv0/conv0/again"] = file["conv0"]


def _group(file: h5py.File, folder: Path) -> None:
    _replaced(file, lambda f: f.create_group(KERNEL))


def _of(values: object, **options: object) -> Damage:
    return lambda file, folder: _replaced(
        file, lambda f: f.create_dataset(KERNEL, data=values, **options)
    )


def _declared(shape: tuple[int, ...], **options: object) -> Damage:
    return lambda file, folder: _replaced(
        file, lambda f: f.create_dataset(KERNEL, shape=shape, dtype="f4", **options)
    )


def _datatype(file: h5py.File, folder: Path) -> None:
    _replaced(file, lambda f: f.__setitem__(KERNEL, np.dtype("f4")))


def _large_chunk(file: h5py.File, folder: Path) -> None:
    """One piece of 2 GB for a kernel of 864 bytes."""
    shape = file[KERNEL].shape
    del file[KERNEL]
    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_chunk((1 << 10, 1 << 9, 1 << 5, 1 << 5))
    layout.set_deflate(1)
    space = h5s.create_simple(shape, (h5s.UNLIMITED,) * 4)
    dataset = h5d.create(file["conv0/conv0"].id, b"kernel:0", h5t.IEEE_F32LE, space, layout)
    assert dataset.shape == shape


def _shared_names(file: h5py.File, folder: Path) -> None:
    """Names that may all be the one long text of the file: nothing tells until each is read."""
    text = h5py.string_dtype()
    file["conv0"].attrs.create("long", np.full(1, "n" * 1_000_000, object), dtype=text)
    file["conv0"].attrs.create("weight_names", np.full(2_000, "n", object), dtype=text)


def _nan(file: h5py.File, folder: Path) -> None:
    file[KERNEL][0, 0, 0, 0] = np.nan


def _names(*names: str) -> Damage:
    return lambda file, folder: file["conv0"].attrs.__setitem__("weight_names", list(names))


def _no_names(file: h5py.File, folder: Path) -> None:
    file["conv0"].attrs["weight_names"] = [3, 4]


HDF5: dict[str, tuple[Damage, str]] = {
    "external_link": (_linked(lambda folder: h5py.ExternalLink("other.h5", "x")), "a link to"),
    "soft_link": (_linked(lambda folder: h5py.SoftLink("/conv1")), "a link to"),
    "external_storage": (_external_storage, "another file"),
    "virtual": (_virtual, "another file"),
    "cycle": (_cycle, "two places"),
    "group_for_data_set": (_group, "data set that it does not hold"),
    "texts": (_of(["a", "b"]), "weights are numbers"),
    "compound": (_of(np.zeros(3, [("a", "f4"), ("b", "i4")])), "weights are numbers"),
    "datatype": (_datatype, "neither a group nor a data set"),
    "empty": (_of(h5py.Empty("f4")), "weights are numbers"),
    "wrong_shape": (_of(np.ones((3, 3, 3, 9), "f4")), "3x3x3x9"),
    "huge_shape": (_declared((1 << 20, 1 << 20)), "declares"),
    "huge_in_pieces": (_declared((1 << 20, 1 << 20), chunks=(64, 64)), "declares"),
    "packed_zeros": (_of(np.zeros(30_000_000, "f4"), compression="gzip"), "declares"),
    "large_pieces": (_large_chunk, "declares|in pieces"),
    "shared_names": (_shared_names, "may have"),
    "nan": (_nan, "not finite"),
    "name_above": (_names("../../etc", "bias:0"), "does not hold"),
    "name_of_another_file": (_names("/etc/passwd", "bias:0"), "does not hold"),
    "no_name": (_names("", ""), "does not hold"),
    "names_of_numbers": (_no_names, "no names"),
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", HDF5)
def test_hdf5(good, scratch, name, whole):
    damage, expected = HDF5[name]
    path = scratch / "work" / "damaged.h5"
    shutil.copy(good.folder / ("good.h5" if whole else "weights.h5"), path)
    with h5py.File(path, "r+") as file:
        damage(file["model_weights"] if whole else file, scratch / "work")

    error = refused(path) if whole else refused(good.folder / "good.json", path)

    import re

    assert re.search(expected, str(error)), error
    assert "damaged.h5" in error.at


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95, 0.999])
@pytest.mark.parametrize("form", ["h5", "keras", "k3.h5", "k3.keras"])
def test_truncated(good, scratch, form, share):
    content = (good.folder / f"good.{form}").read_bytes()
    path = scratch / "work" / f"cut.{form}"
    path.write_bytes(content[: int(len(content) * share)])
    refused(path)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    "name", ["../config.json", "/etc/passwd", "assets/vocabulary.txt", "config.json", "x\ny"]
)
def test_members_that_no_model_has(good, scratch, name):
    path = scratch / "work" / "more.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members(good.folder / "good.keras").items():
            archive.writestr(member, content)
        with pytest.warns() if name == "config.json" else _nothing():
            archive.writestr(name, "more")
    assert repr(name) in refused(path).message


def _nothing():
    import contextlib

    return contextlib.nullcontext()


def test_a_member_that_is_a_link(good, scratch):
    path = scratch / "work" / "link.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members(good.folder / "good.keras").items():
            info = zipfile.ZipInfo(member)
            if member.endswith("h5"):
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                content = b"/etc/passwd"
            archive.writestr(info, content)
    assert "a link" in refused(path).message


def test_an_encrypted_member(good, scratch):
    path = scratch / "work" / "secret.keras"
    content = bytearray((good.folder / "good.keras").read_bytes())
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 8] |= 1
    path.write_bytes(content)
    assert "encrypted" in refused(path).message


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_a_member_that_unpacks_to_gigabytes(good, scratch, name):
    path = scratch / "work" / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members(good.folder / "good.keras").items():
            if member != name:
                archive.writestr(member, content)
        with archive.open(name, "w", force_zip64=True) as stream:
            for _ in range(300):
                stream.write(bytes(1 << 20))
    assert name in refused(path).message


def test_a_size_that_lies(good, scratch):
    """The directory says that the config has ten bytes; the member has them all."""
    path = scratch / "work" / "lies.keras"
    content = bytearray((good.folder / "good.keras").read_bytes())
    at = content.find(b"PK\x01\x02")
    while content[at + 46 : at + 57] != b"config.json":
        at = content.find(b"PK\x01\x02", at + 1)
    content[at + 24 : at + 28] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    refused(path)


def test_a_hundred_thousand_members(scratch):
    path = scratch / "work" / "many.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}", "")
    assert "table of contents" in refused(path).message


def test_no_weights_and_no_config(good, scratch):
    for missing in ("config.json", "metadata.json", "model.weights.h5"):
        path = scratch / "work" / "less.keras"
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members(good.folder / "good.keras").items():
                if member != missing:
                    archive.writestr(member, content)
        assert missing in refused(path).at


@pytest.mark.parametrize("form", ["h5", "keras", "k3.h5", "k3.keras"])
def test_a_file_under_another_name(good, scratch, form):
    """People rename files: .h5 to .keras and the reverse."""
    other = "model.keras" if form.endswith("h5") else "model.h5"
    path = Path(shutil.copy(good.folder / f"good.{form}", scratch / "work" / other))
    assert load_classifier(str(path)).model.count_params()


def test_what_is_no_file(good, scratch):
    import os

    os.mkfifo(scratch / "work" / "pipe.keras")
    (scratch / "work" / "folder.h5").mkdir()
    (scratch / "work" / "zero.json").symlink_to("/dev/zero")
    for name in ("pipe.keras", "folder.h5", "zero.json"):
        refused(scratch / "work" / name, good.weights() if name.endswith("json") else None)
    os.mkfifo(scratch / "work" / "pipe.h5")
    refused(good.folder / "good.json", scratch / "work" / "pipe.h5")
    config = json.loads((good.folder / "good.json").read_text())
    assert config["class_name"] == "Functional"
