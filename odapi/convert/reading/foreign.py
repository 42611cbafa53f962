"""Files that are no model of Keras 2 or 3: what they are, and the way from there."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
from object_detection.models.keras_models import classifier_backbone

from odapi.console.errors import UserError

_SAVE = "model.save('model.keras')"
_HEAD_BYTES = 16
_BY_SUFFIX = {
    ".onnx": ("an ONNX model", f"convert its PyTorch or Keras original: {_SAVE}"),
    ".pt": ("a PyTorch model", "give its weights to the same network in Keras, and save that"),
    ".pth": ("a PyTorch model", "give its weights to the same network in Keras, and save that"),
    ".pb": (
        "a graph of TensorFlow, which has operations and no layers",
        f"give the folder of a SavedModel by model.save() of Keras 2, or what {_SAVE} wrote",
    ),
    ".meta": (
        "a graph of TensorFlow 1, which has operations and no layers",
        "build the network in tf_keras, assign tf.train.load_checkpoint's values, and save it: "
        f"{_SAVE}",
    ),
}


def not_keras(path: Path) -> UserError:
    """The answer to a file that is something else, as far as its first bytes and name tell."""
    what, way = _known(path) or (
        "not a Keras model",
        "give model.json (model.to_json()) with --weights, or what model.save() wrote as .h5 or "
        ".keras",
    )
    return UserError(f"the file is {what}", at=str(path), hint=way)


def missing(path: Path) -> UserError | None:
    """The answer to a name that is no file, if it is the prefix of a checkpoint's files."""
    if not path.parent.is_dir() or not path.with_name(f"{path.name}.index").is_file():
        return None
    return UserError("the name is that of a checkpoint", at=str(path), hint=_checkpoint()[1])


def weights_alone(path: Path) -> UserError:
    """The answer to weights without an architecture, given as the model."""
    letters = "".join(filter(str.isalnum, path.name.lower()))
    named = [name for name in classifier_backbone.applications() if name.lower() in letters]
    # resnet50_weights_tf_dim_ordering_tf_kernels.h5 is what Keras itself downloads.
    network = max(named, key=len, default="VGG16")
    return UserError(
        "the file holds weights and no architecture",
        at=str(path),
        hint=f"odapi convert model.json --weights {path} ..., where model.json has "
        f"model.to_json(); or {network} in its place, if it is that network of keras.applications",
    )


def _known(path: Path) -> tuple[str, str] | None:
    name = path.name.lower()
    if name == "saved_model.pb":
        return "a part of a SavedModel", "give the folder that it is in"
    if path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()]
    if name.endswith(".index") or ".data-0" in name:
        return _checkpoint()
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model", f"give the Keras model that it was made from: {_SAVE}"
    return None


def _checkpoint() -> tuple[str, str]:
    return (
        "a TensorFlow checkpoint, which holds values and no layers",
        "build the model in Python as for training, then model.load_weights(...) and "
        f"{_SAVE}; odapi train starts from a detector's checkpoint by fine_tune_checkpoint",
    )


def archive(path: Path) -> UserError | None:
    """The answer to a zip that is no `.keras`, or None if it may be one."""
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()[:1000]
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    if {"config.json", "metadata.json", "model.weights.h5"}.intersection(names):
        return None  # a `.keras`, which may lack something
    if any(name.endswith("data.pkl") for name in names):
        return UserError(f"the file is {_BY_SUFFIX['.pt'][0]}", str(path), _BY_SUFFIX[".pt"][1])
    models = [name for name in names if name.endswith((".h5", ".keras", "saved_model.pb"))]
    if not models:
        return None
    return UserError(
        "the file is an archive with a model in it",
        at=f"{path}, {models[0]}",
        hint="unpack it, and give the model",
    )


def require_keras_2_or_3(config: Any, version: str | None, path: Path) -> None:
    """Looks at an architecture before anything is checked or made of it.

    Raises:
        UserError: it is of Keras 1, of TensorFlow.js, or its channels come first.
    """
    if isinstance(config, dict) and "modelTopology" in config:
        raise UserError(
            "the file is a model of TensorFlow.js",
            at=str(path),
            hint="give the Keras model that it was made from; Teachable Machine exports one as "
            "TensorFlow, Keras",
        )
    found = _settings(config)
    if (version or "").startswith("1.") or found & {"nb_filter", "dim_ordering"}:
        raise UserError(
            "the model was saved by Keras 1",
            at=str(path),
            hint="load it with Keras 2.2 in an environment of its own (pip install keras==2.2.5 "
            "tensorflow==1.15), which reads both, and save it again: model.save('model.h5')",
        )
    if "channels_first" in found:
        raise UserError(
            "the classifier's images have their channels first, and a detector's last",
            at=str(path),
            hint="build the same network with data_format='channels_last' and give it the weights: "
            "kernels are the same, and only a Dense layer after a Flatten has its rows in another "
            f"order; then {_SAVE}",
        )


def _settings(config: Any) -> set[str]:
    """Which of the tell-tale names occur in an architecture, as keys or as a data_format."""
    found: set[str] = set()
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            found |= item.keys() & {"nb_filter", "dim_ordering"}
            slides = item.keys() & {"kernel_size", "pool_size"}
            if slides and item.get("data_format") == "channels_first":
                found.add("channels_first")
            pending.extend(item.values())
    return found
