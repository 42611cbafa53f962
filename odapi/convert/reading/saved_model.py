"""SavedModels of Keras 2: their metadata and their checkpoint are read, and no graph is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from object_detection.models.keras_models import keras_config
from tf_keras.protobuf import saved_metadata_pb2

from odapi.console.errors import UserError
from odapi.convert.reading import bundle
from odapi.convert.reading.text import MAX_CONFIG_BYTES, one_line, parse_json

GRAPH = "saved_model.pb"
METADATA = "keras_metadata.pb"
CHECKPOINT = "variables/variables"
MAX_NODES = 1_000_000
"""Of the metadata: EfficientNetV2L's has 6,000. A node of two bytes takes two hundred in memory."""
_METRIC = "_tf_keras_metric"
"""Identifies the nodes that are no layers; nothing is made of them."""


def is_saved_model(path: Path) -> bool:
    """Whether a folder is a SavedModel."""
    return (path / GRAPH).is_file()


def architecture(path: Path, dropped: str | None = None) -> dict[str, Any]:
    """The configuration of the model itself, after a look at that of every layer.

    Args:
        path: the folder.
        dropped: a layer that is left out, by name: the only one of which anything is allowed.

    Raises:
        UserError: there is no metadata, or it is damaged.
        keras_graph.Refusal: a layer is not on the list.
    """
    root = None
    for node in _nodes(path):
        try:
            metadata = parse_json(node.metadata) if node.metadata else {}
        except ValueError:
            raise _damaged(path, f"node {node.node_path!r} has no JSON") from None
        if node.node_path == "root":
            root = metadata
        elif node.identifier != _METRIC and isinstance(metadata, dict):
            _check_node(metadata, dropped)
    if not isinstance(root, dict) or not {"class_name", "config"} <= root.keys():
        raise _damaged(path, "it describes no model")
    return root


def sizes(path: Path) -> tuple[int, int]:
    """How many values the checkpoint holds, and its largest tensor.

    Raises:
        UserError: it is damaged, or declares more than its files hold.
    """
    _require_files(path)
    try:
        tensors = bundle.tensors(path / CHECKPOINT)
    except (bundle.DamagedIndex, OSError) as error:
        raise _damaged_weights(path, one_line(error)) from None
    numbers = [tensor for tensor in tensors if tensor.dtype != "string"]
    declared = sum(tensor.count * tensor.dtype.size for tensor in numbers)
    held = sum(file.stat().st_size for file in path.glob(f"{CHECKPOINT}.data-*"))
    if declared > held:
        raise _damaged_weights(path, f"it declares {declared:,} bytes, and holds {held:,}")
    counts = [tensor.count for tensor in numbers]
    return sum(counts), max(counts, default=0)


def _require_files(path: Path) -> None:
    """Refuses what is no file, or not in the folder: a pipe is waited for, a link leads anywhere.

    Raises:
        UserError: there is such a thing.
    """
    inside = path.resolve()
    for file in (path / GRAPH, path / METADATA, *sorted(path.glob(f"{CHECKPOINT}.*"))):
        if file.exists() and not file.is_file():
            raise _damaged(path, f"{file.name} is no file", file)
        if file.is_symlink() or not file.resolve().is_relative_to(inside):
            raise UserError(
                "the SavedModel has a link in place of a file, and only what is in it is read",
                at=str(file),
                hint="copy the folder with what its links lead to: cp -rL FOLDER COPY",
            )


def layer_keys(path: Path) -> dict[str, str]:
    """Name of each of the model's own layers to what the checkpoint calls it."""
    found = {}
    for node in _nodes(path):
        root, _, child = node.node_path.partition(".")
        if root == "root" and child.startswith("layer") and "." not in child:
            metadata = parse_json(node.metadata)
            if isinstance(metadata, dict) and isinstance(metadata.get("name"), str):
                found[metadata["name"]] = child
    return found


def _check_node(metadata: dict[str, Any], dropped: str | None) -> None:
    name = metadata.get("name")
    if dropped is not None and name == dropped:
        return
    entry = {key: metadata.get(key) for key in ("class_name", "config")}
    if not isinstance(entry["class_name"], str):
        entry["class_name"] = "?"
    # A layer's node says where its inputs come from in ways of its own; the model's says it too.
    keras_config.check_layer({**entry, "name": name})


def _nodes(path: Path) -> list[Any]:
    metadata = path / METADATA
    _require_files(path)
    try:
        if metadata.stat().st_size > MAX_CONFIG_BYTES:
            raise _damaged(path, f"{METADATA} has {metadata.stat().st_size:,} bytes")
        content = metadata.read_bytes()
        if sum(1 for _ in _node_starts(content)) > MAX_NODES:
            raise _damaged(path, f"it has more than {MAX_NODES:,} nodes")
        message = saved_metadata_pb2.SavedMetadata()
        message.ParseFromString(content)
    except FileNotFoundError:
        raise UserError(
            "the SavedModel is for inference only: it has operations, and no layers to cut at",
            at=str(path),
            hint="save the model itself: model.save('model.keras'), not model.export(...)",
        ) from None
    except (DecodeError, OSError) as error:
        raise _damaged(path, str(error)) from None
    return list(message.nodes)


def _damaged_weights(path: Path, reason: str) -> UserError:
    return UserError(
        f"the SavedModel's weights cannot be read: {reason}",
        at=f"{path}/{CHECKPOINT}",
        hint="copy the folder again, with all its files",
    )


def _node_starts(content: bytes) -> Iterator[int]:
    """Where each node of the metadata begins, or ends what cannot be one."""
    position = 0
    while position < len(content):
        yield position
        length = shift = 0
        for byte in content[position + 1 : position + 11]:
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        position += 1 + length


def _damaged(path: Path, reason: str, file: Path | None = None) -> UserError:
    return UserError(
        f"the SavedModel is damaged: {reason}",
        at=str(file or path / METADATA),
        hint="save it again with model.save(...), or as .keras",
    )
