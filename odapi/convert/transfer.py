"""Converts a classifier: read, match, write, verify, and only then put in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf

from odapi.console import output_folder
from odapi.console.errors import UserError
from odapi.convert import (
    artefact,
    brief,
    checkpoint,
    detector_config,
    live,
    parity,
    recipes,
    restore,
    scale,
    stages,
    transfer_page,
    vgg16,
)
from odapi.convert.backbone import AdaptedClassifier
from odapi.convert.plan import Plan, Weight
from odapi.convert.reading.text import one_line
from odapi.convert.report import Status, TransferReport, Variable
from odapi.convert.request import Architecture, Request, Tail, check
from odapi.convert.source import Classifier, load_classifier


def convert(request: Request, say: Callable[[str], None] = print) -> TransferReport:
    """Converts a classifier and says how it goes.

    Writes `ckpt-1.*`, `checkpoint`, pipeline.config, transfer_report.json and .html and, unless the
    detector is VGG-16's own, backbone.json to `request.output_dir`: all of them or, whatever
    happens, none.

    Args:
        request: what to convert.
        say: is called with each line of progress.

    Raises:
        UserError: exit code 2 if the input will not do, 1 if the check of the result failed.
    """
    check(request)
    output = artefact.checked_output_dir(request.output_dir, request.force)
    if request.model is not None:
        classifier = live.classifier(request.model, request.drop_layer)
        say(f"taking {classifier.origin}")
    else:
        say(f"reading {request.source}")
        classifier = load_classifier(request.source, request.weights, request.drop_layer)
    settings, to_fill_in = detector_config.training_settings(request, output, classifier.model)
    match = _vgg16(request, classifier)
    with output_folder.replacing(output) as folder:
        if match is not None:
            plan = _write_vgg16(folder, match, request.format)
            config = recipes.faster_rcnn(
                settings,
                image_size=request.image_size or scale.faster_rcnn_image_size(),
                tf1=request.format == "tf1",
            )
        else:
            adapted = AdaptedClassifier(classifier, request, _assumed_preprocessing(classifier))
            plan = adapted.plan(request.architecture.is_ssd)
            config = detector_config.on_any_classifier(request, output, settings, adapted)
            _write_checkpoint(folder, lambda: checkpoint.write_layers(folder, adapted.backbone))
            adapted.write(folder)
        say(f"written: the {request.format.upper()} checkpoint")
        recipes.write(config, folder / artefact.CONFIG)
        say("reading it back into a detector, as training does")
        report, features = verify(folder, classifier, plan, request.format)
        if request.verbose:
            say(report.table())
        if faults := report.faults():
            if not request.verbose and (missing := report.missing()):
                say(missing)
            raise UserError(
                "; ".join(faults),
                at=classifier.origin,
                hint=_hint(report, match),
                exit_code=1,
            )
        report.write(folder / artefact.REPORT)
        transfer_page.write(report, features, request.architecture, folder / artefact.PAGE)
    for line in brief.lines(report, request, to_fill_in):
        say(line)
    return report


def verify(
    folder: Path, classifier: Classifier, plan: Plan, checkpoint_format: str
) -> tuple[TransferReport, parity.Features]:
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
        restored = read_back(folder, [parity.resized(image, plan.resizers) for image in images])
    except restore.RestoreRefused as error:
        raise UserError(
            f"training's restore refuses the checkpoint: {error}",
            at=classifier.origin,
            exit_code=1,
        ) from error
    report = TransferReport(
        origin=classifier.origin,
        format=checkpoint_format,
        variables=_variables(plan, restored),
        unused=plan.unused,
        parity=tuple(
            parity.compare(probe.name, left, right, images[0], plan.preprocessing.description)
            for probe, left, right in zip(plan.probes, expected, restored.features, strict=True)
        ),
        notes=(
            *classifier.notes,
            stages.note(plan.stages),
            plan.preprocessing_note,
            *plan.notes,
        ),
        preprocessing=plan.preprocessing_note,
        stages=plan.stages,
    )
    return report, parity.Features(images, expected, restored.features)


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


def _assumed_preprocessing(classifier: Classifier) -> str | None:
    """The mode of a VGG-16 whose file does not tell; None for other networks."""
    try:
        vgg16.match(classifier.model, classifier.origin)
    except UserError:
        return None
    return "caffe"


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
