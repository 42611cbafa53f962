"""Converts a classifier: read, match, write, verify, and only then put in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from google.protobuf.message import DecodeError
from object_detection.models.keras_models import classifier_backbone
from object_detection.protos import pipeline_pb2
from object_detection.utils import label_map_util

from odapi.console import output_folder
from odapi.console.errors import UserError
from odapi.convert import artefact, checkpoint, live, parity, recipes, restore, vgg16
from odapi.convert.backbone import AdaptedClassifier
from odapi.convert.plan import Plan, Weight
from odapi.convert.reading.text import one_line
from odapi.convert.report import Status, TransferReport, Variable
from odapi.convert.source import Classifier, load_classifier

_COCO_CLASSES = 90


class Architecture(StrEnum):
    """A kind of detector."""

    FASTER_RCNN = "faster_rcnn"
    MASK_RCNN = "mask_rcnn"
    SSD = "ssd"
    SSD_FPN = "ssd_fpn"

    @property
    def is_ssd(self) -> bool:
        return self in (Architecture.SSD, Architecture.SSD_FPN)

    @property
    def image_size(self) -> tuple[int, int]:
        """The usual one: sides of SSD; shorter side and most of the longer of the others."""
        usual = {Architecture.SSD: (320, 320), Architecture.SSD_FPN: (640, 640)}
        return usual.get(self, (600, 1000))


class Tail(StrEnum):
    """What the second stage of Faster R-CNN is made of."""

    FC = "fc"
    """VGG-16's fc1 and fc2, on crops of what block5_conv3 makes."""
    CONV = "conv"
    """The layers of the classifier after the cut, up to its pooling or flattening."""


@dataclass(frozen=True)
class Request:
    """What to convert, and into what; the fields are the flags of `odapi convert`.

    Attributes:
        source: a file, a folder or a name; None where there is a `model`.
        model: a model of this process, of either Keras, in place of `source`.
    """

    source: str | None
    output_dir: Path
    model: Any = None
    drop_layer: str | None = None
    weights: str | None = None
    architecture: Architecture = Architecture.FASTER_RCNN
    preprocessing: str | None = None
    cut_layer: str | None = None
    tail: Tail | None = None
    format: str = "tf2"
    label_map: str | None = None
    train_records: str | None = None
    eval_records: str | None = None
    num_classes: int | None = None
    image_size: tuple[int, int] | None = None
    force: bool = False


def convert(request: Request, say: Callable[[str], None] = print) -> TransferReport:
    """Converts a classifier and says how it goes.

    Writes `ckpt-1.*`, `checkpoint`, pipeline.config, transfer_report.json and, unless the detector
    is VGG-16's own, backbone.json to `request.output_dir`: all of them or, whatever happens, none.

    Args:
        request: what to convert.
        say: is called with each line of progress.

    Raises:
        UserError: exit code 2 if the input will not do, 1 if the check of the result failed.
    """
    _check_flags(request)
    output = artefact.checked_output_dir(request.output_dir, request.force)
    if request.model is not None:
        classifier = live.classifier(request.model, request.drop_layer)
        say(f"taking {classifier.origin}")
    else:
        say(f"reading {request.source}")
        classifier = load_classifier(request.source, request.weights, request.drop_layer)
    settings, to_fill_in = _training_settings(request, output, classifier.model)
    match = _vgg16(request, classifier)
    with output_folder.replacing(output) as folder:
        if match is not None:
            plan = _write_vgg16(folder, match, request.format)
            config = recipes.faster_rcnn(
                settings, image_size=_image_size(request), tf1=request.format == "tf1"
            )
        else:
            adapted = AdaptedClassifier(classifier, request.preprocessing, request.cut_layer)
            plan = adapted.plan(request.architecture.is_ssd)
            config = _config(request, output, settings, adapted)
            _write_checkpoint(folder, lambda: checkpoint.write_layers(folder, adapted.backbone))
            adapted.write(folder)
        say(f"written: the {request.format.upper()} checkpoint")
        recipes.write(config, folder / artefact.CONFIG)
        say("reading it back into a detector, as training does")
        report = verify(folder, classifier, plan, request.format)
        say(report.table())
        if faults := report.faults():
            raise UserError(
                "; ".join(faults),
                at=classifier.origin,
                hint=_hint(report, match),
                exit_code=1,
            )
        report.write(folder / artefact.REPORT)
    if to_fill_in:
        say(f"to fill in before training, in {output / artefact.CONFIG}: {'; '.join(to_fill_in)}")
    say(f"{report.summary()}: {request.output_dir}")
    return report


def verify(
    folder: Path, classifier: Classifier, plan: Plan, checkpoint_format: str
) -> TransferReport:
    """Restores a written checkpoint as training does and compares it with the classifier.

    Args:
        folder: holds pipeline.config and the checkpoint.
        classifier: what was converted.
        plan: what should have arrived.
        checkpoint_format: `tf2` or `tf1`.

    Raises:
        UserError: exit code 1, if training's restore refuses the checkpoint.
    """
    images = parity.sample_images(classifier.model)
    expected = parity.classifier_features(classifier.model, plan.probes, plan.preprocessing, images)
    read_back = restore.restore_tf1 if checkpoint_format == "tf1" else restore.restore_tf2
    try:
        restored = read_back(folder, images)
    except restore.RestoreRefused as error:
        raise UserError(
            f"training's restore refuses the checkpoint: {error}",
            at=classifier.origin,
            exit_code=1,
        ) from error
    return TransferReport(
        origin=classifier.origin,
        format=checkpoint_format,
        variables=_variables(plan, restored),
        unused=plan.unused,
        parity=tuple(
            parity.compare(probe.name, left, right, images[0], plan.preprocessing.description)
            for probe, left, right in zip(plan.probes, expected, restored.features, strict=True)
        ),
        notes=classifier.notes + plan.notes,
    )


def _vgg16(request: Request, classifier: Classifier) -> vgg16.Match | None:
    """VGG-16 in the classifier, if its fc1 and fc2 are to be the second stage.

    Raises:
        UserError: they were asked for, and it is not VGG-16 or something else forbids them.
    """
    needed = request.tail is Tail.FC or request.format == "tf1"
    reasons = [
        reason
        for reason, applies in (
            (
                f"--architecture {request.architecture}",
                request.architecture is not Architecture.FASTER_RCNN,
            ),
            (
                f"--preprocessing {request.preprocessing}",
                request.preprocessing not in (None, "caffe"),
            ),
            (f"--cut_layer {request.cut_layer}", request.cut_layer is not None),
            ("--tail conv", request.tail is Tail.CONV),
        )
        if applies
    ]
    if reasons:
        if needed:
            what = "--tail fc" if request.tail is Tail.FC else "--format tf1"
            raise UserError(
                f"{reasons[0]} does not go with {what}",
                hint=f"{what} is for Faster R-CNN on VGG-16 with its fully connected layers",
            )
        return None
    try:
        return vgg16.match(classifier.model, classifier.origin)
    except UserError:
        if needed:
            raise
        return None


def _write_vgg16(folder: Path, match: vgg16.Match, checkpoint_format: str) -> Plan:
    tf1 = checkpoint_format == "tf1"
    fresh = checkpoint.fresh_fully_connected() if match.fresh_reason and not tf1 else {}
    plan = match.plan(fresh)
    values = {weight.target: weight.value for weight in plan.weights if weight.value is not None}
    write = checkpoint.write_tf1 if tf1 else checkpoint.write_tf2
    _write_checkpoint(folder, lambda: write(folder, values))
    return plan


def _write_checkpoint(folder: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"the checkpoint cannot be written: {one_line(error)}",
            at=str(folder.parent.parent),
            hint="free some space: a checkpoint has 4 bytes for each parameter",
        ) from error


def _config(
    request: Request, output: Path, settings: recipes.TrainingSettings, adapted: AdaptedClassifier
) -> pipeline_pb2.TrainEvalPipelineConfig:
    """The config of a detector on any classifier."""
    extractor = f"{classifier_backbone.TYPE_PREFIX}{output}"
    size = _image_size(request)
    if request.architecture.is_ssd:
        fpn = request.architecture is Architecture.SSD_FPN
        return recipes.ssd(settings, extractor=extractor, fpn=fpn, image_size=size)
    return recipes.faster_rcnn(
        settings,
        extractor=extractor,
        stride=adapted.first_stage_cut().stride,
        masks=request.architecture is Architecture.MASK_RCNN,
        image_size=size,
    )


def _variables(plan: Plan, restored: restore.Restored) -> tuple[Variable, ...]:
    """A row for each variable that should arrive, and for any other that the detector has."""
    rows = []
    for weight in plan.weights:
        before, after = (found.get(weight.target) for found in (restored.before, restored.after))
        expected = restore.fingerprint(weight.value) if weight.value is not None else None
        arrived = before is not None and after == expected
        rows.append(
            Variable(
                target=weight.target,
                source=weight.source,
                matched_by=weight.matched_by,
                shape=weight.shape,
                hash_before=before,
                hash_source=expected,
                hash_after=after,
                status=_status(weight) if arrived else Status.MISSING,
            )
        )
    planned = {row.target for row in rows}
    rows += [
        Variable(target, None, None, (), before, None, restored.after.get(target), Status.MISSING)
        for target, before in restored.before.items()
        if target not in planned
    ]
    return tuple(rows)


def _status(weight: Weight) -> Status:
    return Status.MOVED if weight.source else Status.FRESH


def _hint(report: TransferReport, match: vgg16.Match | None) -> str:
    if report.coverage == 100 and match is not None and match.preprocesses:
        return (
            "the detector with fc1 and fc2 preprocesses as keras.applications.vgg16 does, and this "
            "classifier otherwise: --tail conv takes it as it is"
        )
    return "the classifier and the checkpoint disagree; nothing was written"


def _training_settings(
    request: Request, output: Path, model: tf.keras.Model
) -> tuple[recipes.TrainingSettings, list[str]]:
    """What the config says of the data, and what the user should check of it."""
    num_classes, to_fill_in = _num_classes(request, model)
    settings = recipes.TrainingSettings(
        num_classes,
        fine_tune_checkpoint=str(output / checkpoint.NAME),
        train_records=_absolute(request.train_records) or recipes.TRAIN_RECORDS,
        eval_records=_absolute(request.eval_records) or recipes.EVAL_RECORDS,
        label_map=_absolute(request.label_map) or recipes.LABEL_MAP,
    )
    to_fill_in += [
        field
        for field, given in (
            ("label_map_path, twice", request.label_map),
            ("train_input_reader's input_path", request.train_records),
            ("eval_input_reader's input_path", request.eval_records),
        )
        if not given
    ]
    return settings, to_fill_in


def _image_size(request: Request) -> tuple[int, int]:
    return request.image_size or request.architecture.image_size


def _num_classes(request: Request, model: tf.keras.Model) -> tuple[int, list[str]]:
    """Classes of the detector, and what the user should check of them."""
    in_map = _classes_of_label_map(request.label_map) if request.label_map else None
    if in_map is not None:
        if request.num_classes not in (None, in_map):
            raise UserError(
                f"--num_classes is {request.num_classes}, and the label map goes up to {in_map}",
                at=str(request.label_map),
                hint="leave out --num_classes",
            )
        return in_map, []
    if request.num_classes is not None:
        return request.num_classes, []
    if len(model.output_shape) == 2:
        classes = model.output_shape[-1]
        return classes, [f"num_classes ({classes}, as in the classifier)"]
    return _COCO_CLASSES, [f"num_classes ({_COCO_CLASSES}, as in COCO)"]


def _classes_of_label_map(path: str) -> int:
    try:
        return label_map_util.get_max_label_map_index(label_map_util.load_labelmap(path))
    except (ValueError, TypeError, DecodeError, OSError, tf.errors.OpError) as error:
        # Text that does not parse is tried as a binary label map, hence the two in the middle.
        raise UserError(
            f"the label map cannot be read: {str(error).splitlines()[0]}",
            at=path,
            hint="it has an item { id: 1 name: '...' } for each class, from 1 on",
        ) from error


def _absolute(path: str | None) -> str | None:
    """A path that holds wherever training is started from; URLs stay as they are."""
    return path if path is None or "://" in path else str(Path(path).absolute())


def _check_flags(request: Request) -> None:
    if (request.source is None) is (request.model is None):
        raise UserError("give a source or a model, one of the two", at="source, model")
    if request.model is not None and request.weights is not None:
        raise UserError("a model of this process has its own weights", at="weights")
    if request.drop_layer is not None and request.preprocessing is None:
        raise UserError(
            "the layer that is left out prepared the images, and nothing else says how",
            at=f"--drop_layer {request.drop_layer}",
            hint="add --preprocessing: what the layer and all before it made of pixels 0..255",
        )
    size = _image_size(request)
    if size[0] > size[1] and not request.architecture.is_ssd:
        raise UserError("--image_size takes the shorter side first", at=" ".join(map(str, size)))
    if request.architecture is Architecture.SSD_FPN and any(side % 128 for side in size):
        raise UserError(
            "--image_size of ssd_fpn has to be multiples of 128, the stride of its last level",
            at=" ".join(map(str, size)),
        )
    if request.architecture.is_ssd and request.cut_layer:
        raise UserError("--cut_layer is for faster_rcnn and mask_rcnn", at=request.cut_layer)
