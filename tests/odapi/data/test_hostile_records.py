"""Records that nobody meant: commands name them, without a traceback and in little time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

import tensorflow as tf

from odapi import cli
from odapi.console.files import MOST_NAME_BYTES, safe_name
from odapi.data.show import MOST_BOXES
from tests.odapi.doctor.material import change, clean_scenes, drop, put
from tests.small import ssd
from tests.small.hostile import HOSTILE, OBEYED, as_bytes
from tests.small.records import Features, scene_features, write_records
from tests.small.scenes import write_label_map

BOX = "image/object/bbox/"
BOXES = [BOX + corner for corner in ("ymin", "xmin", "ymax", "xmax")]
LABEL, TEXT = "image/object/class/label", "image/object/class/text"


@pytest.fixture(scope="module")
def clean() -> list[Features]:
    return [scene_features(scene) for scene in clean_scenes(2)]


def show(path: Path, output: Path, *flags: object) -> int:
    arguments = ["data", "show", str(path), f"--output_dir={output}", *map(str, flags)]
    return cli.main(arguments)


def random_bytes() -> bytes:
    return np.random.default_rng(1).integers(0, 256, 500, np.uint8).tobytes()


def deep(levels: int = 5000) -> bytes:
    """Groups in groups, as deep as a parser's stack would have to be."""
    return b"\x0b" * levels + b"\x0c" * levels


RAW: dict[str, bytes] = {
    "random": random_bytes(),
    "deep": deep(),
    "empty": b"",
    "ends_early": b"\x0a\xff\xff\xff\xff\x07",
    "other_proto": tf.train.Features(
        feature={"x": tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))}
    ).SerializeToString(),
}

ODD: dict[str, Callable[[Features], object]] = {
    "box_nan": change(BOX + "xmin", 0, math.nan),
    "box_infinite": change(BOX + "ymax", 1, math.inf),
    "box_minus_infinite": change(BOX + "ymin", 1, -math.inf),
    "box_inverted": change(BOX + "xmax", 0, -1.0),
    "box_huge": change(BOX + "xmax", 0, 3e38),
    "box_of_text": put(BOX + "xmin", [b"0.1", b"0.2"]),
    "unequal": put(BOX + "xmin", [0.1]),
    "label_of_floats": put(LABEL, [1.0, 2.0]),
    "label_beyond_53_bits": lambda record: record.update({LABEL: [2**62, 2**62], TEXT: []}),
    "label_negative": lambda record: record.update({LABEL: [-(2**63), -1], TEXT: []}),
    "text_no_unicode": put(TEXT, [b"\xff\xfe", b"\xed\xa0\x80"]),
    "text_of_numbers": put(TEXT, [1, 2]),
    "size_zero": lambda record: record.update({"image/height": [0], "image/width": [0]}),
    "size_huge": put("image/height", [2**62]),
    "size_negative": lambda record: record.update({"image/height": [-1], "image/width": [-1]}),
    "size_of_text": put("image/height", [b"96"]),
    "sizes": put("image/height", [96, 96, 96]),
    "image_of_numbers": put("image/encoded", [1]),
    "no_image": drop("image/encoded"),
    "image_twice": lambda record: record.update({"image/encoded": record["image/encoded"] * 2}),
    "area_nan": put("image/object/area", [math.nan, -1.0]),
    "crowd_of_text": put("image/object/is_crowd", [b"0", b"1"]),
    "mask_of_text": put("image/object/mask", [b"no", b"mask"]),
    "mask_of_numbers": put("image/object/mask", [0.0, 1.0]),
    "name_of_numbers": put("image/filename", [7]),
}


def write(path: Path, clean: list[Features], odd: str) -> Path:
    """Two records, the second of which is odd."""
    if odd in ODD:
        record = dict(clean[1])
        ODD[odd](record)
        return write_records(path, [clean[0], record])
    write_records(path, clean[:1])
    data = next(iter(tf.data.TFRecordDataset(str(path)))).numpy()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(data)
        writer.write(RAW[odd])
    return path


@pytest.mark.parametrize("odd", [*ODD, *RAW])
def test_no_command_ends_in_a_traceback(odd, clean, tmp_path, capsys):
    path = write(tmp_path / "odd.record", clean, odd)
    named = f"{path}: record 2"
    label_map = str(write_label_map(tmp_path / "map.pbtxt"))
    code = cli.main(["doctor", str(path), "--label_map", label_map, "--masks"])
    out = capsys.readouterr().out
    assert code in (0, 1) and "records 2," in out and named in out

    code = cli.main(["data", "stats", str(path), "--json"])
    written = capsys.readouterr()
    assert code == 0 or (code == 2 and named in written.err), written.err
    if code == 0:
        json.loads(written.out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
        assert cli.main(["data", "stats", str(path)]) == 0

    capsys.readouterr()
    assert show(path, tmp_path / "drawn") == 0, "the first record is well"
    out = capsys.readouterr().out
    drawn = len(list((tmp_path / "drawn").iterdir()))
    assert f"{drawn} of 2 records drawn" in out
    assert drawn == 2 or named in out


@pytest.mark.parametrize(
    "odd",
    ["random", "deep", "label_beyond_53_bits", "unequal", "image_of_numbers"],
)
def test_training_and_evaluation_name_them(odd, clean, tmp_path, capsys):
    from odapi.console.errors import UserError
    from odapi.pipeline.config import load
    from odapi.pipeline.inputs import EvalRecords
    from odapi.records.ground_truth import read_examples

    path = write(tmp_path / "train.record", clean, odd)
    write_records(tmp_path / "eval.record", clean)
    write_label_map(tmp_path / "label_map.pbtxt")
    config = tmp_path / "pipeline.config"
    config.write_text(ssd.config(tmp_path, num_steps=1))
    arguments = [f"--pipeline_config_path={config}", f"--model_dir={tmp_path / 'model'}"]
    assert cli.main(["train", *arguments]) == 2
    assert f"{path}: record 2" in capsys.readouterr().err
    reader = load(str(config)).train_input_reader
    examples = read_examples(EvalRecords(reader, [str(path)], {1: "red", 2: "blue"}))
    next(examples)
    with pytest.raises(UserError) as raised:
        next(examples)
    assert f"{path}: record 2" in str(raised.value)


def test_boxes_that_cannot_be_drawn_are_left_out_and_counted(clean, tmp_path, capsys):
    record = dict(clean[0])
    for odd in ("box_nan", "box_infinite"):
        ODD[odd](record)
    inverted = dict(clean[1])
    ODD["box_inverted"](inverted)
    path = write_records(tmp_path / "a.record", [record, inverted])
    assert show(path, tmp_path / "drawn") == 0
    out = capsys.readouterr().out
    assert "record 1: 2 of 2 boxes, which are not of numbers: box 1 is the first" in out
    assert "record 2: 1 of 2 boxes, which end where or before they begin: box 1" in out
    plain = np.asarray(Image.open(tmp_path / "drawn" / "000001.png"))
    scene = clean_scenes(1)[0]
    factor = plain.shape[0] // scene.image.shape[0]
    expected = Image.fromarray(scene.image).resize(plain.shape[1::-1], Image.Resampling.BICUBIC)
    assert factor > 1 and np.array_equal(plain, np.asarray(expected)), "no box, and no more"


def test_if_nothing_can_be_drawn_that_is_an_error(tmp_path, capsys):
    path = tmp_path / "a.record"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(200):
            writer.write(random_bytes())
    assert show(path, tmp_path / "drawn", "--number", 200) == 2
    error = capsys.readouterr().err
    assert "no record could be drawn" in error and len(error.splitlines()) < 30


NAMES = [
    *(as_bytes(name) for name in HOSTILE.values()),
    b"x" * 300 + b".jpg",
    "ö".encode() * 300,
    b"../../../etc/passwd",
    b"/etc/passwd",
    b"..",
    b".",
    b" ",
    b"a/..",
    b"a\\..\\b",
    b"CON",
    b"a\nb.png",
    b"-rf",
]


def test_names_of_pictures_are_safe_whatever_is_in_a_record(clean, tmp_path, capsys):
    records = [clean[0] | {"image/filename": [name]} for name in NAMES + NAMES[:3]]
    path = write_records(tmp_path / "names.record", records)
    output = tmp_path / "drawn"
    assert show(path, output, "--number", 1000) == 0
    found = sorted(entry.name for entry in output.iterdir())
    assert len(found) == len(records), "each has a place of its own"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["drawn", "names.record"]
    for name in found:
        assert not OBEYED.search(name) and len(name.encode()) < 255
        assert name[:6].isdecimal() and name.endswith(".png")
    capsys.readouterr()


@pytest.mark.parametrize("name", [name.decode(errors="replace") for name in NAMES])
def test_a_safe_name_is_one(name):
    for text in (*HOSTILE.values(), name, name * 50):
        safe = safe_name(text)
        assert safe and safe not in (".", "..") and not set(safe) & set('/\\:*?"<>|\0\n')
        assert not OBEYED.search(safe) and len(safe.encode()) <= MOST_NAME_BYTES
        assert safe_name(safe) == safe
    assert safe_name("Foto 1 (Möwe).v2") == "Foto 1 (Möwe).v2", "a person's name is left alone"


@pytest.fixture(scope="module")
def million(clean, tmp_path_factory) -> Path:
    """One image with a million boxes: two different ones, and all sorts of faults."""
    folder = tmp_path_factory.mktemp("million")
    record = dict(clean[0])
    for key in (*BOXES, LABEL, TEXT, "image/object/is_crowd"):
        record[key] = list(record[key]) * 500_000
    record[BOX + "xmin"][7::10] = [math.nan] * 100_000
    record[BOX + "xmax"][5::10] = [-1.0] * 100_000
    record[TEXT][3::10] = [b"unknown"] * 100_000
    write_label_map(folder / "label_map.pbtxt")
    write_records(folder / "eval.record", clean)
    return write_records(folder / "train.record", [record])


@pytest.mark.parametrize("command", ["doctor", "stats", "show", "train"])
def test_a_million_boxes_take_seconds_and_a_handful_of_numbers(command, million, tmp_path, capsys):
    folder = million.parent
    config = folder / "pipeline.config"
    config.write_text(ssd.config(folder, num_steps=1))
    arguments = {
        "doctor": ["doctor", str(million), "--label_map", f"{folder}/label_map.pbtxt"],
        "stats": ["data", "stats", str(million)],
        "show": ["data", "show", str(million), f"--output_dir={tmp_path}"],
        "train": ["train", f"--pipeline_config_path={config}", f"--model_dir={tmp_path}/model"],
    }
    expected = {"doctor": 1, "stats": 0, "show": 0, "train": 2}
    started = time.process_time()
    assert cli.main(arguments[command]) == expected[command]
    assert time.process_time() - started < 30
    written = capsys.readouterr()
    text = written.out + written.err
    assert len(text) < 5000
    if command == "show":
        assert f"after the first {MOST_BOXES:,}" in text
    elif command != "stats":
        assert "and 99999 more" in text


def test_training_ends_at_what_the_look_did_not_see(clean, tmp_path, capsys, monkeypatch):
    """Nearly all records are bad, so that the first batch has one."""
    from odapi.doctor import config as examinations
    from tests.odapi.doctor.material import encoded

    picture = encoded(Image.new("L", (13_000, 13_000)), "PNG")
    huge = clean[1] | {"image/encoded": [picture]}
    write_records(tmp_path / "train.record", [clean[0], *[huge] * 20])
    write_records(tmp_path / "eval.record", clean)
    write_label_map(tmp_path / "label_map.pbtxt")
    (tmp_path / "pipeline.config").write_text(ssd.config(tmp_path, num_steps=1))
    monkeypatch.setattr(examinations, "QUICK_RECORDS", 1)
    arguments = [f"--pipeline_config_path={tmp_path}/pipeline.config"]
    assert cli.main(["train", *arguments, f"--model_dir={tmp_path}/model"]) == 2
    error = capsys.readouterr().err
    assert "error: batch 1 cannot be read: assertion failed: [an image of] [169000000]" in error
