"""Checks sets of record files, one record after the other: memory does not grow with them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from odapi.doctor import example
from odapi.doctor.findings import Finding, Kind
from odapi.doctor.label_map import Classes
from odapi.records import framing

RECORDS_AT_ONCE = 64
"""Records that are in memory while threads decode their images."""

BYTES_AT_ONCE = 1 << 26
"""So many bytes of them at most, and one more record: a record may be as large as 2 GB."""


@dataclass
class Counts:
    """What was looked at."""

    files: int = 0
    records: int = 0
    boxes: int = 0
    images: int = 0
    masks: int = 0


@dataclass(frozen=True)
class RecordSet:
    """The records of one input reader.

    Attributes:
        field: where it stands in the config, or on the command line.
        reader: the `input_reader_pb2.InputReader`.
        classes: its label map, if it could be read.
        num_classes: those of the model, if there is one.
        files: its record files.
    """

    field: str
    reader: Any
    classes: Classes | None
    num_classes: int | None
    files: Sequence[str]


def expectations(records: RecordSet) -> example.Expectations:
    """What `builders.decoder_builder` makes the records' reader expect of them."""
    from object_detection.builders import decoder_builder
    from object_detection.protos import input_reader_pb2

    reader = input_reader_pb2.InputReader()
    reader.CopyFrom(records.reader)
    # A reader that was made up for bare record files has no path in it.
    reader.tf_record_input_reader.SetInParent()
    # Neither changes which fields are read, and a broken label map has been told of already.
    reader.ClearField("label_map_path")
    reader.ClearField("expand_labels_hierarchy")
    masks = ""
    if reader.load_instance_masks:
        masks = "png" if reader.mask_type == input_reader_pb2.PNG_MASKS else "numerical"
    return example.Expectations(
        fields=decoder_builder.build(reader).keys_to_features,
        classes=records.classes,
        num_classes=records.num_classes,
        masks=masks,
        max_boxes=reader.max_number_of_boxes if records.num_classes is not None else None,
    )


def examine(
    records: RecordSet,
    counts: Counts,
    *,
    limit: int | None = None,
    on_records: Callable[[int], None] = lambda count: None,
) -> Iterator[Finding]:
    """Checks the records of a set.

    Args:
        records: the set.
        counts: what was looked at is added to it.
        limit: look into so many records only, the first ones; the other records are looked at
            for truncation alone. None: into all of them.
        on_records: called every now and then with the number of records so far.
    """
    from object_detection.protos import input_reader_pb2

    if records.reader.input_type != input_reader_pb2.TF_EXAMPLE:
        message = f"input_type is {input_reader_pb2.InputType.Name(records.reader.input_type)}"
        yield Finding(Kind.RECORDS_NOT_READ, message, field=records.field)
        return
    expected = expectations(records)
    before = replace(counts)
    class_ids: set[int] = set()
    whole = True
    with ThreadPoolExecutor(os.cpu_count()) as pool, _SourceIds() as source_ids:
        for file in records.files:
            counts.files += 1
            torn = framing.scan(file).error if limit is not None else None
            if torn is not None:
                whole = False
                yield framing_finding(torn)
                continue
            left = None if limit is None else limit - (counts.records - before.records)
            if left == 0:
                whole = False
                continue
            reader = _FileReader(file, left)
            while batch := _next_batch(reader):
                first = reader.count - len(batch) + 1
                reports = pool.map(lambda data: example.inspect_record(data, expected), batch)
                for number, report in enumerate(reports, start=first):
                    _add_to_counts(counts, report)
                    class_ids |= report.class_ids
                    faults = report.faults + source_ids.faults(report.source_id, file, number)
                    for finding in faults:
                        yield replace(finding, file=file, record=number, image=report.image)
                on_records(counts.records)
            yield from reader.faults
            whole = whole and reader.whole
    if whole:
        seen, boxes = counts.records - before.records, counts.boxes - before.boxes
        yield from _check_whole_set(records, seen, boxes, class_ids)


def _check_whole_set(
    records: RecordSet, seen: int, boxes: int, class_ids: set[int]
) -> Iterator[Finding]:
    """What only the whole set tells, with its number of records and of boxes."""
    if not seen:
        yield Finding(
            Kind.RECORDS_EMPTY, "the record files are empty", file=", ".join(records.files)
        )
    elif not boxes:
        message = f"none of the {seen} records has a box"
        yield Finding(Kind.BOXES_MISSING, message, field=records.field)
    elif records.classes is not None:
        yield from _unused_classes(records, class_ids)


def _next_batch(reader: Iterator[bytes]) -> list[bytes]:
    """The next records: as many as memory should hold at once, and one at least."""
    batch: list[bytes] = []
    size = 0
    for data in islice(reader, RECORDS_AT_ONCE):
        batch.append(data)
        size += len(data)
        if size >= BYTES_AT_ONCE:
            break
    return batch


def _add_to_counts(counts: Counts, report: example.RecordReport) -> None:
    counts.records += 1
    counts.boxes += report.boxes
    counts.images += report.decoded
    counts.masks += report.masks


def _unused_classes(records: RecordSet, class_ids: set[int]) -> Iterator[Finding]:
    classes = records.classes.names
    unused = [name for key, name in classes.items() if key not in class_ids]
    if unused:
        names = ", ".join(unused[:10]) + (", ..." if len(unused) > 10 else "")
        message = f"{len(unused)} of {len(classes)} classes occur in no record: {names}"
        yield Finding(Kind.CLASS_UNUSED, message, field=records.field)


def framing_finding(error: Any) -> Finding:
    """What a `record_framing.FramingError` is to the doctor."""
    from object_detection.utils.record_framing import Fault

    kind = {Fault.TRUNCATED: Kind.FILE_TRUNCATED, Fault.DAMAGED: Kind.FILE_DAMAGED}.get(
        error.fault, Kind.FILE_UNREADABLE
    )
    user_error = framing.user_error(error)
    field = f"record {error.record}" if error.record else None
    return Finding(kind, user_error.message, error.path, field=field, hint=user_error.hint)


class _FileReader:
    """The records of a file as bytes, checksums verified, up to the first that fails.

    Attributes:
        count: records read so far.
        faults: what was wrong with the file; known when the iteration has ended.
        whole: whether the iteration ended at the end of the file.
    """

    def __init__(self, file: str, limit: int | None) -> None:
        self._file = file
        self._limit = limit
        self._records = self._read()
        self.count = 0
        self.faults: list[Finding] = []
        self.whole = False

    def __iter__(self) -> Iterator[bytes]:
        return self._records

    def _read(self) -> Iterator[bytes]:
        import tensorflow as tf

        found = framing.scan(self._file)
        whole = found.records if self._limit is None else min(found.records, self._limit)
        try:
            # TensorFlow does not see a record whose length lies: it would crash.
            dataset = tf.data.TFRecordDataset(self._file) if whole else None
            for data in dataset.take(whole).as_numpy_iterator() if dataset else ():
                self.count += 1
                yield data
        except tf.errors.OpError as error:
            self.faults.append(self._fault(error))
            return
        if self.count < found.records:
            return
        if found.error is not None:
            self.faults.append(framing_finding(found.error))
            return
        self.whole = True
        if not self.count:
            self.faults.append(Finding(Kind.FILE_EMPTY, "the file holds no record", self._file))

    def _fault(self, error: Any) -> Finding:
        import tensorflow as tf

        failed = self.count + 1
        if not isinstance(error, tf.errors.DataLossError):
            message = f"the file cannot be read: {error.message.splitlines()[0]}"
            return Finding(Kind.FILE_UNREADABLE, message, self._file)
        message = f"record {failed} fails its checksum; it and what follows it were not read"
        return Finding(Kind.FILE_DAMAGED, message, self._file, field=f"record {failed}")


class _SourceIds:
    """The source ids so far, on disk: a set in memory would grow with the number of records."""

    def __enter__(self) -> _SourceIds:
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE ids (id BLOB PRIMARY KEY, place TEXT) WITHOUT ROWID")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.close()

    def faults(self, source_id: bytes | None, file: str, record: int) -> list[Finding]:
        """What is wrong with the source id of a record; remembers it."""
        key = "image/source_id"
        if source_id is None:
            return []
        if not source_id:
            return [Finding(Kind.SOURCE_ID_MISSING, "the field is empty", field=key)]
        added = self._database.execute(
            "INSERT OR IGNORE INTO ids VALUES (?, ?)", (source_id, f"{file}: record {record}")
        )
        if added.rowcount:
            return []
        first = self._database.execute("SELECT place FROM ids WHERE id = ?", (source_id,))
        message = f"{source_id.decode(errors='replace')} is that of {first.fetchone()[0]} as well"
        return [Finding(Kind.SOURCE_ID_REPEATED, message, field=key)]
