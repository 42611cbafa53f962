"""How the published ways to attack by a Keras model file end here: one test each.

`docs/security.md` has the same list; the last test compares the two.
"""

from __future__ import annotations

import base64
import json
import marshal
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from odapi.console.errors import UserError
from odapi.convert.source import load_classifier
from tests.odapi.convert.reading.networks import (
    archive,
    config,
    layer,
    load,
    operation,
    refusal,
    with_layers,
)

DOCUMENT = Path(__file__).parents[4] / "docs" / "security.md"


@pytest.fixture
def effect(tmp_path: Path) -> Path:
    """A file that an attack would make."""
    return tmp_path / "effect"


def code(effect: Path) -> list[Any]:
    """A function that makes a file, as Keras 2 keeps it: its byte code."""
    made = eval(f"lambda x: (open({str(effect)!r}, 'w'), x)[1]").__code__
    return [base64.b64encode(marshal.dumps(made)).decode(), None, None]


def lambda_layer(effect: Path) -> dict[str, Any]:
    return layer(
        "Lambda", [[["relu0", 0, 0, {}]]], function=code(effect), function_type="lambda", module="x"
    )


def keras_file(folder: Path, *layers: dict[str, Any]) -> Path:
    """A `.keras` file of Keras 3 with more layers."""
    content = json.dumps(with_layers(config(folder, 3), *layers)).encode()
    return archive(
        folder / "3.keras",
        folder / "attack.keras",
        lambda name, old: content if name == "config.json" else old,
    )


def function(module: str, name: str) -> dict[str, Any]:
    """A function as Keras 3 names it."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def refused(path: Path) -> UserError:
    return refusal(lambda: load_classifier(str(path)))


def test_cve_2021_37678_yaml(folder):
    (folder / "model.yaml").write_text("!!python/object/apply:os.system ['true']")

    assert "no Keras model" in refused(folder / "model.yaml").message.replace("not a", "no")


def test_cve_2024_3660_lambda(folder, effect):
    error = refused(keras_file(folder, lambda_layer(effect)))

    assert "Lambda" in error.message and "more" in error.at
    assert not effect.exists()


@pytest.mark.parametrize("name", ["get_file", "extract_archive"])
def test_cve_2024_55459_and_2025_12060_tar(folder, effect, name):
    call = operation(f"keras.utils.{name}", "_CONSTANT_VALUE", -1, "a.tar", {"extract": True})

    error = refusal(lambda: load(folder, with_layers(config(folder, 2), call)))

    assert f"keras.utils.{name}" in error.message and "more" in error.at


@pytest.mark.parametrize(
    "where", [{"module": "subprocess"}, {"module": "os"}, {"registered_name": "a>b"}]
)
def test_cve_2025_1550_any_class_of_any_module(folder, where):
    attack = {**layer("Dense", []), **where}

    assert "custom layer" in refused(keras_file(folder, attack)).message


def test_cve_2025_1550_any_function(folder):
    attack = layer("Activation", [], activation=function("os", "system"))

    assert "'system'" in refused(keras_file(folder, attack)).message


@pytest.mark.parametrize("name", ["get_file", "relu"])
def test_cve_2025_8747_functions_of_keras(folder, name):
    attack = layer("Lambda", [], function=function("keras.utils", name), arguments={"origin": "x"})

    assert "Lambda" in refused(keras_file(folder, attack)).message


def test_cve_2025_9905_lambda_in_hdf5(folder, effect):
    with h5py.File(folder / "2.h5", "r+") as file:
        whole = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(with_layers(whole, lambda_layer(effect)))

    assert "Lambda" in refused(folder / "2.h5").message
    assert not effect.exists()


def test_cve_2025_9906_a_file_that_allows_itself_everything(folder):
    name = "enable_unsafe_deserialization"
    attack = layer("Activation", [], activation=function("keras.config", name))

    assert name in refused(keras_file(folder, attack)).message


@pytest.mark.parametrize("kind", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_cve_2025_12058_vocabulary(folder, kind):
    attack = layer(kind, [], vocabulary="/etc/passwd")

    assert "vocabulary" in refused(keras_file(folder, attack)).message


def test_cve_2025_49655_torch(folder):
    attack = layer("TorchModuleWrapper", [], module=base64.b64encode(b"pickle").decode())

    assert "TorchModuleWrapper" in refused(keras_file(folder, attack)).message


def test_cve_2026_0897_declared_shapes(folder):
    with h5py.File(folder / "2.weights.h5", "r+") as file:
        name = next(_data_sets(file))
        del file[name]
        file.create_dataset(name, (10**6, 10**6), "f4", chunks=(1000, 1000))

    assert "declares" in refusal(lambda: load(folder, config(folder, 2))).message


@pytest.mark.parametrize("how", ["storage", "link", "virtual", "soft"])
def test_cve_2026_1669_values_of_other_files(folder, how):
    secret = folder / "secret"
    secret.write_bytes(b"not for a checkpoint" * 1000)
    with h5py.File(folder / "2.weights.h5", "r+") as file:
        name = next(_data_sets(file))
        shape = file[name].shape
        del file[name]
        if how == "storage":
            size = 4 * int(np.prod(shape))
            file.create_dataset(name, shape, "f4", external=[(str(secret), 0, size)])
        elif how == "virtual":
            layout = h5py.VirtualLayout(shape, "f4")
            layout[...] = h5py.VirtualSource(str(folder / "2.h5"), name, shape)
            file.create_virtual_dataset(name, layout)
        else:
            file[name] = (
                h5py.SoftLink("/elsewhere")
                if how == "soft"
                else h5py.ExternalLink(str(folder / "2.h5"), name)
            )

    error = refusal(lambda: load(folder, config(folder, 2)))

    assert "another file" in error.message or "is a link" in error.message
    assert name in error.at


def test_cve_2026_1462_saved_model_from_a_path(folder):
    attack = layer("TFSMLayer", [], filepath=str(folder / "2"), call_endpoint="serve")

    assert "loads a SavedModel" in refused(keras_file(folder, attack)).message


def _data_sets(file: h5py.File) -> Any:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    return iter(names)


def test_the_document_has_a_row_for_each_and_a_test_in_each_row():
    rows = dict(re.findall(r"^\| ((?:CVE-[\d-]+,? ?)+) \|.*\| `(test_\w+)` \|$", _table(), re.M))
    tests = [name for name in globals() if name.startswith("test_cve_")]

    for numbers, test in rows.items():
        assert any(name.startswith(test) for name in tests), test
        for number in re.findall(r"\d{4}-\d+", numbers):
            assert number.replace("-", "_") in test, (number, test)
    assert not [name for name in tests if not name.startswith(tuple(rows.values()))]
    assert len(rows) >= 11


def _table() -> str:
    return DOCUMENT.read_text()
