"""Changes Keras files at random: their configurations as trees, their containers as bytes."""

from __future__ import annotations

import copy
import struct
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import keras
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models import keras_allow_list
from tensorflow.python.util import tf_export

from tests.odapi.convert.reading.networks import SIDE, layer, operation, with_layers

_NUMBERS = [0, 1, -1, 2, 7, 255, 4097, 2**20, 10**9, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308]
_ODD = [float("nan"), float("inf"), True, False, None, [], {}, "", "x" * 2000, "\ud800", "\0"]
_KEYS = ["class_name", "config", "module", "registered_name", "items", "name", "layer", "cell"]
_KEYS += ["inbound_nodes", "build_config", "shared_object_id", "__passive_serialization__", "dtype"]


def networks() -> list[tuple[int, Any]]:
    """Networks to begin from: number of the Keras, and model."""
    return [(2, model) for model in _networks(tf.keras)] + [
        (3, model) for model in _networks(keras)
    ]


def _networks(of: Any) -> list[Any]:
    layers = of.layers

    def image() -> Any:
        return layers.Input((SIDE, SIDE, 3))

    def chain(*parts: Any) -> Any:
        return of.Sequential([image(), *parts])

    one = image()
    x = layers.Conv2D(4, 3, 2, "same", activation="relu")(one)
    branches = [layers.SeparableConv2D(4, 3, padding="same")(x), layers.PReLU()(x)]
    merged = layers.Dense(2)(layers.Flatten()(layers.Add()(branches)))
    two = image()
    inner = chain(layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.ReLU(6.0))
    twice = layers.Concatenate()([inner(two), inner(layers.GaussianNoise(0.1)(two))])
    three = image()
    y = (three * 2.0 - 1.0) / 3.0
    y = layers.Reshape((SIDE // 2, SIDE * 3))(y[:, ::2, :] + y[:, 1::2, :])
    return [
        of.Model(one, merged),
        of.Model(two, layers.GlobalMaxPooling2D()(twice)),
        of.Model(three, layers.Dense(2)(layers.GlobalAveragePooling1D()(layers.Dense(3)(y))))
        if of is tf.keras
        else of.Model(three, layers.Flatten()((three + 1.0) * 0.5)),
        chain(layers.Rescaling(1 / 255), layers.RandomFlip(), layers.Conv2D(2, 5), layers.ELU()),
        chain(
            layers.Reshape((SIDE, SIDE * 3)),
            layers.Bidirectional(layers.LSTM(3)),
            layers.LayerNormalization(),
        ),
        chain(layers.TimeDistributed(layers.Dense(2, "softmax")), layers.UpSampling2D(2)),
        chain(layers.Reshape((16, 192)), layers.RNN(layers.StackedRNNCells([layers.GRUCell(2)]))),
    ]


@cache
def _names() -> list[str]:
    """Names of everything that Keras and TensorFlow make known, and of what is on the list."""
    known = set(dir(tf.keras.layers)) | set(dir(keras.layers)) | set(dir(keras.ops))
    known |= {name for api in tf_export._NAME_TO_SYMBOL_MAPPING for name in [api]}
    for kind in keras_allow_list.Kind:
        known |= keras_allow_list.names(kind)
    return sorted(known)


def changed(whole: dict[str, Any], others: list[dict], canary: Path, random: Random) -> dict:
    """A copy of a configuration with one to four things changed."""
    tree = copy.deepcopy(whole)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        places = list(_places(tree))
        holder, key = places[random.randrange(len(places))]
        how = random.randrange(8)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[random.randrange(len(holder))]))
        elif how == 2:
            other = list(_places(others[random.randrange(len(others))]))
            from_, inner = other[random.randrange(len(other))]
            holder[key] = copy.deepcopy(from_[inner])
        elif how == 3:
            named = [(h, k) for h, k in places if k in ("class_name", "function", "activation")]
            h, k = named[random.randrange(len(named))] if named else (holder, key)
            listed = sorted(keras_allow_list.names(keras_allow_list.Kind.LAYER))
            names = listed if random.randrange(2) else _names()
            h[k] = names[random.randrange(len(names))]
        elif how == 4 and isinstance(holder, dict):
            holder[_KEYS[random.randrange(len(_KEYS))]] = _value(canary, random)
        elif how == 5:
            numbers = [(h, k) for h, k in places if isinstance(h[k], int | float)]
            h, k = numbers[random.randrange(len(numbers))] if numbers else (holder, key)
            h[k] = _NUMBERS[random.randrange(len(_NUMBERS))]
        else:
            holder[key] = _value(canary, random)
        if not isinstance(tree, dict) or not tree:
            break
    return tree


def _places(tree: Any) -> Any:
    """Every holder and key in a tree, the root's own included."""
    pending = [tree]
    while pending:
        value = pending.pop()
        if isinstance(value, dict | list):
            keys = value if isinstance(value, dict) else range(len(value))
            for key in keys:
                yield value, key
                pending.append(value[key])


def _value(canary: Path, random: Random) -> Any:
    kind = random.randrange(6)
    if kind == 0:
        return _NUMBERS[random.randrange(len(_NUMBERS))]
    if kind == 1:
        return _ODD[random.randrange(len(_ODD))]
    if kind == 2:
        return str(canary / "secret")
    if kind == 3:
        return _names()[random.randrange(len(_names()))]
    if kind == 4:
        return hostile(canary)
    holders = [
        "__tuple__",
        "__numpy__",
        "__slice__",
        "__ellipsis__",
        "TensorShape",
        "CompositeTensor",
    ]
    return {
        "class_name": holders[random.randrange(len(holders))],
        _KEYS[random.randrange(len(_KEYS))]: hostile(canary),
        "config": {"value": [1.0], "dtype": "float32"},
        "items": [["images", 0, 0]],
    }


def hostile(canary: Path) -> dict[str, Any]:
    """A model of Keras 2 that writes a file while it is made, from wherever it stands."""
    start = layer("InputLayer", [], "images", batch_input_shape=[None, 3])
    del start["config"]["trainable"]
    write = operation(
        "io.write_file", "_CONSTANT_VALUE", -1, str(canary / "effect"), {"contents": "x"}
    )
    model = {
        "class_name": "Functional",
        "config": {
            "name": "inner",
            "layers": [start],
            "input_layers": [["images", 0, 0]],
            "output_layers": [["images", 0, 0]],
        },
    }
    return {**with_layers(model, write), "__passive_serialization__": True}


def scrambled(data: bytes, random: Random) -> bytes:
    """Bytes of which some are others, or gone, or twice there."""
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 4, 16])):
        at = random.randrange(max(1, len(changed)))
        how = random.randrange(7)
        if how == 0:
            changed[at : at + 1] = bytes([random.randrange(256)])
        elif how == 1:
            number = random.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1, len(data)])
            changed[at : at + 8] = struct.pack("<Q", number)
        elif how == 2:
            changed[at : at + 4] = struct.pack("<I", random.choice([0, 1, 8, 2**31, 2**32 - 1]))
        elif how == 3:
            del changed[at : at + random.randrange(1, 64)]
        elif how == 4:
            changed[at:at] = changed[at : at + random.randrange(1, 64)]
        elif how == 5:
            source = random.randrange(max(1, len(changed)))
            changed[at : at + 32] = changed[source : source + 32]
        elif random.randrange(4) == 0:
            del changed[at:]
    return bytes(changed)


def table(data: bytes, random: Random) -> bytes:
    """A checkpoint's index with scrambled blocks, whose checksums are right."""
    blocks, position = [], 0
    while position < len(data) - 48:
        found = next(
            (
                end
                for end in range(position, len(data) - 52)
                if struct.pack("<I", _checksum(data[position : end + 1])) == data[end + 1 : end + 5]
            ),
            None,
        )
        if found is None:
            break
        blocks.append((position, found))
        position = found + 5
    changed = bytearray(data)
    start, end = blocks[random.randrange(len(blocks))]
    for _ in range(random.choice([1, 1, 2, 8])):
        at = random.randrange(start, end)
        changed[at] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])
    changed[end + 1 : end + 5] = struct.pack("<I", _checksum(bytes(changed[start : end + 1])))
    return bytes(changed)


@cache
def _castagnoli() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def _checksum(data: bytes) -> int:
    """CRC-32C, masked as in LevelDB's tables."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _castagnoli()[(value ^ byte) & 0xFF] ^ (value >> 8)
    value ^= 0xFFFFFFFF
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF
