"""Finds VGG-16 in a Keras classifier: which layer of it is which layer of the detector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf

from odapi.console.errors import UserError
from odapi.convert import front
from odapi.convert.plan import Plan, Probe, ReferencePreprocessing, Unused, Weight, leaves
from odapi.convert.stages import Part, Stage

_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and filters of each block; Simonyan and Zisserman, arXiv:1409.1556, table 1, D."""


def _convolutions() -> dict[str, tuple[int, int, int, int]]:
    kernels, channels = {}, 3
    for block, (count, filters) in enumerate(_BLOCKS, start=1):
        for index in range(1, count + 1):
            kernels[f"block{block}_conv{index}"] = (3, 3, channels, filters)
            channels = filters
    return kernels


CONVOLUTIONS = _convolutions()
"""Layer of the detector's first stage to the shape of its kernel, in order."""

FULLY_CONNECTED = {"fc1": (7 * 7 * 512, 4096), "fc2": (4096, 4096)}
"""Layer of the detector's second stage to the shape of its kernel, in order."""

BACKBONE_PARAMETERS = sum(int(np.prod(shape)) + shape[-1] for shape in CONVOLUTIONS.values())
"""Weights and biases of the thirteen convolutions: 14,714,688."""

_BLOCK_ENDS = {f"block{block}_conv{count}" for block, (count, _) in enumerate(_BLOCKS, start=1)}


@dataclass(frozen=True)
class Match:
    """VGG-16 as it was found in a classifier."""

    layers: dict[str, tf.keras.layers.Layer]
    """Layer of the detector to layer of the classifier; fc1 and fc2 are both in it or neither."""
    features: tf.keras.layers.Layer
    """The layer whose output is block5_conv3's, after its ReLU."""
    fresh_reason: str | None
    """Why fc1 and fc2 start fresh, or None where they come from the classifier."""
    unused: tuple[Unused, ...]
    preprocesses: bool
    """Whether the classifier preprocesses images by itself."""

    def plan(self, fresh: dict[str, np.ndarray]) -> Plan:
        """What goes into the detector.

        Args:
            fresh: variable (`fc1/kernel`, ...) to float32, for those that the classifier does not
                give; those missing here too start fresh in the detector.
        """
        preprocess = tf.keras.applications.vgg16.preprocess_input
        reference = (
            ReferencePreprocessing("the classifier's own layers", np.asarray)
            if self.preprocesses
            else ReferencePreprocessing("vgg16.preprocess_input", preprocess)
        )
        return Plan(
            weights=tuple(self._weights(fresh)),
            probes=(Probe("block5_conv3", self.features),),
            preprocessing=reference,
            unused=self.unused,
            stages=self._stages(),
            preprocessing_note=f"preprocessing: caffe, bgr; compared with {reference.description}: "
            f"pixels 0 and 255 become {front.Front(front.Reading.NOTHING).ends(preprocess)}",
            notes=self._notes(bool(fresh)),
        )

    def _weights(self, fresh: dict[str, np.ndarray]) -> Iterator[Weight]:
        for name, kernel in (CONVOLUTIONS | FULLY_CONNECTED).items():
            layer = self.layers.get(name)
            for attribute, shape in (("kernel", kernel), ("bias", kernel[-1:])):
                value = fresh.get(f"{name}/{attribute}")
                if layer is not None:
                    value = np.asarray(getattr(layer, attribute), dtype=np.float32)
                yield Weight(
                    layer=name,
                    variable=attribute,
                    shape=shape,
                    value=value,
                    source=f"{layer.name}/{attribute}" if layer else None,
                    matched_by=("name" if layer.name == name else "order") if layer else None,
                )

    def _stages(self) -> tuple[Stage, ...]:
        stages = []
        for block, (count, filters) in enumerate(_BLOCKS, start=1):
            kernels = [CONVOLUTIONS[f"block{block}_conv{index + 1}"] for index in range(count)]
            last = block == len(_BLOCKS)
            stages.append(
                Stage(
                    name=self.layers[f"block{block}_conv{count}"].name,
                    stride=1 << block - 1,
                    channels=filters,
                    parameters=sum(int(np.prod(kernel)) + filters for kernel in kernels),
                    part=Part.FIRST,
                    tapped=last,
                )
            )
        return (
            *stages,
            *(
                Stage(name, None, width, (inputs + 1) * width, Part.SECOND)
                for name, (inputs, width) in FULLY_CONNECTED.items()
            ),
        )

    def _notes(self, fresh: bool) -> tuple[str, ...]:
        notes = []
        renamed = [
            f"{layer.name} is {name}" for name, layer in self.layers.items() if layer.name != name
        ]
        if renamed:
            notes.append(f"mapped by order, because names differ: {', '.join(renamed)}")
        if self.fresh_reason:
            where = "in the checkpoint" if fresh else "left out of the checkpoint"
            notes.append(f"fc1 and fc2 start fresh ({where}): {self.fresh_reason}")
        return tuple(notes)


def match(model: tf.keras.Model, origin: str) -> Match:
    """Finds VGG-16 at the start of a classifier.

    What counts is the position in the chain of layers, because that is what the weights were
    trained for; names only tell whether the layers were renamed. Layers that do nothing at
    inference may stand anywhere, and anything may follow block5_conv3.

    Args:
        model: a classifier with one image input; VGG-16 may be nested in it.
        origin: where the model came from, for messages.

    Raises:
        UserError: the model does not begin with VGG-16; says where it departs.
    """
    if len(model.inputs) != 1:
        raise _not_vgg16(f"it has {len(model.inputs)} inputs and not one", origin)
    chain = _ChainReader(_chain(model))
    before = chain.skip_to_convolution()
    layers: dict[str, tf.keras.layers.Layer] = {}
    features = None
    for position, (name, kernel) in enumerate(CONVOLUTIONS.items(), start=1):
        layer = chain.next()
        where = f"convolution {position} ({name})"
        if layer is None:
            raise _not_vgg16(
                f"{where} is not there: its chain of layers ends or branches after "
                f"{chain.last_name()} with {position - 1} convolutions of 13",
                origin,
            )
        if fault := _convolution_fault(layer, kernel):
            raise _not_vgg16(
                f"{where} should be a {_shape_text(kernel)} kernel, but {fault}", origin
            )
        layers[name] = layer
        features = layer if _activation(layer) == "relu" else chain.take_relu()
        if features is None:
            raise _not_vgg16(f"{where}, layer {layer.name!r}, has no ReLU", origin)
        if name in _BLOCK_ENDS and position < len(CONVOLUTIONS) and not chain.take_pooling():
            follower = chain.next()
            raise _not_vgg16(
                f"{where}, layer {layer.name!r}, should be followed by a 2x2 max pooling, not by "
                + (f"layer {follower.name!r}" if follower else "the end of the chain"),
                origin,
            )
    connected, fresh_reason = _fully_connected(chain)
    used = {id(layer) for layer in (*layers.values(), *connected.values())}
    first = {id(layer) for layer in before}
    unused = tuple(
        Unused(
            layer.name,
            type(layer).__name__,
            layer.count_params(),
            "before the first convolution; the detector preprocesses images itself"
            if id(layer) in first
            else _unused_reason(layer),
        )
        for layer in leaves(model)
        if layer.weights and id(layer) not in used
    )
    return Match(layers | connected, features, fresh_reason, unused, bool(front.leading(before)))


class _ChainReader:
    """The chain of layers from the image on, read from its start."""

    def __init__(self, chain: list[tf.keras.layers.Layer]) -> None:
        self._chain = chain
        self._position = 0

    def skip_to_convolution(self) -> list[tf.keras.layers.Layer]:
        """Goes to the first convolution and returns the layers before it."""
        while (
            self._position < len(self._chain)
            and type(self._chain[self._position]) is not _CONVOLUTION
        ):
            self._position += 1
        return self._chain[: self._position]

    def next(self) -> tf.keras.layers.Layer | None:
        """Takes the next layer that does something at inference; None at the end."""
        while self._position < len(self._chain):
            layer = self._chain[self._position]
            self._position += 1
            if not isinstance(layer, _INERT):
                return layer
        return None

    def take_relu(self) -> tf.keras.layers.Layer | None:
        return self._take(_is_relu)

    def take_pooling(self) -> tf.keras.layers.Layer | None:
        return self._take(
            lambda layer: (
                type(layer) is tf.keras.layers.MaxPooling2D
                and tuple(layer.pool_size) == tuple(layer.strides) == (2, 2)
            )
        )

    def take_resizing(self) -> tf.keras.layers.Layer | None:
        return self._take(lambda layer: type(layer) is tf.keras.layers.Resizing)

    def take_flatten(self) -> tf.keras.layers.Layer | None:
        return self._take(lambda layer: type(layer) is tf.keras.layers.Flatten)

    def _take(self, accepts: Any) -> tf.keras.layers.Layer | None:
        at = self._position
        layer = self.next()
        if layer is not None and accepts(layer):
            return layer
        self._position = at
        return None

    def last_name(self) -> str:
        return repr(self._chain[-1].name) if self._chain else "the input"


_CONVOLUTION = tf.keras.layers.Conv2D
# Layers that pass their input on unchanged at inference.
_INERT = (
    tf.keras.layers.InputLayer,
    tf.keras.layers.Dropout,
    tf.keras.layers.SpatialDropout2D,
    tf.keras.layers.GaussianNoise,
    tf.keras.layers.GaussianDropout,
    tf.keras.layers.AlphaDropout,
    tf.keras.layers.ActivityRegularization,
)


def _convolution_fault(layer: tf.keras.layers.Layer, kernel: tuple[int, ...]) -> str | None:
    """What keeps a layer from being VGG-16's convolution with this kernel, if anything."""
    is_called = f"layer {layer.name!r} is"
    # Depthwise and transposed convolutions are subclasses that compute something else.
    if type(layer) is not _CONVOLUTION:
        return f"{is_called} a {type(layer).__name__}"
    found = tuple(layer.kernel.shape)
    if found != kernel:
        return f"{is_called} a {_shape_text(found)} kernel"
    if tuple(layer.strides) != (1, 1) or tuple(layer.dilation_rate) != (1, 1):
        return f"{is_called} strided or dilated"
    if layer.padding != "same" or layer.data_format != "channels_last":
        return f"{is_called} padded {layer.padding!r}, {layer.data_format}, and not 'same', NHWC"
    if not layer.use_bias:
        return f"{is_called} without a bias"
    if _activation(layer) not in ("relu", "linear"):
        return f"{is_called} followed by {_activation(layer)}"
    return None


def _fully_connected(chain: _ChainReader) -> tuple[dict[str, tf.keras.layers.Layer], str | None]:
    """fc1 and fc2 if they follow, else none of them and the reason."""
    # A detector enlarges the features of each RoI before it pools them; a classifier may do so too.
    chain.take_resizing()
    if not chain.take_pooling() or not chain.take_flatten():
        return {}, "no 2x2 max pooling and Flatten after block5_conv3"
    layers = {}
    for name, kernel in FULLY_CONNECTED.items():
        layer = chain.next()
        if layer is None:
            return {}, f"no layer in the place of {name}"
        found = tuple(layer.kernel.shape) if type(layer) is tf.keras.layers.Dense else None
        if found != kernel:
            what = f"has a {_shape_text(found)} kernel" if found else f"is a {type(layer).__name__}"
            return (
                {},
                f"layer {layer.name!r} in the place of {name} {what}, not {_shape_text(kernel)}",
            )
        if not layer.use_bias:
            return {}, f"layer {layer.name!r} in the place of {name} has no bias"
        if _activation(layer) != "relu" and not chain.take_relu():
            return {}, f"layer {layer.name!r} in the place of {name} has no ReLU"
        layers[name] = layer
    return layers, None


def _chain(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """The layers from the model's input on, nested models opened, until the graph branches."""
    chain: list[tf.keras.layers.Layer] = []
    _append_chain(chain, model)
    return chain


def _append_chain(chain: list[tf.keras.layers.Layer], model: tf.keras.Model) -> bool:
    """Appends the chain of one model; False if it ended before the model's only output."""
    order, reaches_output = _unbranched_layers(model)
    for name in order:
        layer = model.get_layer(name)
        if isinstance(layer, tf.keras.Model):
            if not _is_graph(layer) or not _append_chain(chain, layer):
                return False
        else:
            chain.append(layer)
    return reaches_output


def _unbranched_layers(model: tf.keras.Model) -> tuple[list[str], bool]:
    """Names of the layers of one model up to the first branch, and whether they are its all."""
    if isinstance(model, tf.keras.Sequential):
        return [layer.name for layer in model.layers], True
    config = model.get_config()
    names = {layer["name"] for layer in config["layers"]}
    consumers: dict[str, set[str]] = {name: set() for name in names}
    producers: dict[str, list[str]] = {}
    for layer in config["layers"]:
        producers[layer["name"]] = list(_references(layer["inbound_nodes"], names))
        for producer in producers[layer["name"]]:
            consumers[producer].add(layer["name"])
    outputs = set(_references(config["output_layers"], names))
    order = list(_references(config["input_layers"], names))
    while len(following := consumers[order[-1]]) == 1:
        (name,) = following
        # Two producers: a merge. The same one twice, or itself: a layer that is called again.
        if len(producers[name]) != 1 or name in order:
            return order, False
        order.append(name)
    return order, not consumers[order[-1]] and outputs == {order[-1]}


def _references(node: Any, names: set[str]) -> Iterator[str]:
    """Names in the `[layer, node index, tensor index, ...]` entries of a functional config."""
    if isinstance(node, dict):
        for value in node.values():
            yield from _references(value, names)
    elif isinstance(node, (list, tuple)):
        if len(node) >= 3 and isinstance(node[1], int) and node[0] in names:
            yield node[0]
            node = node[3:]
        for value in node:
            yield from _references(value, names)


def _is_graph(model: tf.keras.Model) -> bool:
    """Whether a model's layers and their connections can be seen: it is not subclassed."""
    return bool(getattr(model, "inputs", None))


def _unused_reason(layer: tf.keras.layers.Layer) -> str:
    if isinstance(layer, tf.keras.layers.Dense):
        return "head of the classifier; the detector has its own"
    return "after block5_conv3, where the detector's first stage ends"


def _activation(layer: tf.keras.layers.Layer) -> str:
    return getattr(layer.activation, "__name__", "an activation of its own")


def _is_relu(layer: tf.keras.layers.Layer) -> bool:
    if type(layer) is tf.keras.layers.ReLU:
        return layer.max_value is None and not layer.negative_slope and not layer.threshold
    return type(layer) is tf.keras.layers.Activation and _activation(layer) == "relu"


def _shape_text(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


def _not_vgg16(fault: str, origin: str) -> UserError:
    return UserError(
        f"the classifier is not built on VGG-16: {fault}",
        at=origin,
        hint="convert takes classifiers whose first thirteen convolutions are those of "
        "keras.applications.VGG16",
    )
