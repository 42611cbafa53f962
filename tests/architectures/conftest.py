"""A folder to train in."""

from __future__ import annotations

from pathlib import Path

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import pytest
import tensorflow as tf

from tests.architectures import records


@pytest.fixture
def folder(tmp_path: Path):
    """A folder with records, in a process without leftovers of the test before."""
    tf.keras.backend.clear_session()
    tf.random.set_seed(1)
    records.write(tmp_path)
    yield tmp_path
    for checkpoint in tmp_path.glob("**/ckpt-*"):  # up to hundreds of megabytes each
        checkpoint.unlink()
