"""Every damage of a record is found, at its place, and nothing else is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("object_detection", reason="the patched tree is not built: ./build.sh")

import tensorflow as tf

from odapi.doctor import config as examinations
from odapi.doctor.findings import Finding, Kind, Severity
from odapi.doctor.record_files import Counts
from tests.odapi.doctor.material import (
    Damage,
    change,
    clean_scenes,
    drop,
    image,
    masked_features,
    png,
    put,
)
from tests.small.records import Features, write_records
from tests.small.scenes import SIDE, write_label_map

BOX = "image/object/bbox/"
LABEL, TEXT, MASK = "image/object/class/label", "image/object/class/text", "image/object/mask"
BOXES = [BOX + corner for corner in ("ymin", "xmin", "ymax", "xmax")]
OBJECTS = [*BOXES, LABEL, TEXT, MASK, "image/object/is_crowd"]
PICTURE = Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8))
BLANK = np.zeros((SIDE, SIDE), np.uint8)


def both(*damages: Damage) -> Damage:
    return lambda record: [damage(record) for damage in damages] and None


def swapped(one: str, other: str) -> Damage:
    def damage(record: Features) -> None:
        record[one], record[other] = record[other], record[one]

    return damage


def reversed_list(key: str) -> Damage:
    return lambda record: record.update({key: list(reversed(record[key]))})


def in_pixels(record: Features) -> None:
    record.update({key: [value * SIDE for value in record[key]] for key in BOXES})


def doubled(record: Features) -> None:
    record.update({key: [*record[key], record[key][0]] for key in OBJECTS if key in record})


def cut_image(record: Features) -> None:
    record["image/encoded"] = [record["image/encoded"][0][:-60]]


DAMAGES = [
    (Kind.IMAGE_MISSING, "image/encoded", drop("image/encoded")),
    (Kind.IMAGE_MISSING, "image/encoded", put("image/encoded", [b""])),
    (Kind.IMAGE_UNDECODABLE, "image/encoded", put("image/encoded", [b"\xff\xd8\xffno image"])),
    (Kind.IMAGE_UNDECODABLE, "image/encoded", cut_image),
    (Kind.IMAGE_FORMAT, "image/encoded", image(PICTURE, "GIF")),
    (Kind.IMAGE_FORMAT, "image/encoded", image(PICTURE, "WEBP")),
    (Kind.IMAGE_FORMAT, "image/encoded", image(PICTURE, "TIFF")),
    (Kind.IMAGE_FORMAT, "image/format", put("image/format", [b"raw"])),
    (
        Kind.IMAGE_16_BIT,
        "image/encoded",
        put("image/encoded", [png(np.full((SIDE, SIDE), 4095, np.uint16))]),
    ),
    (Kind.IMAGE_SIZE, "image/height, image/width", put("image/height", [SIDE + 1])),
    (Kind.IMAGE_WITHOUT_BOXES, f"{BOX}*", drop(*OBJECTS[:-1], OBJECTS[-1])),
    (Kind.SOURCE_ID_MISSING, "image/source_id", drop("image/source_id")),
    (Kind.FIELD_TYPE, LABEL, put(LABEL, [1.0, 2.0])),
    (Kind.FIELD_TYPE, BOX + "xmin", put(BOX + "xmin", [b"0.1", b"0.2"])),
    (Kind.FIELD_TYPE, MASK, put(MASK, [0.0, 1.0])),
    (Kind.FIELD_COUNT, "image/height", put("image/height", [SIDE, SIDE])),
    (Kind.LENGTHS, f"{BOX}*", put(BOX + "xmax", [0.5])),
    (Kind.LENGTHS, TEXT, put(TEXT, [b"red"])),
    (Kind.LENGTHS, "image/object/is_crowd", put("image/object/is_crowd", [0])),
    (Kind.BOX_NOT_FINITE, BOX + "xmax", change(BOX + "xmax", 1, math.nan)),
    (Kind.BOX_NOT_FINITE, BOX + "ymin", change(BOX + "ymin", 0, -math.inf)),
    (Kind.BOX_PIXELS, None, in_pixels),
    (Kind.BOX_INVERTED, BOX + "xmin, xmax", swapped(BOX + "xmin", BOX + "xmax")),
    (Kind.BOX_INVERTED, BOX + "ymin, ymax", swapped(BOX + "ymin", BOX + "ymax")),
    (
        Kind.BOX_WITHOUT_AREA,
        BOX + "ymin, ymax",
        both(change(BOX + "ymin", 0, 0.25), change(BOX + "ymax", 0, 0.25)),
    ),
    (Kind.BOX_OUTSIDE, BOX + "xmax", change(BOX + "xmax", 1, 1.2)),
    (Kind.BOX_OUTSIDE, BOX + "ymin", change(BOX + "ymin", 0, -0.1)),
    (Kind.BOX_OVERHANG, BOX + "xmax", change(BOX + "xmax", 1, 1 + 0.9 / SIDE)),
    (
        Kind.BOX_TINY,
        BOX + "xmin, xmax",
        both(change(BOX + "xmin", 0, 0.3), change(BOX + "xmax", 0, 0.3 + 0.5 / SIDE)),
    ),
    (Kind.BOX_REPEATED, f"{BOX}*", doubled),
    (Kind.CLASS_MISSING, LABEL, drop(LABEL, TEXT)),
    (Kind.CLASS_LABEL, LABEL, both(drop(TEXT), put(LABEL, [0, 2]))),
    (Kind.CLASS_LABEL, LABEL, both(drop(TEXT), put(LABEL, [1, 7]))),
    (Kind.CLASS_TEXT, TEXT, put(TEXT, [b"red", b"bleu"])),
    (Kind.CLASS_TEXT, TEXT, put(TEXT, [b"red", b""])),
    (Kind.CLASS_DISAGREES, LABEL, put(LABEL, [2, 1])),
    (Kind.MASK_MISSING, MASK, drop(MASK)),
    (Kind.MASK_COUNT, MASK, put(MASK, [png(BLANK + 1)])),
    (Kind.MASK_UNDECODABLE, MASK, change(MASK, 1, b"no mask")),
    (Kind.MASK_SIZE, MASK, change(MASK, 0, png(BLANK[:-8] + 1))),
    (Kind.MASK_EMPTY, MASK, change(MASK, 1, png(BLANK))),
    (Kind.MASK_OUTSIDE_BOX, MASK, reversed_list(MASK)),
    (Kind.RECORD_NOT_EXAMPLE, None, lambda record: [record.clear(), record.update(picture=[b"1"])]),
]
# A damage of this kind takes boxes, so that their masks do not lie in them any more.
MOVES_BOXES = {Kind.BOX_TINY, Kind.BOX_INVERTED, Kind.BOX_WITHOUT_AREA}


@pytest.fixture(scope="module")
def clean() -> list[Features]:
    return [masked_features(scene) for scene in clean_scenes(3)]


@pytest.fixture(scope="module")
def label_map(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_label_map(tmp_path_factory.mktemp("labels") / "label_map.pbtxt"))


def examine(*files: Path, masks: bool = True, **options: str) -> tuple[list[Finding], Counts]:
    counts = Counts()
    patterns = [str(file) for file in files]
    return list(examinations.examine_records(patterns, counts, masks=masks, **options)), counts


def test_nothing_is_found_in_clean_records(clean, label_map, tmp_path):
    found, counts = examine(write_records(tmp_path / "r", clean), label_map_path=label_map)
    assert found == []
    assert counts == Counts(files=1, records=3, boxes=6, images=3, masks=6)


@pytest.mark.parametrize(
    ("kind", "field", "damage"),
    DAMAGES,
    ids=[f"{kind.slug}-{index}" for index, (kind, *_) in enumerate(DAMAGES)],
)
def test_a_damaged_record_is_found(kind, field, damage, clean, label_map, tmp_path):
    unclean = dict(clean[1])
    damage(unclean)
    path = write_records(tmp_path / "r", [clean[0], unclean, clean[2]])
    found, counts = examine(path, label_map_path=label_map)
    others = {Kind.MASK_OUTSIDE_BOX} if kind in MOVES_BOXES else set()
    assert {one.kind for one in found} - others == {kind}
    first = next(one for one in found if one.kind is kind)
    assert (first.file, first.record) == (str(path), 2)
    assert field is None or first.field == field
    if unclean.get("image/source_id"):
        assert first.image == clean[1]["image/source_id"][0].decode()
    assert counts.records == 3


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGB", "BMP")],
)
def test_images_that_the_record_reader_converts_are_no_fault(
    mode, image_format, clean, label_map, tmp_path
):
    record = dict(clean[0])
    image(PICTURE.convert(mode), image_format)(record)
    found, _ = examine(write_records(tmp_path / "r", [record]), label_map_path=label_map)
    assert found == []


def test_a_repeated_source_id_names_the_first_record(clean, tmp_path):
    one = write_records(tmp_path / "one", clean[:2])
    two = write_records(tmp_path / "two", [clean[2], clean[1]])
    found, _ = examine(one, two)
    assert [(one.kind, one.file, one.record) for one in found] == [
        (Kind.SOURCE_ID_REPEATED, str(two), 2)
    ]
    assert f"{one}: record 2" in found[0].message


def test_records_without_any_box_are_an_error_of_the_set(clean, tmp_path):
    records = [{key: record[key] for key in record if key not in OBJECTS} for record in clean]
    found, _ = examine(write_records(tmp_path / "r", records))
    assert [one.kind for one in found] == [Kind.IMAGE_WITHOUT_BOXES] * 3 + [Kind.BOXES_MISSING]


def test_a_class_that_no_record_has(clean, label_map, tmp_path):
    records = [record | {LABEL: [1, 1], TEXT: [b"red", b"red"]} for record in clean]
    found, _ = examine(write_records(tmp_path / "r", records), label_map_path=label_map)
    assert [one.kind for one in found] == [Kind.CLASS_UNUSED]
    assert "1 of 2 classes occur in no record: blue" in found[0].message


def truncated(data: bytes) -> bytes:
    return data[:-10]


def flipped(data: bytes) -> bytes:
    return data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]


def flipped_at_the_beginning(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


def compressed(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data)


@pytest.mark.parametrize(
    ("kind", "record", "harm"),
    [
        (Kind.FILE_TRUNCATED, 3, truncated),
        (Kind.FILE_DAMAGED, 3, flipped),
        (Kind.FILE_DAMAGED, 1, flipped_at_the_beginning),
        (Kind.FILE_UNREADABLE, None, lambda data: b"xmin,ymin,xmax,ymax\n" * 50),
        (Kind.FILE_UNREADABLE, None, compressed),
        (Kind.FILE_EMPTY, None, lambda data: b""),
    ],
)
def test_a_damaged_file_is_found_and_the_next_one_is_read(kind, record, harm, clean, tmp_path):
    damaged = write_records(tmp_path / "1.record", clean)
    damaged.write_bytes(harm(damaged.read_bytes()))
    others = [record | {"image/source_id": [b"other %d" % n]} for n, record in enumerate(clean)]
    write_records(tmp_path / "2.record", others)
    found, counts = examine(tmp_path / "*.record")
    assert [(one.kind, one.file) for one in found] == [(kind, str(damaged))]
    assert record is None or found[0].field == f"record {record}"
    assert counts.records == (record or 1) - 1 + 3


def test_missing_files_and_protos_of_another_kind(clean, tmp_path):
    path = tmp_path / "odd.record"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff no proto")
    found, _ = examine(path, tmp_path / "none*")
    assert [one.kind for one in found] == [
        Kind.RECORDS_MISSING,
        Kind.RECORD_NOT_EXAMPLE,
        Kind.BOXES_MISSING,
    ]


def test_without_a_label_map_the_texts_do_not_count(clean, tmp_path):
    record = dict(clean[0])
    drop(LABEL)(record)
    found, _ = examine(write_records(tmp_path / "r", [record]))
    assert [(one.kind, one.field) for one in found] == [(Kind.CLASS_MISSING, LABEL)]


@pytest.mark.parametrize(
    "words",
    [["red", "blue"], ["n01", "blue"], ["rouge", "blue"], ["red", "bleu"], ["", "red"]],
    ids="-".join,
)
def test_classes_are_read_as_upstream_reads_them(words, clean, tmp_path):
    from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder

    from odapi.doctor.example import inspect_record
    from odapi.doctor.record_files import RecordSet, expectations

    path = tmp_path / "map.pbtxt"
    path.write_text(
        "item { id: 1 name: 'n01' display_name: 'rouge' } item { id: 2 name: 'blue' }"
        "item { id: 3 name: 'red' display_name: 'blue' }"
    )
    record = clean[0] | {TEXT: [word.encode() for word in words]}
    [data] = tf.data.TFRecordDataset(str(write_records(tmp_path / "r", [record])))
    classes, _ = examinations.label_map.examine(str(path), "map")
    from object_detection.protos import input_reader_pb2

    records = RecordSet("", input_reader_pb2.InputReader(), classes, None, [])
    upstream = TfExampleDecoder(label_map_proto_file=str(path)).decode(data)
    ids = upstream["groundtruth_classes"].numpy().tolist()
    assert inspect_record(data.numpy(), expectations(records)).class_ids == set(ids)


@pytest.mark.parametrize(("pixels", "kind"), [(SIDE * SIDE, None), (7, Kind.MASK_COUNT)])
def test_numerical_masks(pixels, kind, clean, tmp_path):
    from object_detection.protos import input_reader_pb2

    from odapi.doctor.record_files import RecordSet
    from odapi.doctor.record_files import examine as examine_set

    masks = np.concatenate(
        [tf.image.decode_image(mask).numpy().ravel()[:pixels] for mask in clean[0][MASK]]
    )
    record = clean[0] | {MASK: masks.astype(float).tolist()}
    files = [str(write_records(tmp_path / "r", [record]))]
    reader = input_reader_pb2.InputReader(load_instance_masks=True)
    found = list(examine_set(RecordSet("", reader, None, None, files), Counts()))
    assert [one.kind for one in found] == ([kind] if kind else [])
    png_masks = [str(write_records(tmp_path / "png", clean[:1]))]
    [finding] = examine_set(RecordSet("", reader, None, None, png_masks), Counts())
    assert finding.kind is Kind.FIELD_TYPE
    assert "mask_type: PNG_MASKS" in finding.fix


def test_findings_are_not_kept(clean, tmp_path):
    """A data set whose every record has the same fault has more findings than memory holds."""
    import weakref

    from odapi.doctor.findings import Summary
    from odapi.doctor.record_files import RECORDS_AT_ONCE

    record = clean[0] | {"image/source_id": [b"the same"], LABEL: [0, 0]}
    number = 5 * RECORDS_AT_ONCE
    path = str(write_records(tmp_path / "r", [record] * number))

    def most_alive(kept: list[Finding] | Summary) -> int:
        add = kept.append if isinstance(kept, list) else kept.add
        most = 0
        # Not counted by gc.get_objects: it breaks tuples that other threads are making.
        given: list[weakref.ref] = []
        for index, finding in enumerate(examinations.examine_records([path], Counts())):
            add(finding)
            given.append(weakref.ref(finding))
            if index % RECORDS_AT_ONCE == 0:
                most = max(most, sum(one() is not None for one in given))
        return most

    summary = Summary()
    assert most_alive(summary) < 3 * RECORDS_AT_ONCE
    assert summary.count(Severity.ERROR) == number
    assert summary.count(Severity.WARNING) == number - 1
    assert most_alive([]) > 3 * RECORDS_AT_ONCE
