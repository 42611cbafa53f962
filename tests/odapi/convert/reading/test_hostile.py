"""Files made to run code, to read others, to hang or to fill memory: refused by name, no effect."""

from __future__ import annotations

import copy
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from object_detection.models.keras_models import keras_config

from odapi.console.errors import UserError
from odapi.convert.source import load_classifier
from tests.odapi.convert.reading.material import (
    FORMS,
    Change,
    code,
    deep,
    in_place_of,
    layers_of,
    operation,
    refused,
    untouched,
    with_layer,
    with_option,
)


def sequence(scratch: Path) -> dict[str, Any]:
    """A model with code in it, as JSON has one."""
    start = {
        "class_name": "InputLayer",
        "config": {"batch_input_shape": [None, 3], "dtype": "float32", "name": "i"},
    }
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [start, code(scratch)]}}


Hostile = Callable[[Path], Change]
"""Takes the folder in which the effect would show."""

CODE: dict[str, tuple[Hostile, str, str]] = {
    "plain": (lambda s: in_place_of("ReLU", code(s)), "Lambda", "relu0"),
    "in_a_wrapper": (
        lambda s: in_place_of(
            "ReLU", {"class_name": "TimeDistributed", "config": {"layer": code(s)}}
        ),
        "Lambda",
        "relu0/code",
    ),
    "in_a_list": (
        lambda s: in_place_of(
            "ReLU",
            {
                "class_name": "RNN",
                "config": {
                    "cell": {"class_name": "StackedRNNCells", "config": {"cells": [code(s)]}}
                },
            },
        ),
        "Lambda",
        "code",
    ),
    "in_a_model": (lambda s: in_place_of("ReLU", sequence(s)), "Lambda", "relu0/code"),
    "in_an_activation": (
        lambda s: with_option("Conv2D", activation=code(s)),
        "Lambda",
        "conv0",
    ),
    "in_an_initializer": (
        lambda s: with_option("Conv2D", kernel_initializer=code(s)),
        "Lambda",
        "conv0",
    ),
    "in_an_argument": (
        lambda s: with_option("Conv2D", anything=[{"deep": [code(s)]}]),
        "Lambda",
        "conv0",
    ),
    "in_a_call": (
        lambda s: lambda config: _called_with(config, {"mask": code(s)}),
        "Lambda",
        "code",
    ),
    "in_a_string": (
        lambda s: with_layer(operation("keras.models.model_from_json", json.dumps(sequence(s)))),
        "keras.models.model_from_json",
        "op",
    ),
    "as_a_function": (
        lambda s: with_option(
            "Conv2D",
            activation={"module": "builtins", "class_name": "function", "config": "exec"},
        ),
        "exec",
        "conv0",
    ),
    "by_its_module": (
        lambda s: in_place_of(
            "ReLU",
            {"module": "os", "class_name": "ReLU", "config": {}, "registered_name": "system"},
        ),
        "os.ReLU",
        "relu0",
    ),
    "as_a_saved_model": (
        lambda s: in_place_of(
            "ReLU", {"class_name": "TFSMLayer", "config": {"filepath": str(s / "victim")}}
        ),
        "TFSMLayer",
        "relu0",
    ),
    "as_a_pickle": (
        lambda s: in_place_of(
            "ReLU", {"class_name": "TorchModuleWrapper", "config": {"module": "x"}}
        ),
        "TorchModuleWrapper",
        "relu0",
    ),
    "as_a_node_of_a_graph": (
        lambda s: in_place_of(
            "ReLU", {"class_name": "TensorFlowOpLayer", "config": {"node_def": "WriteFile"}}
        ),
        "TensorFlowOpLayer",
        "relu0",
    ),
    "a_vocabulary_file": (
        lambda s: in_place_of(
            "ReLU", {"class_name": "StringLookup", "config": {"vocabulary": str(s / "victim/file")}}
        ),
        "StringLookup",
        "relu0",
    ),
}


def _called_with(config: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    layer = next(entry for entry in layers_of(config) if entry["class_name"] == "ReLU")
    node = layer["inbound_nodes"][0]
    if isinstance(node, dict):
        node["kwargs"] = arguments
    else:
        node[0][3] = arguments
    return config


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CODE)
def test_code_is_refused_wherever_it_stands(good, scratch, name, form):
    hostile, named, layer = CODE[name]
    error = refused(*good.changed(form, hostile(scratch), scratch / "work"))

    assert named in error.message
    assert layer in error.at
    assert untouched(scratch)


SYMBOLS = (
    "io.write_file",
    "io.read_file",
    "io.gfile.rmtree",
    "io.gfile.copy",
    "io.gfile.remove",
    "io.gfile.GFile",
    "io.TFRecordWriter",
    "raw_ops.WriteFile",
    "raw_ops.ReadFile",
    "load_library",
    "load_op_library",
    "py_function",
    "numpy_function",
    "compat.v1.py_func",
    "saved_model.load",
    "saved_model.save",
    "train.load_checkpoint",
    "data.TFRecordDataset",
    "data.experimental.load",
    "summary.create_file_writer",
    "debugging.experimental.enable_dump_debug_info",
    "profiler.experimental.start",
    "distribute.Server",
    "config.experimental_connect_to_host",
    "print",
    "function",
    "autograph.to_graph",
    "Module",
    "keras.utils.get_file",
    "keras.models.load_model",
    "keras.models.model_from_json",
    "keras.models.model_from_config",
    "keras.layers.deserialize",
    "keras.utils.deserialize_keras_object",
    "keras.backend.function",
    "keras.callbacks.CSVLogger",
    "keras.utils.image_dataset_from_directory",
)
"""Of each sort that reaches out of a model: writing, reading, deleting, downloading, loading."""


@pytest.mark.parametrize("layer", ["TFOpLambda", "SlicingOpLambda"])
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_symbols_that_reach_out_are_refused(good, scratch, symbol, layer):
    entry = operation(symbol, str(scratch / "effect"), contents="x")
    entry["class_name"] = layer
    error = refused(*good.changed("json", with_layer(entry), scratch / "work"))

    assert symbol in error.message and "'op'" in error.at
    assert untouched(scratch)


def test_an_operation_takes_tensors_and_numbers(good, scratch):
    def slip(config: dict[str, Any]) -> dict[str, Any]:
        layers_of(config).append(operation("math.multiply", ["relu0", 0, 0], y="/etc/passwd"))
        layers_of(config)[-1]["inbound_nodes"] = [["relu0", 0, 0, {"y": "/etc/passwd"}]]
        return config

    assert "/etc/passwd" in refused(*good.changed("json", slip, scratch / "work")).message
    lonely = with_layer(operation("tile", [1.0], multiples=[1 << 40]))
    assert "no tensor" in refused(*good.changed("json", lonely, scratch / "work")).message


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "17", '"model"', '{"class_name": 3, "config": 4}', "{", deep(200_000)],
)
def test_json_that_is_no_model(good, scratch, text):
    for name in ("model.json", "model.keras"):
        path = scratch / "work" / name
        if name.endswith("json"):
            path.write_text(text)
            refused(path, good.weights())
        else:
            source, _ = good.changed("keras", lambda config: config, scratch / "work")
            _replace_member(Path(source), path, "config.json", text.encode())
            refused(path)


def _replace_member(source: Path, target: Path, name: str, content: bytes) -> None:
    import zipfile

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))


ODD: dict[str, Change] = {
    "class_null": lambda c: {**c, "class_name": None},
    "config_null": lambda c: {**c, "config": None},
    "layers_null": lambda c: {**c, "config": {**c["config"], "layers": None}},
    "layers_numbers": lambda c: {**c, "config": {**c["config"], "layers": [1, 2]}},
    "layer_class_number": in_place_of("ReLU", {"class_name": 7, "config": {}}),
    "layer_class_list": in_place_of("ReLU", {"class_name": ["ReLU"], "config": {}}),
    "activation_number": with_option("Conv2D", activation={"class_name": 1, "config": 2}),
    "dtype_text": with_option("Conv2D", dtype="string"),
    "dtype_class": with_option("Conv2D", dtype={"class_name": "Exec", "config": {}}),
    "long_name": with_option("Conv2D", name="n" * 100_000),
    "deep_option": lambda c: _set(c, "Conv2D", "data_format", json.loads(deep(500))),
    "unknown_activation": with_option("Conv2D", activation="os.system"),
    "a_circle": lambda c: _circle(c),
    "no_such_input": lambda c: _input_of(c, "ReLU", "nowhere"),
    "filters_two_billion": with_option("Conv2D", filters=2_000_000_000),
    "units_two_billion": with_option("Dense", units=2_000_000_000),
    "kernel_of_a_million": with_option("Conv2D", kernel_size=[1_000_000, 1_000_000]),
    "dilation_huge": with_option("Conv2D", strides=[0, 0]),
}


def _set(config: dict[str, Any], layer: str, key: str, value: Any) -> dict[str, Any]:
    found = next(entry for entry in layers_of(config) if entry["class_name"] == layer)
    found["config"][key] = value
    return config


def _input_of(config: dict[str, Any], layer: str, source: str) -> dict[str, Any]:
    found = next(entry for entry in layers_of(config) if entry["class_name"] == layer)
    text = json.dumps(found["inbound_nodes"])
    previous = "bn0"
    found["inbound_nodes"] = json.loads(text.replace(f'"{previous}"', f'"{source}"'))
    return config


def _circle(config: dict[str, Any]) -> dict[str, Any]:
    return _input_of(config, "ReLU", "relu4")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ODD)
def test_configurations_that_are_odd_end_in_a_line(good, scratch, name, form):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refused(*good.changed(form, ODD[name], scratch / "work"))

    assert len(str(error)) < 2_000 and "\n  at: " in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


def test_models_within_models_do_not_multiply(good, scratch):
    """Each calls the next one twice: 2 to the power of 18 layers, in some hundred lines."""

    def laughs(config: dict[str, Any]) -> dict[str, Any]:
        inner = {"class_name": "ReLU", "config": {"name": "end"}, "name": "end"}
        for level in range(18):
            start = {
                "class_name": "InputLayer",
                "config": {"batch_input_shape": [None, 64, 64, 3], "name": "in"},
                "name": "in",
                "inbound_nodes": [],
            }
            first = int(level > 0)
            inner = {
                **copy.deepcopy(inner),
                "inbound_nodes": [[["in", 0, 0, {}]], [[inner["name"], first, 0, {}]]],
            }
            inner = {
                "class_name": "Functional",
                "config": {
                    "name": f"m{level}",
                    "layers": [start, inner],
                    "input_layers": [["in", 0, 0]],
                    "output_layers": [[inner["name"], first + 1, 0]],
                },
                "name": f"m{level}",
            }
        return {key: inner[key] for key in ("class_name", "config")}

    assert "models within models" in refused(*good.changed("json", laughs, scratch)).message


@pytest.mark.parametrize("name", ["ZeroPadding2D", "UpSampling2D"])
def test_tensors_that_memory_does_not_hold(good, scratch, name):
    option = {"padding": 100_000} if name == "ZeroPadding2D" else {"size": 10_000}
    change = in_place_of("ReLU", {"class_name": name, "config": option})

    assert "tensor of" in refused(*good.changed("json", change, scratch / "work")).message


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the check out: every configuration goes to Keras as it is."""
    monkeypatch.setattr(keras_config, "checked", lambda config, custom=(): config)


def test_control_these_files_do_run_code(good, scratch):
    """Keras's own loader of HDF5 is not safe: what the tests above refuse is no blank."""
    hostile, *_ = CODE["in_a_string"]
    path, _ = good.changed("h5", hostile(scratch), scratch / "work")
    with pytest.raises(ValueError, match="op"):
        tf.keras.models.load_model(path, compile=False)
    assert (scratch / "effect").exists()


def test_control_without_the_check_symbols_are_called(good, scratch, unchecked):
    for entry in (
        operation("io.write_file", str(scratch / "effect"), contents="x"),
        operation("io.gfile.rmtree", str(scratch / "victim")),
    ):
        with pytest.raises(UserError):
            load_classifier(*good.changed("json", with_layer(entry), scratch / "work"))
    assert (scratch / "effect").exists()
    assert not (scratch / "victim").exists()


def test_the_forms_themselves_are_read(good):
    """What all these files are but for one thing."""
    for form in FORMS:
        weights = str(good.weights(form)) if form.endswith("json") else None
        assert load_classifier(str(good.folder / f"good.{form}"), weights).model.count_params()
    assert load_classifier(str(good.saved_model)).model.count_params()
