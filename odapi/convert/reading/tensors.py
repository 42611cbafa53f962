"""How large a model's tensors become for one image: looked at before the first is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from odapi.errors import UserError

FREE_SIDE = 96
"""Side in pixels of the image for a model that takes any size."""
MAX_VALUES = 1 << 28
"""Of one tensor, for one image: 1 GB. VGG-16's largest has 38 million for 600x1000 pixels."""


def check(model: Any, path: Path | str) -> None:
    """Refuses a model that makes of one image what memory does not hold.

    A layer without weights can declare any size: padding, enlarging, repeating.

    Args:
        model: of either Keras, functional or sequential.
        path: its file, for the message.

    Raises:
        UserError: a tensor is too large.
    """
    shapes = list(_symbolic(model))
    if any(None in shape for _, shape in shapes):
        shapes = list(_traced(model))
    for name, shape in shapes:
        if math.prod(side for side in shape if side is not None) > MAX_VALUES:
            raise UserError(
                f"the model makes of one image a tensor of {'x'.join(map(str, shape))} values",
                at=f"{path}, {name!r}",
                hint=f"a tensor may have {MAX_VALUES:,} values",
            )


def _symbolic(model: Any) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    """Shapes as the model's own graph has them, without the batch, models within it included."""
    graph = getattr(model, "_functional", None) or model
    for nodes in getattr(graph, "_nodes_by_depth", {}).values():
        for node in nodes:
            of_keras_3 = hasattr(node, "operation")
            owner = node.operation if of_keras_3 else node.layer
            outputs = node.output_tensors if of_keras_3 else node.outputs
            for tensor in tf.nest.flatten(outputs):
                yield owner.name, tuple(tensor.shape)[1:]
            if getattr(owner, "_nodes_by_depth", None) and owner is not model:
                yield from _symbolic(owner)


def _traced(model: Any) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    """Shapes for an image of `FREE_SIDE`, where the model says no other."""
    specs = [
        tf.TensorSpec([1, *(side or FREE_SIDE for side in tensor.shape[1:])], tensor.dtype)
        for tensor in model.inputs
    ]
    call = tf.function(lambda *inputs: model(list(inputs) if len(inputs) > 1 else inputs[0]))
    for operation in call.get_concrete_function(*specs).graph.get_operations():
        for tensor in operation.outputs:
            if tensor.shape.rank is not None and tensor.dtype.is_numpy_compatible:
                yield operation.name, tuple(tensor.shape)
