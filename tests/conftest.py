"""What a test leaves behind in its process, and the next ones do not want."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def graphs_are_forgotten() -> Iterator[None]:
    """Frees the graphs of trainings.

    TensorFlow registers the gradient of each `tf.custom_gradient` in a graph for ever, and with it
    the whole graph: 100 MB for a small SSD. A process that ran forty trainings had grown to 17 GB.
    """
    yield
    if "tensorflow" not in sys.modules:
        return
    from tensorflow.python.framework import ops

    registry = ops.gradient_registry._registry
    custom = [name for name in registry if name.startswith("CustomGradient")]
    for name in custom:
        del registry[name]
    if custom:
        gc.collect()
