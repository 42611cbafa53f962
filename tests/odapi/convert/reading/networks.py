"""Small classifiers of either Keras, in every form, and ways to change their files."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.convert.source import Classifier, load_classifier

SIDE = 32


def small(of: Any) -> Any:
    """A network of two convolutions, built by `tf.keras` or `keras`."""
    layers = of.layers
    images = x = layers.Input((SIDE, SIDE, 3), name="images")
    for number in range(2):
        x = layers.Conv2D(4, 3, 2, "same", name=f"conv{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return of.Model(images, layers.Dense(2, name="classes")(x))


def write(folder: Path) -> Path:
    """Writes both networks in every form.

    Args:
        folder: for `2.json`, `2.weights.h5` (by layer: `2.h5`), `2.keras`, `2` (a SavedModel), and
            those of Keras 3.
    """
    tf.keras.utils.set_random_seed(1)
    for number, of in ((2, tf.keras), (3, keras)):
        model = small(of)
        (folder / f"{number}.json").write_text(model.to_json())
        model.save(folder / f"{number}.h5")
        model.save(folder / f"{number}.keras")
        model.save_weights(folder / f"{number}.weights.h5")
    tf.keras.models.load_model(folder / "2.h5", compile=False).save(
        folder / "2", save_format="tf", include_optimizer=False
    )
    return folder


def config(folder: Path, number: int) -> dict[str, Any]:
    """The architecture of Keras 2's or 3's network."""
    return json.loads((folder / f"{number}.json").read_text())


def load(folder: Path, changed: dict[str, Any], number: int = 2, **options: Any) -> Classifier:
    """Reads a changed architecture with the weights of the whole one."""
    source = folder / "changed.json"
    source.write_text(json.dumps(changed))
    return load_classifier(str(source), str(folder / f"{number}.weights.h5"), **options)


def refusal(read: Callable[[], Any]) -> UserError:
    """The error with which something is refused; AssertionError if it is not."""
    try:
        read()
    except UserError as error:
        assert error.exit_code == 2
        return error
    raise AssertionError("it was read")


def with_layers(whole: dict[str, Any], *layers: dict[str, Any]) -> dict[str, Any]:
    """An architecture with more layers."""
    changed = copy.deepcopy(whole)
    changed["config"]["layers"].extend(copy.deepcopy(layers))
    return changed


def layer(kind: str, nodes: list[Any], name: str = "more", **settings: Any) -> dict[str, Any]:
    """A layer as a configuration has it."""
    return {
        "module": "keras.layers",
        "class_name": kind,
        "registered_name": None,
        "config": {"name": name, "trainable": True, "dtype": "float32", **settings},
        "name": name,
        "inbound_nodes": nodes,
    }


def operation(symbol: str, *node: Any) -> dict[str, Any]:
    """A layer of Keras 2 that calls a function."""
    return layer("TFOpLambda", [list(node)], function=symbol)


def operation_3(kind: str, module: str, *arguments: Any, **settings: Any) -> dict[str, Any]:
    """An operation of Keras 3 that is no layer."""
    nodes = [{"args": list(arguments), "kwargs": {}}]
    entry = layer(kind, nodes)
    return {**entry, "module": f"keras.src.ops.{module}", "config": {"name": "more", **settings}}


def tensor(name: str, shape: list[int | None]) -> dict[str, Any]:
    """A tensor as Keras 3 writes it."""
    history = {"shape": shape, "dtype": "float32", "keras_history": [name, 0, 0]}
    return {"class_name": "__keras_tensor__", "config": history}


def archive(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Writes a `.keras` file again, each member as `change` makes it of its name and content."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            new.writestr(member, change(member, old.read(member)))
    return target
