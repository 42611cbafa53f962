"""Checks one record: what `tf_example_decoder` and the steps behind it would make of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from odapi.console.errors import op_reason
from odapi.doctor import pixels
from odapi.doctor.findings import Finding, Kind
from odapi.doctor.label_map import Classes
from odapi.doctor.pixels import IMAGE, MASK, PIXELS_FROM

CORNERS = ("ymin", "xmin", "ymax", "xmax")
BOX = "image/object/bbox/"
TEXT = "image/object/class/text"
LABEL = "image/object/class/label"
PER_BOX = tuple(f"image/object/{name}" for name in ("area", "is_crowd", "difficult", "group_of"))
"""Optional lists: empty, or one value for each box."""

ROUNDING = 1e-5
"""How far a coordinate may lie outside of 0..1 as a float32 that was computed."""

PLACES = 10
"""So many boxes of an image are named."""


@dataclass(frozen=True)
class Expectations:
    """What the reader of the records expects of them.

    Attributes:
        fields: key of a record to its `tf.io.FixedLenFeature` or `VarLenFeature`.
        classes: those of the label map; None: any label from 1 is right.
        num_classes: those of the model; None: not known.
        masks: "png", "numerical", or "" where masks are not read.
        max_boxes: boxes of an image that are read; None: all.
    """

    fields: Mapping[str, Any]
    classes: Classes | None = None
    num_classes: int | None = None
    masks: str = ""
    max_boxes: int | None = None


@dataclass
class RecordReport:
    """What is in a record, and what is wrong with it.

    Attributes:
        faults: findings that do not know yet which record they belong to.
        source_id: as written, b"" where it is missing; None: this is no record.
        image: name for messages.
        boxes: number of boxes.
        masks: number of masks that were decoded.
        decoded: whether the image was.
        class_ids: the classes that its boxes are read as.
    """

    faults: list[Finding] = field(default_factory=list)
    source_id: bytes | None = None
    image: str | None = None
    boxes: int = 0
    masks: int = 0
    decoded: bool = False
    class_ids: set[int] = field(default_factory=set)


def inspect_record(data: bytes, expectations: Expectations) -> RecordReport:
    """Checks a record.

    Args:
        data: a serialized `tf.train.Example`.
        expectations: what is expected of it.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    report = RecordReport()
    try:
        features = tf.train.Example.FromString(data).features.feature
    except DecodeError:
        report.faults.append(
            Finding(Kind.RECORD_NOT_EXAMPLE, f"its {len(data)} bytes are no such proto")
        )
        return report
    if not any(key in expectations.fields for key in features):
        message = f"its fields are {', '.join(sorted(features)[:5]) or 'none'}"
        report.faults.append(Finding(Kind.RECORD_NOT_EXAMPLE, message))
        return report
    record = _Record(features, expectations)
    report.faults += record.type_faults
    report.source_id = next(iter(record["image/source_id"]), b"")
    name = report.source_id or next(iter(record["image/filename"]), b"")
    report.image = name.decode(errors="replace") or None
    size, faults = _check_image(record)
    report.decoded = size is not None
    report.faults += faults
    boxes, faults = _check_boxes(record, size)
    report.faults += faults
    if boxes is None:
        return report
    report.boxes = len(boxes)
    ids, faults = _check_classes(record, len(boxes))
    report.faults += faults
    report.class_ids = set(ids)
    report.faults += _repeated_boxes(boxes, ids)
    if expectations.masks and MASK not in record.broken:
        report.faults += _check_masks(record, boxes, size)
        report.masks = len(record[MASK]) if expectations.masks == "png" else 0
    return report


class _Record:
    """The values of a record by key; a missing key has none.

    Attributes:
        broken: keys whose values are of no use, which `type_faults` says.
    """

    def __init__(self, features: Mapping[str, Any], expectations: Expectations) -> None:
        self.expectations = expectations
        self.broken: set[str] = set()
        self._values: dict[str, Any] = {}
        self.type_faults = [
            fault for key in expectations.fields for fault in self._read(key, features.get(key))
        ]

    def __getitem__(self, key: str) -> Any:
        return self._values.get(key, ())

    def _read(self, key: str, feature: Any) -> Iterator[Finding]:
        import tensorflow as tf

        kinds = {tf.string: "bytes_list", tf.int64: "int64_list", tf.float32: "float_list"}
        expected = self.expectations.fields[key]
        kind = feature.WhichOneof("kind") if feature is not None else None
        fixed = isinstance(expected, tf.io.FixedLenFeature)
        if kind is None and not (fixed and expected.default_value is None):
            return
        if kind not in (None, kinds[expected.dtype]):
            self.broken.add(key)
            hint = None
            if key == MASK and kind == "bytes_list":
                hint = "these look like PNG masks: set mask_type: PNG_MASKS in the input reader"
            yield Finding(
                Kind.FIELD_TYPE,
                f"it is a {kind} and should be a {kinds[expected.dtype]}",
                field=key,
                hint=hint,
            )
            return
        values = getattr(feature, kind).value if kind else ()
        # A missing image has a kind of its own.
        missing_image = key == IMAGE and not values
        if fixed and len(values) != math.prod(expected.shape) and not missing_image:
            self.broken.add(key)
            message = f"{len(values)} instead of {math.prod(expected.shape)}"
            yield Finding(Kind.FIELD_COUNT, message, field=key)
            return
        self._values[key] = values


def _check_image(record: _Record) -> tuple[tuple[int, int] | None, list[Finding]]:
    """Height and width of the decoded image, and the faults of the image's own fields."""
    import tensorflow as tf

    if IMAGE in record.broken:
        return None, []
    data = next(iter(record[IMAGE]), b"")
    if not data:
        return None, [Finding(Kind.IMAGE_MISSING, "the field is empty", field=IMAGE)]
    if next(iter(record["image/format"]), b"") in (b"raw", b"RAW"):
        message = "the record reader cannot shape raw pixels"
        return None, [Finding(Kind.IMAGE_FORMAT, message, field="image/format")]
    undecodable = pixels.why_undecodable(data, IMAGE)
    if undecodable is not None:
        return None, [undecodable]
    try:
        decoded = tf.image.decode_image(data, channels=3)
    except tf.errors.OpError as error:
        message = op_reason(error).splitlines()[0]
        return None, [Finding(Kind.IMAGE_UNDECODABLE, message, field=IMAGE)]
    if decoded.shape.rank != 3:
        message = "it is decoded as an animation"
        return None, [Finding(Kind.IMAGE_FORMAT, message, field=IMAGE)]
    height, width = decoded.shape[:2]
    faults = []
    # Byte 24 of a PNG is its bit depth (PNG specification, IHDR).
    if data.startswith(b"\x89PNG") and data[24] == 16:
        faults.append(Finding(Kind.IMAGE_16_BIT, "it is a PNG of 16 bits", field=IMAGE))
    recorded = tuple(next(iter(record[f"image/{side}"]), None) for side in ("height", "width"))
    if None not in recorded and recorded != (height, width):
        faults.append(
            Finding(
                Kind.IMAGE_SIZE,
                f"they are {recorded[0]} and {recorded[1]}, and the image has {height} rows and "
                f"{width} columns",
                field="image/height, image/width",
                hint="TensorFlow ignores the orientation in a photograph's EXIF data: turn the "
                "pixels themselves, and draw the boxes on that"
                if recorded == (width, height)
                else None,
            )
        )
    return (height, width), faults


def _check_masks(
    record: _Record, boxes: np.ndarray, size: tuple[int, int] | None
) -> Iterator[Finding]:
    if record.expectations.masks == "png":
        return pixels.png_masks(record[MASK], boxes, size)
    height, width = (next(iter(record[f"image/{side}"]), 1) for side in ("height", "width"))
    return pixels.numerical_masks(record[MASK], (height, width), boxes, size)


def _check_boxes(
    record: _Record, size: tuple[int, int] | None
) -> tuple[np.ndarray | None, list[Finding]]:
    """Boxes float [N, 4] in the order of CORNERS, None where there is no telling; and faults."""
    keys = [BOX + corner for corner in CORNERS]
    if record.broken.intersection(keys):
        return None, []
    columns = [np.array(record[key], np.float64) for key in keys]
    counts = {corner: len(column) for corner, column in zip(CORNERS, columns, strict=True)}
    if len(set(counts.values())) > 1:
        message = ", ".join(f"{count} {corner}" for corner, count in counts.items())
        return None, [Finding(Kind.LENGTHS, message, field=f"{BOX}*")]
    boxes = np.stack(columns, axis=1)
    faults = list(_box_faults(boxes, size))
    faults += [
        Finding(Kind.LENGTHS, f"{len(record[key])} values for {len(boxes)} boxes", field=key)
        for key in PER_BOX
        if len(record[key]) not in (0, len(boxes))
    ]
    limit = record.expectations.max_boxes
    if limit is not None and len(boxes) > limit:
        message = f"it has {len(boxes)}, and max_number_of_boxes is {limit}"
        faults.append(Finding(Kind.BOX_LIMIT, message, field=f"{BOX}*"))
    if not len(boxes):
        faults.append(Finding(Kind.IMAGE_WITHOUT_BOXES, "it has none", field=f"{BOX}*"))
    return boxes, faults


def _box_faults(boxes: np.ndarray, size: tuple[int, int] | None) -> Iterator[Finding]:
    finite = np.isfinite(boxes).all(axis=1)
    if not finite.all():
        yield _box_fault(Kind.BOX_NOT_FINITE, boxes, ~finite, ~np.isfinite(boxes))
    # The others have been told of; as zeros they are neither outside nor in pixels.
    known = np.where(finite[:, None], boxes, 0)
    ymin, xmin, ymax, xmax = known.T
    for axis, low, high in (("y", ymin, ymax), ("x", xmin, xmax)):
        corners = np.array([corner.startswith(axis) for corner in CORNERS])
        for kind, wrong in (
            (Kind.BOX_INVERTED, finite & (low > high)),
            (Kind.BOX_WITHOUT_AREA, finite & (low == high)),
        ):
            if wrong.any():
                yield _box_fault(kind, boxes, wrong, wrong[:, None] & corners)
    in_pixels = known > PIXELS_FROM
    if in_pixels.any():
        yield _box_fault(Kind.BOX_PIXELS, boxes, in_pixels.any(axis=1), in_pixels)
        return
    outside = np.maximum(-known, known - 1)
    a_pixel = 1 / np.array(size * 2) if size else np.zeros(4)
    far = outside > a_pixel + ROUNDING
    near = (outside > ROUNDING) & ~far.any(axis=1, keepdims=True)
    for kind, wrong in ((Kind.BOX_OUTSIDE, far), (Kind.BOX_OVERHANG, near)):
        if wrong.any():
            yield _box_fault(kind, boxes, wrong.any(axis=1), wrong)
    if size:
        sides = (known[:, 2:] - known[:, :2]) * size
        tiny = (sides > 0).all(axis=1) & (sides < 1 - ROUNDING).any(axis=1)
        if tiny.any():
            yield _box_fault(Kind.BOX_TINY, boxes, tiny, tiny[:, None] & (sides < 1)[:, [0, 1] * 2])


def _box_fault(kind: Kind, boxes: np.ndarray, rows: np.ndarray, values: np.ndarray) -> Finding:
    """A finding about the boxes in `rows` [N], because of the coordinates in `values` [N, 4]."""
    first = int(np.flatnonzero(rows)[0])
    corners = [corner for corner, wrong in zip(CORNERS, values[first], strict=True) if wrong]
    coordinates = ", ".join(
        f"{corner} {boxes[first, CORNERS.index(corner)]:.6g}" for corner in corners
    )
    others = f", and {rows.sum() - 1} more" if rows.sum() > 1 else ""
    return Finding(
        kind,
        f"box {first + 1} of {len(boxes)}: {coordinates}{others}",
        field=BOX + ", ".join(corners),
    )


def _repeated_boxes(boxes: np.ndarray, ids: list[int]) -> Iterator[Finding]:
    # The same box with two classes is an image of several labels, which upstream can merge.
    known = np.flatnonzero(np.isfinite(boxes).all(axis=1))
    if len(known) < 2:
        return
    rows = boxes[known]
    if len(ids) == len(boxes):
        # float64 tells ids apart up to 2^53: the place among the ids that occur stands for each.
        rows = np.column_stack([rows, np.unique(ids, return_inverse=True)[1][known]])
    order = np.lexsort(rows.T)
    # Equal boxes follow each other now; a group begins where one differs from the one before.
    begins = np.flatnonzero(np.append(True, (np.diff(rows[order], axis=0) != 0).any(axis=1)))
    counts = np.diff(np.append(begins, len(order)))
    count = int(counts.max())
    if count > 1:
        first = begins[counts.argmax()]
        same = sorted(known[order[first : first + count]] + 1)
        listed = ", ".join(map(str, same[:PLACES])) + (", ..." if count > PLACES else "")
        yield Finding(
            Kind.BOX_REPEATED, f"boxes {listed} of {len(boxes)} are the same", field=f"{BOX}*"
        )


def _check_classes(record: _Record, boxes: int) -> tuple[list[int], list[Finding]]:
    """The class ids that the reader takes the boxes for, and the faults of their fields.

    With a label map the texts count, and the labels only where there is no text.
    """
    expectations, texts, labels = record.expectations, list(record[TEXT]), list(record[LABEL])
    if record.broken.intersection((TEXT, LABEL)):
        return [], []
    by_text = expectations.classes is not None and bool(texts)
    key, values = (TEXT, texts) if by_text else (LABEL, labels)
    if boxes and not values:
        unread = " and, without a label map, its texts are not read" if texts else ""
        message = f"{boxes} boxes{unread}"
        return [], [Finding(Kind.CLASS_MISSING, message, field=LABEL)]
    if len(values) != boxes:
        return [], [Finding(Kind.LENGTHS, f"{len(values)} values for {boxes} boxes", field=key)]
    return (
        _check_texts(expectations.classes, texts, labels)
        if by_text
        else _check_labels(expectations, labels)
    )


def _check_texts(
    classes: Classes, texts: list[bytes], labels: list[int]
) -> tuple[list[int], list[Finding]]:
    words = [text.decode(errors="replace") for text in texts]
    ids = [classes.ids.get(word, -1) for word in words]
    unknown = [index for index, word in enumerate(words) if not word or ids[index] < 1]
    if unknown:
        first = unknown[0]
        consequence = "the box is dropped"
        if ids[first] > 0:
            consequence = f"it is read as {classes.names[ids[first]]!r}"
        message = f"box {first + 1} of {len(words)}: {words[first]!r}, {consequence}"
        if len(unknown) > 1:
            message += f"; and {len(unknown) - 1} more"
        return ids, [Finding(Kind.CLASS_TEXT, message, field=TEXT)]
    if labels and labels != ids:
        message = f"{len(labels)} labels and {len(words)} texts"
        if len(labels) == len(ids):
            first = next(index for index, label in enumerate(labels) if label != ids[index])
            message = (
                f"box {first + 1} of {len(ids)}: label {labels[first]}, and text "
                f"{words[first]!r}, which is class {ids[first]}"
            )
        return ids, [Finding(Kind.CLASS_DISAGREES, message, field=LABEL)]
    return ids, []


def _check_labels(expectations: Expectations, labels: list[int]) -> tuple[list[int], list[Finding]]:
    def known(label: int) -> bool:
        if expectations.classes is not None:
            return label in expectations.classes.names
        return label >= 1 and (
            expectations.num_classes is None or label <= expectations.num_classes
        )

    unknown = [index for index, label in enumerate(labels) if not known(label)]
    if not unknown:
        return labels, []
    label = labels[unknown[0]]
    reason = "0 is the background" if label == 0 else "there is no such class"
    others = f"; and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    message = f"box {unknown[0] + 1} of {len(labels)}: {label}, {reason}{others}"
    return labels, [Finding(Kind.CLASS_LABEL, message, field=LABEL)]
