"""Memory of a training: what the input holds, the limit of it, and no growth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from odapi import cli, train
from odapi.console.arguments import size
from odapi.console.errors import UserError
from odapi.pipeline.config import load
from odapi.pipeline.inputs import eval_records
from odapi.train.input_memory import InputMemory, estimate
from odapi.train.monitor import Monitor

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

ROOT = Path(__file__).parents[3]
MEMORY = InputMemory(
    shuffled=2048, record=1_000_000, readers=64, reader=8_000_000, prefetched=2, batch=5_000_000
)
MB = 1_000_000


def test_the_size_of_images_is_that_of_the_first_whatever_file_it_is_in(project, tmp_path):
    config = load(str(project.config))
    config.model.ssd.image_resizer.identity_resizer.SetInParent()
    [records] = config.train_input_reader.tf_record_input_reader.input_path
    empty = tmp_path / "empty.record"
    empty.touch()
    memory = estimate(config, [str(empty), records], 16)
    assert memory.batch == estimate(config, [records], 16).batch > 0
    with pytest.raises(UserError, match="no records"):
        estimate(config, [str(empty)], 0)


@pytest.mark.parametrize("limit", [40 * MB, 100 * MB, 500 * MB, 2_000 * MB])
def test_what_is_fitted_keeps_to_the_limit_and_uses_it(limit):
    fitted = MEMORY.within(limit, batch_size=4)
    assert 0.6 * limit < fitted.total <= limit
    assert fitted.shuffled >= 8 and fitted.readers >= 1 and fitted.prefetched >= 1


def test_what_fits_is_left_alone():
    assert MEMORY.within(MEMORY.total, batch_size=4) == MEMORY


def test_a_limit_that_is_too_small_is_refused_with_what_it_takes():
    with pytest.raises(UserError) as refused:
        MEMORY.within(20 * MB, batch_size=4)
    assert "31 MB at least" in refused.value.hint
    assert MEMORY.within(31 * MB, batch_size=4).total == 31 * MB


@pytest.mark.parametrize(
    ("text", "expected"), [("500MB", 500 * MB), ("1.5 GB", 1500 * MB), ("1gb", 1000 * MB)]
)
def test_sizes_are_read(text, expected):
    assert size(text) == expected


@pytest.mark.parametrize("text", ["500", "MB", "-1GB", "0MB", "1TB"])
def test_other_texts_are_no_sizes(text, project, tmp_path, capsys):
    common = [f"--pipeline_config_path={project.config}", f"--model_dir={tmp_path}"]
    assert cli.main(["train", *common, f"--max_input_memory={text}"]) == 2
    assert "500MB or 1.5GB" in capsys.readouterr().err


READ_BATCHES = """
import sys
from pathlib import Path
from odapi.console import runtime
from odapi.pipeline.config import load
from odapi.pipeline.inputs import record_files
from odapi.train import input_memory
runtime.start()
from object_detection import inputs
from object_detection.builders import model_builder

def resident():
    # Not the peak that the system keeps: at first that is the one of the process that started this.
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

config = load(sys.argv[1], "train_input_reader { shuffle_buffer_size: 300 }")
files = record_files(config.train_input_reader, "train_input_reader")
memory = input_memory.estimate(config, files, 40)
if len(sys.argv) > 2:
    memory = memory.within(int(sys.argv[2]), config.train_config.batch_size)
    memory.apply_to(config.train_input_reader)
model = model_builder.build(config.model, is_training=True)

def read(reader, batches):
    dataset = inputs.train_input(config.train_config, reader, config.model, model)
    return max(resident() for _ in dataset.take(batches))

# What code and threads take is not of the records.
few = type(config.train_input_reader).FromString(config.train_input_reader.SerializeToString())
few.shuffle_buffer_size = 1
before = read(few, 2)
print(read(config.train_input_reader, 10) - before, memory.total / 1e6)
"""


@pytest.fixture(scope="module")
def large_records(project, tmp_path_factory) -> Path:
    """A config whose 40 records are of about 0.8 MB each."""
    import tensorflow as tf

    from tests.small.records import scene_features, write_records
    from tests.small.scenes import make_scene

    folder = tmp_path_factory.mktemp("large")
    noise = np.random.default_rng(1).integers(0, 256, (512, 512, 3), np.uint8)
    encoded = tf.io.encode_png(noise, compression=0).numpy()
    features = scene_features(make_scene(0, objects=(1, 2)))
    features["image/encoded"] = [encoded]
    write_records(folder / "train.record", 40 * [features])
    config = folder / "pipeline.config"
    config.write_text(
        project.config.read_text().replace(
            f"{project.folder}/train.record", f"{folder}/train.record"
        )
    )
    return config


def test_the_limit_holds_the_process_and_without_it_the_estimate_is_true(large_records):
    def read(*limit: str) -> tuple[float, float]:
        done = subprocess.run(
            [sys.executable, "-c", READ_BATCHES, str(large_records), *limit],
            cwd=ROOT,
            # Blocks of this size and above go back to the system as soon as they are freed. What
            # malloc keeps for later is up to 100 MB, and another amount in each run.
            env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "2"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        grown, told = map(float, done.stdout.split()[-2:])
        return grown, told

    grown, told = read()
    assert 200 < told < 350
    assert 0.7 * told < grown < 1.3 * told
    limited, told = read("60000000")
    assert told <= 60
    assert limited < 90


def test_two_thousand_steps_take_no_more_memory_than_five_hundred(project, tmp_path, monkeypatch):
    resident = {}
    after_step = Monitor.after_step

    def after_step_and_look(self: Monitor, outcome: Any) -> None:
        if outcome.step % 500 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident[outcome.step] = pages * 4096 / MB
        after_step(self, outcome)

    monkeypatch.setattr(Monitor, "after_step", after_step_and_look)
    train.train(
        train.TrainOptions(
            config=str(project.config),
            model_dir=str(tmp_path),
            num_train_steps=2000,
            checkpoint_every_n=2000,
            record_summaries=False,
            config_override="train_config { batch_size: 1 } "
            "model { ssd { image_resizer { fixed_shape_resizer { height: 64 width: 64 } } } } "
            "train_input_reader { shuffle_buffer_size: 16 }",
        )
    )
    # An image kept of each step would be 74 MB.
    assert resident[2000] - resident[500] < 40, resident


def test_no_iterator_waits_for_autotuning(project, monkeypatch):
    """Its thread sleeps for up to a minute, and is not always told that an iterator is dropped."""
    import tensorflow as tf
    from object_detection.builders import dataset_builder

    from odapi.records.ground_truth import read_examples

    begun = []
    begin = tf.data.Dataset.__iter__

    def begin_and_note(dataset):
        begun.append(dataset.options().autotune.enabled)
        return begin(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", begin_and_note)
    config = load(str(project.config))
    next(iter(dataset_builder.build(config.train_input_reader)))
    next(read_examples(eval_records(config, str(project.config))))
    assert begun == [False, False]
