"""What can be wrong, and how a long list of findings is said in a few lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from odapi.console.errors import UserError
from odapi.console.terminal import shown

EXAMPLES = 3
"""Findings of a kind that are printed one by one; the rest is counted."""


class Severity(StrEnum):
    """ERROR: training fails, or learns something else than the user meant. WARNING: it may."""

    ERROR = "error"
    WARNING = "warning"


class Kind(Enum):
    """A kind of fault: its severity, its name in a sentence, and what to do about it."""

    RECORDS_MISSING = "error", "record files are missing", "mend the path"
    RECORDS_EMPTY = "error", "there are no records", "write the records again"
    RECORDS_SHARED = (
        "warning",
        "training and evaluation read the same record file",
        "evaluate on images that were not trained on",
    )
    RECORDS_NOT_READ = (
        "warning",
        "records were not looked into",
        "only tf.Example records are known here, not tf.SequenceExample",
    )
    FILE_EMPTY = "warning", "record file without records", "write it again, or take it out"
    FILE_UNREADABLE = (
        "error",
        "file is not a TFRecord file",
        "write it with tf.io.TFRecordWriter, without compression",
    )
    FILE_TRUNCATED = "error", "record file is truncated", "write or copy the file again"
    FILE_DAMAGED = "error", "record file is damaged", "write or copy the file again"

    RECORD_NOT_EXAMPLE = (
        "error",
        "record is not a tf.train.Example of the Object Detection API",
        "write tf.train.Example protos with fields such as image/encoded",
    )
    FIELD_TYPE = "error", "field holds another type of values", "write the list of the right type"
    FIELD_COUNT = "error", "field holds another number of values", "write as many as are expected"
    LENGTHS = (
        "error",
        "lists of an image's objects differ in length",
        "write one value for each box into every list",
    )

    IMAGE_MISSING = "error", "record without an image", "put the file's bytes in image/encoded"
    IMAGE_FORMAT = (
        "error",
        "image is of a format that training cannot read",
        "write the image as JPEG or PNG",
    )
    IMAGE_UNDECODABLE = "error", "image cannot be decoded", "replace the image or drop the record"
    IMAGE_TOO_LARGE = (
        "error",
        "image or mask of more pixels than are decoded",
        "scale the image down, or cut it into several",
    )
    IMAGE_16_BIT = (
        "warning",
        "image has 16 bits a channel, of which the upper 8 are read",
        "scale its values to 0..255 and write 8 bits, so that nothing is lost in the dark",
    )
    IMAGE_SIZE = (
        "warning",
        "image/height and image/width are not the image's size",
        "write the size of the encoded image, and normalise the boxes by it",
    )
    IMAGE_WITHOUT_BOXES = (
        "warning",
        "image without boxes",
        "fine where nothing is to be found; otherwise write the boxes",
    )
    SOURCE_ID_MISSING = (
        "warning",
        "record without image/source_id",
        "write one of its own for each image: upstream's evaluation takes equal ones for one image",
    )
    SOURCE_ID_REPEATED = (
        "warning",
        "image/source_id is repeated",
        "write one of its own for each image: upstream's evaluation takes equal ones for one image",
    )

    BOX_NOT_FINITE = "error", "box coordinate is not a number", "drop the box"
    BOX_PIXELS = (
        "error",
        "box coordinates look like pixels",
        "divide x by the image's width and y by its height",
    )
    BOX_INVERTED = "error", "box ends before it begins", "swap the two, or drop the box"
    BOX_WITHOUT_AREA = "error", "box has no area", "drop the box"
    BOX_OUTSIDE = "error", "box reaches out of the image", "clip the box to 0..1"
    BOX_OVERHANG = (
        "warning",
        "box reaches out of the image by a pixel or less",
        "clip the box to 0..1",
    )
    BOX_TINY = "warning", "box is smaller than a pixel", "drop the box, or write a larger image"
    BOX_REPEATED = "warning", "the same box is there twice", "write it once"
    BOX_LIMIT = (
        "warning",
        "more boxes than training reads",
        "raise max_number_of_boxes of the input reader",
    )
    BOXES_MISSING = (
        "error",
        "no record has a box",
        "write image/object/bbox/xmin, xmax, ymin, ymax and image/object/class/label",
    )

    CLASS_MISSING = (
        "error",
        "boxes without a class",
        "write image/object/class/label, and image/object/class/text",
    )
    CLASS_LABEL = (
        "error",
        "class label that does not exist",
        "write ids of the label map; they begin at 1",
    )
    CLASS_TEXT = (
        "error",
        "class text that is not in the label map",
        "write a name of the label map, or add the class to it",
    )
    CLASS_DISAGREES = (
        "warning",
        "class label and class text disagree",
        "the text counts; write the label map's id beside it",
    )
    CLASS_UNUSED = (
        "warning",
        "class of the label map that no record has",
        "it will not be learnt; write records with it, or take it out",
    )

    MASK_MISSING = (
        "error",
        "boxes without masks",
        "write a PNG for each box into image/object/mask, or train without masks",
    )
    MASK_COUNT = "error", "not one mask for each box", "write one mask for each box"
    MASK_UNDECODABLE = "error", "mask cannot be decoded", "write it as a PNG of one channel"
    MASK_SIZE = "error", "mask is not as large as the image", "write masks of the image's size"
    MASK_EMPTY = "warning", "mask without a pixel", "drop the object, or draw its mask"
    MASK_OUTSIDE_BOX = (
        "error",
        "mask lies outside of its box",
        "write the masks in the order of the boxes",
    )
    MASKS_NOT_LOADED = (
        "error",
        "masks are needed and not read",
        "set load_instance_masks: true and mask_type: PNG_MASKS",
    )

    LABEL_MAP_UNREADABLE = "error", "label map cannot be read", "write: item { id: 1 name: 'cat' }"
    LABEL_MAP_ID = "error", "label map id is wrong", "number the classes 1, 2, 3, ..."
    LABEL_MAP_NAME = "error", "label map name is wrong", "give each class a name of its own"
    LABEL_MAP_GAP = "warning", "label map ids have gaps", "number the classes 1, 2, 3, ..."
    LABEL_MAP_CLASSES = "error", "label map does not fit num_classes", "set num_classes"
    LABEL_MAP_SHORT = (
        "warning",
        "label map names fewer classes than the model has",
        "set num_classes to the number of classes",
    )

    CONFIG_UNREADABLE = "error", "config cannot be read", "mend the config"
    CONFIG_EXTRACTOR = "error", "feature extractor cannot be built", "mend its type"
    CONFIG_BACKBONE = (
        "error",
        "backbone names what no file may name",
        "convert the classifier again; its description was not read",
    )
    BATCH_SIZE = (
        "error",
        "batch size is not set",
        "set it; a Faster R-CNN on a CPU trains with 1 to 4",
    )
    BATCH_SHAPES = (
        "warning",
        "images of different sizes cannot share a batch",
        "set pad_to_max_dimension: true in the resizer, or batch_size: 1",
    )

    CHECKPOINT_MISSING = "error", "checkpoint is missing", "mend the path"
    CHECKPOINT_NOT_TF2 = (
        "error",
        "checkpoint is not one of TF2 behaviour",
        "take a TF2 model of the zoo, or odapi convert a Keras classifier",
    )
    CHECKPOINT_TORN = "error", "checkpoint lacks data", "copy all of its files, or train it again"
    CHECKPOINT_TYPE = (
        "error",
        "fine_tune_checkpoint_type does not fit the checkpoint",
        "classification for one of odapi convert; detection or full for one of training or the zoo",
    )
    CHECKPOINT_VERSION = (
        "error",
        "fine_tune_checkpoint_version is not V2",
        "set fine_tune_checkpoint_version: V2",
    )
    CHECKPOINT_IN_MODEL_DIR = (
        "error",
        "fine_tune_checkpoint lies in model_dir",
        "take another --model_dir",
    )
    MODEL_DIR_FOREIGN = (
        "error",
        "model_dir's checkpoint is not one of training",
        "take another --model_dir",
    )
    MODEL_DIR_RESUMES = (
        "warning",
        "fine_tune_checkpoint is not used",
        "for a fresh start take another --model_dir",
    )
    MODEL_DIR_LOST = (
        "warning",
        "model_dir's checkpoint is gone",
        "training starts from the beginning; put the checkpoint back to resume",
    )

    def __init__(self, severity: str, headline: str, fix: str) -> None:
        self.severity = Severity(severity)
        self.headline = headline
        self.fix = fix

    @property
    def slug(self) -> str:
        """The name in output and JSON: `box_inverted`."""
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One fault at one place.

    Attributes:
        message: what is wrong there.
        file: the record file, label map or checkpoint; None where `field` says it all.
        record: number of the record in its file, from 1; None for a fault of a whole file.
        image: the record's image/source_id, or its image/filename where that is empty.
        field: the key in the record, or the place in the config or on the command line.
        hint: what to do, where more can be said than the kind's `fix`.
        severity: None: the kind's own.
    """

    kind: Kind
    message: str
    file: str | None = None
    record: int | None = None
    image: str | None = None
    field: str | None = None
    hint: str | None = None
    severity: Severity | None = None

    def __post_init__(self) -> None:
        if self.severity is None:
            object.__setattr__(self, "severity", self.kind.severity)

    @classmethod
    def of(cls, kind: Kind, error: UserError) -> Finding:
        """What a check of `odapi.pipeline.config` complains of."""
        return cls(kind, error.message, field=error.at, hint=error.hint)

    @property
    def fix(self) -> str:
        """What to do about it."""
        return self.hint or self.kind.fix

    @property
    def where(self) -> str:
        """File, record, image and field, as far as they are known."""
        record = f"record {self.record}" if self.record else None
        if record and self.image:
            record += f" ({self.image})"
        return ": ".join(part for part in (self.file, record, self.field) if part)

    @property
    def line(self) -> str:
        """All of it in one line."""
        where = f" ({self.where})" if self.where else ""
        return shown(f"{self.severity}: {self._what}{where}; {self.fix}")

    @property
    def _what(self) -> str:
        # What is said of a record is half a sentence: "box 1 of 2: xmin 0.6 is above xmax 0.2".
        return f"{self.kind.headline}: {self.message}" if self.record else self.message

    def as_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        return {
            "severity": str(self.severity),
            "kind": self.kind.slug,
            "file": self.file,
            "record": self.record,
            "image": self.image,
            "field": self.field,
            "message": self.message,
            "fix": self.fix,
        }


@dataclass
class _Group:
    examples: list[Finding]
    count: int = 0


class Summary:
    """Findings by kind: how many, and the first few. Its size does not grow with their number."""

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self._groups: dict[tuple[Severity, Kind], _Group] = {}
        for finding in findings:
            self.add(finding)

    def add(self, finding: Finding) -> None:
        """Counts a finding."""
        group = self._groups.setdefault((finding.severity, finding.kind), _Group([]))
        group.count += 1
        if group.count <= EXAMPLES:
            group.examples.append(finding)

    def count(self, severity: Severity) -> int:
        """The number of findings of a severity."""
        return sum(
            group.count
            for (group_severity, _), group in self._groups.items()
            if group_severity is severity
        )

    def blocks(self) -> list[str]:
        """Some lines for each kind, errors first, in the form of every other error."""
        order = sorted(self._groups.items(), key=lambda item: item[0][0] is not Severity.ERROR)
        return [_block(severity, kind, group) for (severity, kind), group in order]

    def lines(self) -> list[str]:
        """One line for each kind: its first finding, and how many more there are."""
        return [
            group.examples[0].line + (f" (and {group.count - 1:,} more)" if group.count > 1 else "")
            for group in self._groups.values()
        ]


def _block(severity: Severity, kind: Kind, group: _Group) -> str:
    first = group.examples[0]
    if group.count == 1:
        lines = [f"{severity}: {shown(first._what)} [{kind.slug}]"]
        if first.where:
            lines.append(f"  at: {shown(first.where)}")
    else:
        lines = [f"{severity}: {kind.headline}: {group.count:,} times [{kind.slug}]"]
        places = (f"{finding.where}: {finding.message}" for finding in group.examples)
        lines += [f"  at: {shown(place)}" for place in places]
        if group.count > len(group.examples):
            lines.append(f"      and {group.count - len(group.examples):,} more")
    return "\n".join([*lines, f"hint: {shown(first.fix)}"])


class Refused(UserError):
    """The errors among findings, as the reason why a command does not begin."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._blocks = Summary(findings).blocks()
        super().__init__(f"{len(self._blocks)} kinds of errors were found")

    def __str__(self) -> str:
        """The `error:`, `at:` and `hint:` lines of each kind."""
        return "\n".join(self._blocks)
