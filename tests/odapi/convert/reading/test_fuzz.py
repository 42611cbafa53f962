"""Keras files with anything changed in them: each is read, or refused in a sentence, and no more.

    ODAPI_FUZZ=50 .venv/bin/python -m pytest -s tests/odapi/convert/reading/test_fuzz.py

runs fifty times as many inputs as continuous integration does, from other seeds each time.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import keras
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from object_detection.models.keras_models import keras_config

from odapi.console.errors import UserError
from odapi.convert.source import Classifier, load_classifier
from tests.odapi.convert.reading import mutations
from tests.odapi.convert.reading.networks import archive, config, with_layers
from tests.odapi.convert.reading.oracle import Oracle

TIMES = int(os.environ.get("ODAPI_FUZZ", "1"))
RANDOM = st.randoms(use_true_random=False)


def inputs(count: int) -> Callable:
    """Runs a test with so many inputs, always the same ones unless more are asked for."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def bench(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Networks, and an oracle; says at the end what it saw."""
    bench = Bench(whole, tmp_path_factory.mktemp("fuzz"))
    yield bench
    for kind, seconds in bench.oracle.seconds.items():
        outcomes = {name: n for (of, name), n in sorted(bench.oracle.seen.items()) if of == kind}
        print(f"\n{kind}: {sum(outcomes.values())} inputs, {seconds:.0f} s, {outcomes}", end="")


class Bench:
    """Where inputs are written and read."""

    def __init__(self, whole: Path, folder: Path) -> None:
        self.whole, self.folder = whole, folder
        canary = folder / "canary"
        canary.mkdir()
        (canary / "secret").write_text("not for a checkpoint")
        (canary / "folder").mkdir()
        self.oracle = Oracle(canary)
        self.networks = []
        for index, (number, model) in enumerate(mutations.networks()):
            model.save_weights(folder / f"{index}.weights.h5")
            self.networks.append((number, json.loads(model.to_json()), index))
        for number in (2, 3):  # what is imported at the first use is imported now
            load_classifier(str(whole / f"{number}.keras"))
            load_classifier(str(whole / f"{number}.h5"))
        load_classifier(str(whole / "2"))

    def read(self, kind: str, source: Path, weights: Path | None = None) -> None:
        """Reads an input, and sees that this is all it does."""
        with self.oracle.watching(kind):
            try:
                found = load_classifier(str(source), weights and str(weights))
            except UserError as error:
                assert error.exit_code == 2
                assert error.at and "\n" not in error.message
                self.oracle.seen[kind, "refused"] += 1
            else:
                assert isinstance(found, Classifier)
                self.oracle.seen[kind, "read"] += 1
        if self.oracle.seen.total() % 16 == 0:  # half a second
            tf.keras.backend.clear_session()
            keras.backend.clear_session()

    def bytes(self, kind: str, name: str, content: bytes, weights_of: str | None = None) -> None:
        """Reads a file of these bytes, or reads with it as weights."""
        target = self.folder / name
        target.write_bytes(content)
        if weights_of is None:
            self.read(kind, target)
        else:
            self.read(kind, self.whole / weights_of, target)


@pytest.mark.parametrize("number", [2, 3])
@inputs(12)
@given(random=RANDOM)
def test_configurations(bench: Bench, number: int, random: Random):
    whole = [found for found in bench.networks if found[0] == number]
    _, tree, index = whole[random.randrange(len(whole))]
    others = [other for _, other, _ in bench.networks]
    content = mutations.changed(tree, others, bench.oracle.canary, random)
    source = bench.folder / "changed.json"
    source.write_text(json.dumps(content))
    bench.read(f"configurations of Keras {number}", source, bench.folder / f"{index}.weights.h5")


@pytest.mark.parametrize("name", ["2.h5", "3.h5", "2.weights.h5", "3.weights.h5"])
@inputs(8)
@given(random=RANDOM)
def test_hdf5(bench: Bench, name: str, random: Random):
    content = mutations.scrambled((bench.whole / name).read_bytes(), random)
    weights_of = f"{name[0]}.json" if "weights" in name else None
    bench.bytes("HDF5", f"changed.{name[2:]}", content, weights_of)


@pytest.mark.parametrize("name", ["2.keras", "3.keras"])
@inputs(10)
@given(random=RANDOM)
def test_archives(bench: Bench, name: str, random: Random):
    content = mutations.scrambled((bench.whole / name).read_bytes(), random)
    bench.bytes("archives", "changed.keras", content)


@inputs(8)
@given(random=RANDOM)
def test_members_of_archives(bench: Bench, random: Random):
    chosen = random.choice(["config.json", "metadata.json", "model.weights.h5"])
    target = archive(
        bench.whole / random.choice(["2.keras", "3.keras"]),
        bench.folder / "changed.keras",
        lambda name, old: mutations.scrambled(old, random) if name == chosen else old,
    )
    bench.read("members of archives", target)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("keras_metadata.pb", mutations.scrambled),
        ("variables/variables.index", mutations.scrambled),
        ("variables/variables.index", mutations.table),
        ("variables/variables.data-00000-of-00001", mutations.scrambled),
    ],
    ids=["metadata", "index", "blocks", "data"],
)
@inputs(8)
@given(random=RANDOM)
def test_saved_models(bench: Bench, name: str, change: Callable, random: Random):
    target = bench.folder / "saved_model"
    for file in (bench.whole / "2").rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(bench.whole / "2")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    (target / name).write_bytes(change((target / name).read_bytes(), random))
    bench.read(f"SavedModels: {name.split('/')[-1]}", target)


def test_without_the_check_a_file_has_its_effect(bench: Bench, tmp_path, monkeypatch):
    attack = tmp_path / "attack.json"
    oracle = Oracle(tmp_path / "scratch")
    oracle.canary.mkdir()
    writing = mutations.hostile(oracle.canary)["config"]["layers"][1]
    attack.write_text(json.dumps(with_layers(config(bench.whole, 2), writing)))
    weights = str(bench.whole / "2.weights.h5")
    with oracle.watching("attack"), pytest.raises(UserError, match=r"io\.write_file"):
        load_classifier(str(attack), weights)
    assert not (oracle.canary / "effect").exists()

    monkeypatch.setattr(keras_config, "checked", lambda config, custom=(): config)
    with pytest.raises(AssertionError), oracle.watching("attack"), pytest.raises(UserError):
        load_classifier(str(attack), weights)

    assert (oracle.canary / "effect").exists()


@pytest.mark.parametrize(
    "act",
    [
        lambda canary: (canary.parent / "new").write_text("x"),
        lambda canary: (canary / "secret").read_text(),
        lambda canary: subprocess.run([sys.executable, "-c", ""], check=True),
        lambda canary: socket.create_connection(("127.0.0.1", 9), 0.1),
        lambda canary: __import__("marshal").loads(b"N"),
        lambda canary: (canary / "secret").rename(canary / "other"),
    ],
    ids=["write", "read", "program", "network", "code", "rename"],
)
def test_the_oracle_sees(act, tmp_path):
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "secret").write_text("x")
    oracle = Oracle(canary)

    with (
        pytest.raises(AssertionError),
        oracle.watching("control"),
        contextlib.suppress(OSError),
    ):
        act(canary)


def test_what_is_changed_was_whole(bench: Bench):
    """Without a change a network is read, so that a refusal is of the change."""
    # Of Keras 3's, wrappers are made, and then have no counterpart in Keras 2.
    for number, tree, index in bench.networks[:11:3]:
        source = bench.folder / "whole.json"
        source.write_text(json.dumps(tree))
        bench.read("whole", source, bench.folder / f"{index}.weights.h5")
        assert not bench.oracle.seen["whole", "refused"], (number, index)
    assert zipfile.is_zipfile(bench.whole / "3.keras")
