"""A small classifier in every form of file, with one thing in it changed."""

from __future__ import annotations

import base64
import copy
import json
import marshal
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf
from tf_keras.protobuf import saved_metadata_pb2

from odapi.console.errors import UserError
from odapi.convert.source import load_classifier

Change = Callable[[dict[str, Any]], Any]
"""Takes a whole configuration and returns what stands in its place."""

FORMS = ("json", "h5", "keras", "k3.json", "k3.h5", "k3.keras")


@dataclass(frozen=True)
class Classifiers:
    """A folder with a classifier of strides 2 to 32 in each form of `FORMS`."""

    folder: Path

    def changed(self, form: str, change: Change, target: Path) -> tuple[str, str | None]:
        """Writes a file whose configuration is changed; returns SOURCE and --weights."""
        source = self.folder / f"good.{form}"
        path = target / f"changed.{form}"
        if form.endswith("json"):
            path.write_text(json.dumps(change(json.loads(source.read_text()))))
            return str(path), str(self.weights(form))
        if form.endswith("h5"):
            shutil.copy(source, path)
            with h5py.File(path, "r+") as file:
                file.attrs["model_config"] = json.dumps(
                    change(json.loads(file.attrs["model_config"]))
                )
            return str(path), None
        with zipfile.ZipFile(source) as good, zipfile.ZipFile(path, "w") as archive:
            for member in good.namelist():
                content: str | bytes = good.read(member)
                if member == "config.json":
                    content = json.dumps(change(json.loads(content)))
                archive.writestr(member, content)
        return str(path), None

    def weights(self, form: str = "json") -> Path:
        """The weights of the JSON forms."""
        return self.folder / ("k3.weights.h5" if form.startswith("k3") else "weights.h5")

    @property
    def saved_model(self) -> Path:
        return self.folder / "good_saved_model"


def make(folder: Path) -> Classifiers:
    """Writes the classifier in each form; its weights differ from each other."""
    for library, prefix in ((tf.keras, ""), (keras, "k3.")):
        layers = library.layers
        image = x = layers.Input((64, 64, 3))
        for number in range(5):
            x = layers.Conv2D(8, 3, 2, "same", name=f"conv{number}")(x)
            x = layers.BatchNormalization(name=f"bn{number}")(x)
            x = layers.ReLU(name=f"relu{number}")(x)
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        model = library.Model(image, layers.Dense(2, name="classes")(x))
        random = np.random.default_rng(0)
        model.set_weights([random.uniform(0.1, 1, weight.shape) for weight in model.get_weights()])
        (folder / f"good.{prefix}json").write_text(model.to_json())
        model.save(folder / f"good.{prefix}h5")
        model.save(folder / f"good.{prefix}keras")
        model.save_weights(folder / f"{prefix}weights.h5")
        if not prefix:
            model.save(folder / "good_saved_model")
    return Classifiers(folder)


def layers_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a functional model's configuration."""
    return config["config"]["layers"]


def with_layer(layer: dict[str, Any]) -> Change:
    """Adds a layer that hangs on nothing."""

    def change(config: dict[str, Any]) -> dict[str, Any]:
        layers_of(config).append(copy.deepcopy(layer))
        return config

    return change


def with_option(layer: str, **options: Any) -> Change:
    """Sets options of a layer, by its class."""

    def change(config: dict[str, Any]) -> dict[str, Any]:
        found = next(entry for entry in layers_of(config) if entry["class_name"] == layer)
        found["config"].update(copy.deepcopy(options))
        return config

    return change


def in_place_of(layer: str, entry: dict[str, Any]) -> Change:
    """Puts another layer in the place of one, by its class: the name and the inputs stay."""

    def change(config: dict[str, Any]) -> dict[str, Any]:
        found = next(old for old in layers_of(config) if old["class_name"] == layer)
        name = found["config"]["name"]
        for key in ("module", "registered_name"):
            found.pop(key, None)
        found.update(copy.deepcopy(entry))
        found["config"]["name"] = name
        return config

    return change


def operation(symbol: str, value: Any, **arguments: Any) -> dict[str, Any]:
    """A layer of Keras 2 that calls a symbol of TensorFlow while the model is made."""
    return {
        "class_name": "TFOpLambda",
        "config": {"name": "op", "trainable": True, "dtype": "float32", "function": symbol},
        "name": "op",
        "inbound_nodes": [["_CONSTANT_VALUE", -1, value, arguments]],
    }


def lambda_layer(effect: Path, name: str = "code") -> dict[str, Any]:
    """A layer whose code writes a file when the model is made."""
    code = eval(f"lambda x: (open({str(effect)!r}, 'w'), x)[1]").__code__
    text = base64.b64encode(marshal.dumps(code)).decode()
    return {
        "class_name": "Lambda",
        "config": {
            "name": name,
            "trainable": True,
            "dtype": "float32",
            "function": [text, None, None],
            "function_type": "lambda",
            "module": "x",
            "output_shape": None,
            "output_shape_type": "raw",
            "output_shape_module": None,
            "arguments": {},
        },
    }


def metadata(folder: Path) -> tuple[Path, Any]:
    """The metadata of a SavedModel: where it is, and the message."""
    path = folder / "keras_metadata.pb"
    message = saved_metadata_pb2.SavedMetadata()
    message.ParseFromString(path.read_bytes())
    return path, message


def refused(source: str | Path, weights: str | Path | None = None) -> UserError:
    """The error with which a file is refused; its exit code is 2."""
    with pytest.raises(UserError) as caught:
        load_classifier(str(source), weights and str(weights))
    assert caught.value.exit_code == 2
    return caught.value


def untouched(scratch: Path) -> bool:
    """Whether nothing was written to or removed from the folder of the `scratch` fixture."""
    names = sorted(path.name for path in scratch.iterdir())
    return names == ["victim", "work"] and (scratch / "victim" / "file").exists()


def code(scratch: Path) -> dict[str, Any]:
    """A Lambda whose effect would show in the folder of the `scratch` fixture."""
    return lambda_layer(scratch / "effect")


def deep(levels: int) -> str:
    """JSON of lists within each other."""
    return "[" * levels + "]" * levels
