"""SavedModels of Keras 2: their metadata and their checkpoint are read, and no graph is loaded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from object_detection.models.keras_models import keras_config
from tf_keras.protobuf import saved_metadata_pb2

from odapi.convert.reading.text import MAX_CONFIG_BYTES, one_line, parsed
from odapi.errors import UserError

GRAPH = "saved_model.pb"
METADATA = "keras_metadata.pb"
CHECKPOINT = "variables/variables"
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
            metadata = parsed(node.metadata) if node.metadata else {}
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
    prefix = str(path / CHECKPOINT)
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = reader.get_variable_to_shape_map()
        dtypes = reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise _damaged_weights(path, one_line(error)) from None
    counts = {name: math.prod(shape) for name, shape in shapes.items() if dtypes[name] != tf.string}
    declared = sum(count * dtypes[name].size for name, count in counts.items())
    held = sum(file.stat().st_size for file in path.glob(f"{CHECKPOINT}.data-*"))
    if declared > held:
        raise _damaged_weights(path, f"it declares {declared:,} bytes, and holds {held:,}")
    return sum(counts.values()), max(counts.values(), default=0)


def children(path: Path) -> dict[str, str]:
    """Name of each of the model's own layers to what the checkpoint calls it."""
    found = {}
    for node in _nodes(path):
        root, _, child = node.node_path.partition(".")
        if root == "root" and child.startswith("layer") and "." not in child:
            found[parsed(node.metadata).get("name")] = child
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
        message = saved_metadata_pb2.SavedMetadata()
        message.ParseFromString(metadata.read_bytes())
    except FileNotFoundError:
        raise UserError(
            "the SavedModel is for inference only: it has operations, and no layers to cut at",
            at=str(path),
            hint="save the model itself: model.save('model.keras'), not model.export(...)",
        ) from None
    except (DecodeError, OSError) as error:
        raise _damaged(path, str(error)) from None
    return list(message.nodes)


def _require_files(path: Path) -> None:
    """Refuses pipes and devices, for which reading would wait or never end."""
    for file in (path / METADATA, path / GRAPH, *path.glob("variables/*")):
        if file.exists() and not file.is_file():
            raise _damaged(path, f"{file.name} is no file")


def _damaged_weights(path: Path, reason: str) -> UserError:
    return UserError(
        f"the SavedModel's weights cannot be read: {reason}",
        at=f"{path}/{CHECKPOINT}",
        hint="copy the folder again, with all its files",
    )


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"the SavedModel is damaged: {reason}",
        at=f"{path}/{METADATA}",
        hint="save it again with model.save(...), or as .keras",
    )
