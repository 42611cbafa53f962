"""Decides what a file is and whether it may be read, before Keras or TensorFlow see it."""

from __future__ import annotations

import contextlib
import enum
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
from object_detection.models.keras_models import keras_config, keras_graph

from odapi.console.errors import UserError
from odapi.convert.reading import foreign, hdf5, leading, probe, saved_model, windows
from odapi.convert.reading.archive import Archive
from odapi.convert.reading.refusals import refusal_error
from odapi.convert.reading.text import MAX_CONFIG_BYTES, parse_json


class Layout(enum.Enum):
    """How a file holds weights."""

    LAYERS = "by layer, in attributes layer_names and weight_names"
    """HDF5 of `save_weights` and `save` of Keras 2, and of Keras 3 as `.h5`."""
    STRUCTURE = "by the model's structure"
    """HDF5 of `save_weights('….weights.h5')`, and what is in a `.keras`."""
    CHECKPOINT = "a TensorFlow checkpoint"
    """That of a SavedModel."""


@dataclass(frozen=True)
class WeightsFile:
    """Weights that have been looked at, all but their values.

    Attributes:
        path: of the HDF5 file, under a name by which Keras knows its layout; of a checkpoint the
            SavedModel's folder.
        name: as messages call it.
        layout: how it holds them.
        values: how many it holds.
        largest: how many the largest data set has.
        from_windows: whether its names are joined as Windows does, which Keras would not find.
    """

    path: Path
    name: str
    layout: Layout
    values: int
    largest: int
    from_windows: bool = False


@dataclass(frozen=True)
class ModelFile:
    """An architecture of which every object is on the list, and where its weights are.

    Attributes:
        path: as the user gave it.
        config: the architecture; see `keras_config.checked`.
        of_keras_3: whether Keras 3 saved it, and not Keras 2.
        weights_path: of JSON, the file that goes with it; else the same as `path`.
        dropped: the layer that was left out, or None.
    """

    path: Path
    config: dict[str, Any]
    of_keras_3: bool
    weights_path: Path
    dropped: str | None = None

    @contextlib.contextmanager
    def weights(self) -> Iterator[WeightsFile]:
        """The weights, for as long as the block takes.

        Raises:
            UserError: they are damaged, or no weights.
        """
        path = self.weights_path
        if path.is_dir():
            values, largest = saved_model.sizes(path)
            yield WeightsFile(path, str(path), Layout.CHECKPOINT, values, largest)
            return
        with tempfile.TemporaryDirectory(prefix="odapi-weights-") as folder:
            if zipfile.is_zipfile(path):
                inside = Path(folder) / "model.weights.h5"
                Archive(path).unpack_weights(inside)
                found = weights_file(inside, str(path))
                _check_unpacked(found, path)
            else:
                found = weights_file(path)
                # Keras goes by the name, and people name files as they like.
                suffix = ".weights.h5" if found.layout is Layout.STRUCTURE else ".h5"
                link = Path(folder) / f"weights{suffix}"
                link.symlink_to(path.absolute())
                found = replace(found, path=link)
            if found.from_windows:
                copy = Path(folder) / "copy.weights.h5"
                windows.copy_with_slashes(found.path, copy, found.name)
                found = replace(found, path=copy)
            yield found


def model_file(path: Path, weights: Path | None, dropped: str | None) -> ModelFile:
    """Reads an architecture from a file, and has it looked at.

    Args:
        path: an existing JSON, `.keras` or HDF5 file, or a SavedModel's folder.
        weights: of JSON, its weights.
        dropped: name of a leading layer to leave out, unread; or None.

    Raises:
        UserError: the file is none of these, or damaged, or names what is not on the list.
    """
    try:
        config, version = _architecture(path, dropped)
        foreign.require_keras_2_or_3(config, version, path)
        if dropped is not None:
            config = leading.drop_layer(config, dropped)
        config = keras_config.checked(config)
    except keras_graph.Refusal as refusal:
        raise refusal_error(refusal, path) from None
    keras_3 = version.startswith("3") if version else _looks_like_keras_3(config)
    return ModelFile(path, config, keras_3, weights or path, dropped)


def weights_file(path: Path, display_name: str | None = None) -> WeightsFile:
    """Looks at an HDF5 file of weights, and tells how it holds them.

    Args:
        path: of the file.
        display_name: its name in messages, if that is another one.

    Raises:
        UserError: it is something else, damaged, or holds what is no weight.
    """
    display_name = display_name or str(path)
    if not h5py.is_hdf5(path):
        raise UserError(
            "the weights are not an HDF5 file",
            at=display_name,
            hint="save them with model.save_weights('weights.h5')",
        )
    probe.require_readable(path, display_name)
    with hdf5.open_checked(path, display_name) as file:
        counts = [dataset.count for dataset in hdf5.list_datasets(file, display_name)]
        root = file.get("model_weights", file)
        named = any(key.startswith("layer_names") for key in root.attrs)
        from_windows = not named and windows.is_from_windows(file)
    layout = Layout.LAYERS if named else Layout.STRUCTURE
    return WeightsFile(
        path, display_name, layout, sum(counts), max(counts, default=0), from_windows
    )


def _check_unpacked(weights: WeightsFile, path: Path) -> None:
    """Packed data sets in a packed file: each by less than it may, and both by more."""
    most = (hdf5.MAX_EXPANSION * path.stat().st_size + MAX_CONFIG_BYTES) // 4
    if weights.values > most:
        raise UserError(
            f"the archive declares {weights.values:,} values, at most {most:,} for its size",
            at=str(path),
            hint="save the model again with model.save('model.keras')",
        )


def _architecture(path: Path, dropped: str | None) -> tuple[Any, str | None]:
    """The configuration in a file, and the version of Keras that saved it, if it tells."""
    if path.is_dir():
        if not saved_model.is_saved_model(path):
            raise UserError(
                "the folder holds no SavedModel",
                at=str(path),
                hint="give the folder that has saved_model.pb in it, or a .keras or .h5 file",
            )
        root = saved_model.architecture(path, dropped)
        return {key: root[key] for key in ("class_name", "config")}, _version(root) or "2"
    try:
        if path.suffix == ".json":
            if path.stat().st_size > MAX_CONFIG_BYTES:
                raise foreign.not_keras(path)
            config = parse_json(path.read_bytes())
            return config, _version(config)
        if zipfile.is_zipfile(path):
            if error := foreign.archive(path):
                raise error
            archive = Archive(path)
            return parse_json(archive.config), _version(parse_json(archive.metadata))
    except ValueError:  # not JSON, or not even text
        raise foreign.not_keras(path) from None
    if h5py.is_hdf5(path):
        return _architecture_in_hdf5(path)
    raise foreign.not_keras(path)


def _architecture_in_hdf5(path: Path) -> tuple[Any, str | None]:
    probe.require_readable(path, str(path))
    with hdf5.open_checked(path) as file:
        if "model_config" not in file.attrs:
            raise foreign.weights_alone(path)
        try:
            config = parse_json(file.attrs["model_config"])
        except (ValueError, TypeError):
            raise foreign.not_keras(path) from None
        return config, str(file.attrs.get("keras_version", "")) or None


def _version(config: Any) -> str | None:
    version = config.get("keras_version") if isinstance(config, dict) else None
    return version if isinstance(version, str) else None


def _looks_like_keras_3(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_looks_like_keras_3, value))
    if not isinstance(value, dict):
        return False
    name, config = value.get("class_name"), value.get("config")
    if name == "DTypePolicy" or (
        name == "InputLayer" and isinstance(config, dict) and "batch_shape" in config
    ):
        return True
    return any(map(_looks_like_keras_3, value.values()))
