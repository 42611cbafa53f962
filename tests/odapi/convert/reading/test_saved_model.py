"""Every node's metadata of a SavedModel is looked at, and no graph of it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from odapi.convert.source import load_classifier
from tests.odapi.convert.reading import material
from tests.odapi.convert.reading.material import (
    Classifiers,
    code,
    deep,
    in_place_of,
    refused,
    untouched,
)


def changed(good: Classifiers, target: Path, node: str, metadata: object) -> Path:
    copied = Path(shutil.copytree(good.saved_model, target / "model"))
    path, message = material.metadata(copied)
    for found in message.nodes:
        text = json.loads(found.metadata) if found.metadata else {}
        if text.get("class_name") == node:
            found.metadata = json.dumps(metadata(text)) if callable(metadata) else str(metadata)
            break
    path.write_bytes(message.SerializeToString())
    return copied


def test_code_in_a_child(good, scratch):
    hostile = code(scratch)
    path = changed(
        good, scratch / "work", "ReLU", lambda text: {**text, **hostile, "name": "relu0"}
    )
    error = refused(path)
    assert "Lambda" in error.message and "layer" in error.at
    assert untouched(scratch)


def test_control_that_file_does_run_code(good, scratch):
    hostile = code(scratch)
    path = changed(
        good, scratch / "work", "ReLU", lambda text: {**text, **hostile, "name": "relu0"}
    )
    tf.keras.models.load_model(path, compile=False)
    assert (scratch / "effect").exists()


def test_code_in_the_root_alone(good, scratch):
    path = changed(
        good,
        scratch / "work",
        "Functional",
        lambda text: {**text, **in_place_of("ReLU", code(scratch))(text)},
    )
    assert "Lambda" in refused(path).message
    assert untouched(scratch)


def test_no_graph_is_loaded(good, scratch):
    copied = Path(shutil.copytree(good.saved_model, scratch / "work" / "model"))
    (copied / "saved_model.pb").write_bytes(b"whatever it would do")

    assert load_classifier(str(copied)).model.count_params()


@pytest.mark.parametrize("text", ["null", "[1]", "{", "3", deep(100_000)])
def test_metadata_that_is_none(good, scratch, text):
    refused(changed(good, scratch / "work", "Functional", text))


@pytest.mark.parametrize("name", ["variables.index", "variables.data-00000-of-00001"])
def test_a_truncated_checkpoint(good, scratch, name):
    copied = Path(shutil.copytree(good.saved_model, scratch / "work" / "model"))
    path = copied / "variables" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(copied)
