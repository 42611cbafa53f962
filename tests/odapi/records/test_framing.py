"""A record file is looked at before TensorFlow's reader, which crashes where a length lies."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

import tensorflow as tf
from object_detection.utils import record_framing
from object_detection.utils.record_framing import Fault, masked_crc32c

from odapi import cli
from odapi.console.errors import UserError
from odapi.records import framing
from tests.odapi.doctor.material import clean_scenes
from tests.small import ssd
from tests.small.records import scene_features, write_records
from tests.small.scenes import write_label_map

RECORDS = 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("records") / "whole.record"
    return write_records(path, map(scene_features, clean_scenes(RECORDS))).read_bytes()


def starts(data: bytes) -> list[int]:
    """Where the records begin, and where the last one ends."""
    found = [0]
    while found[-1] < len(data):
        found.append(found[-1] + 16 + struct.unpack_from("<Q", data, found[-1])[0])
    return found


def with_length(data: bytes, record: int, length: int, checksum: int | None = None) -> bytes:
    """The file with another length of a record, from 0, with the right checksum of it."""
    position = starts(data)[record]
    packed = struct.pack("<Q", length)
    header = packed + struct.pack("<I", masked_crc32c(packed) if checksum is None else checksum)
    return data[:position] + header + data[position + 12 :]


LIES: dict[str, Callable[[bytes, int], bytes]] = {
    "terabyte": lambda data, record: with_length(data, record, 10**12),
    "one_too_many": lambda data, record: with_length(
        data, record, len(data) - starts(data)[record] - 15
    ),
    "most_signed": lambda data, record: with_length(data, record, 2**63 - 1),
    "least_signed": lambda data, record: with_length(data, record, 2**63),
    "minus_one": lambda data, record: with_length(data, record, 2**64 - 1),
    "minus_sixteen": lambda data, record: with_length(data, record, 2**64 - 16),
    "to_the_middle": lambda data, record: with_length(data, record, 100),
    "wrong_checksum": lambda data, record: with_length(data, record, 10, checksum=7),
    "truncated_header": lambda data, record: data[: starts(data)[record] + 5],
    "truncated_data": lambda data, record: data[: starts(data)[record] + 40],
    "truncated_footer": lambda data, record: data[: starts(data)[record + 1] - 1],
    "tail_of_zeros": lambda data, record: data[: starts(data)[record]] + bytes(4096),
}


@pytest.mark.parametrize("record", range(RECORDS))
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lying_length_is_found_where_it_stands(lie, record, whole, tmp_path):
    path = tmp_path / "lies.record"
    path.write_bytes(lie(whole, record))
    found = framing.scan(str(path))
    # Data that is no header follows a length that is too short: the fault shows one record later.
    late = lie is LIES["to_the_middle"]
    assert found.records == record + late
    # Where the first header is none, the whole file is said to be no TFRecord file.
    assert found.error.record in (record + 1 + late, None if record == 0 and not late else 0)
    with pytest.raises(UserError) as raised:
        framing.count_records(str(path))
    assert str(path) in str(raised.value) and raised.value.exit_code == 2


def test_a_sparse_file_is_no_record_of_a_terabyte(whole, tmp_path):
    """The length fits the file, so that only a bound keeps memory from being allocated."""
    path = tmp_path / "sparse.record"
    path.write_bytes(with_length(whole, 1, 10**12))
    os.truncate(path, 2 * 10**12)
    found = framing.scan(str(path))
    assert (found.records, found.error.fault, found.error.record) == (1, Fault.DAMAGED, 2)


def test_a_file_that_shrinks_while_it_is_read(whole):
    def read_at(position: int, count: int) -> bytes:
        return whole[position : min(position + count, starts(whole)[1] + 3)]

    found = record_framing.scan_stream("shrinks", len(whole), read_at)
    assert (found.records, found.error.fault) == (1, Fault.TRUNCATED)


def test_what_is_no_file_is_refused_without_a_wait(tmp_path):
    os.mkfifo(tmp_path / "fifo.record")
    (tmp_path / "folder.record").mkdir()
    (tmp_path / "zero.record").symlink_to("/dev/zero")
    (tmp_path / "gone.record").symlink_to(tmp_path / "nothing")
    for name, fault in (
        ("fifo", Fault.NOT_A_FILE),
        ("folder", Fault.NOT_A_FILE),
        ("zero", Fault.NOT_A_FILE),
        ("gone", Fault.UNREADABLE),
    ):
        assert framing.scan(str(tmp_path / f"{name}.record")).error.fault is fault
    assert cli.main(["doctor", str(tmp_path / "*.record")]) == 1


def test_an_empty_file_has_no_records(tmp_path):
    path = tmp_path / "empty.record"
    path.touch()
    assert framing.count_records(str(path)) == 0


def test_urls_of_this_machine_are_its_files(whole, tmp_path):
    local = tmp_path / "a.record"
    local.write_bytes(whole)
    assert framing.count_records(f"file://{local}") == RECORDS
    assert not record_framing.is_local("gs://bucket/a.record")


def test_a_remote_file_is_counted_through_tensorflow(whole, tmp_path):
    path = "ram://a.record"
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(whole)
    assert framing.count_records(path) == RECORDS
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(with_length(whole, 2, 10**12))
    with pytest.raises(UserError, match="truncated"):
        framing.count_records(path)
    with pytest.raises(UserError, match="cannot be read"):
        framing.count_records("ram://nothing.record")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 300])
def test_checksums_are_those_that_tensorflow_writes(size, tmp_path):
    path, data = tmp_path / "one.record", bytes(range(256)) * 2
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(data[:size])
    written = path.read_bytes()
    assert struct.unpack_from("<I", written, 8)[0] == masked_crc32c(written[:8])
    assert struct.unpack_from("<I", written, 12 + size)[0] == masked_crc32c(data[:size])


def test_ten_thousand_records_take_a_moment(tmp_path):
    path = tmp_path / "many.record"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(10_000):
            writer.write(b"record %d" % number)
    started = time.process_time()
    assert framing.count_records(str(path)) == 10_000
    assert time.process_time() - started < 0.5


READS = """
import sys
import tensorflow as tf
print(sum(1 for _ in tf.data.TFRecordDataset(sys.argv[1])))
"""


@pytest.mark.parametrize("lie", ["terabyte"])
def test_without_the_check_tensorflow_dies_or_fails(lie, whole, tmp_path):
    """What the check is for; where it ends well one day, the check may go."""
    path = tmp_path / "lies.record"
    path.write_bytes(LIES[lie](whole, 0))
    done = subprocess.run(
        [sys.executable, "-c", READS, str(path)], capture_output=True, timeout=300
    )
    assert done.returncode != 0
    path.write_bytes(whole)
    done = subprocess.run(
        [sys.executable, "-c", READS, str(path)], capture_output=True, timeout=300
    )
    assert (done.returncode, done.stdout.strip()) == (0, b"3"), "the other records are well"


@pytest.fixture
def project(tmp_path, whole) -> Path:
    """A folder with a config whose second training file lies in its last record."""
    write_label_map(tmp_path / "label_map.pbtxt")
    (tmp_path / "train.record-0").write_bytes(whole)
    (tmp_path / "train.record-1").write_bytes(with_length(whole, RECORDS - 1, 10**12))
    (tmp_path / "eval.record").write_bytes(whole)
    text = ssd.config(tmp_path, train_records=tmp_path / "train.record-*", num_steps=1)
    (tmp_path / "pipeline.config").write_text(text)
    return tmp_path


def test_the_doctor_counts_what_comes_before_the_fault(project, capsys):
    assert cli.main(["doctor", str(project / "train.record-*")]) == 1
    out = capsys.readouterr().out
    assert f"records {2 * RECORDS - 1}," in out
    assert f"at: {project}/train.record-1: record {RECORDS}" in out
    assert "its length is 1,000,000,000,000 bytes" in out


@pytest.mark.parametrize("command", ["train", "stats", "show"])
def test_every_command_that_reads_records_names_file_and_record(command, project, capsys):
    records = str(project / "train.record-*")
    config = f"--pipeline_config_path={project}/pipeline.config"
    arguments = {
        "train": ["train", config, f"--model_dir={project}/model"],
        "stats": ["data", "stats", records],
        "show": ["data", "show", records, f"--output_dir={project}/drawn"],
    }[command]
    assert cli.main(arguments) == 2
    written = capsys.readouterr().err
    assert f"{project}/train.record-1: record {RECORDS}" in written
    assert not (project / "model").exists() and not (project / "drawn").exists()


def test_an_evaluation_does_not_begin(project):
    from odapi.evaluate.run import evaluate_detector
    from odapi.pipeline.config import load
    from odapi.pipeline.inputs import EvalRecords, record_files
    from odapi.records.ground_truth import read_examples

    reader = load(str(project / "pipeline.config")).train_input_reader
    files = record_files(reader, "train_input_reader")
    records = EvalRecords(reader, files, {1: "red", 2: "blue"})
    for begin in (lambda: evaluate_detector(None, records), lambda: next(read_examples(records))):
        with pytest.raises(UserError, match="its length is") as raised:
            begin()
        assert raised.value.at == f"{project}/train.record-1: record {RECORDS}"


def test_the_tree_checks_before_it_makes_a_dataset(project):
    """As `model_main_tf2.py` reads its input."""
    from object_detection.builders import dataset_builder

    from odapi.pipeline.config import load

    config = load(str(project / "pipeline.config"))
    with pytest.raises(ValueError, match=f"train.record-1' is truncated in record {RECORDS}"):
        dataset_builder.build(config.train_input_reader)
