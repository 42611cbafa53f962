"""Converts a classifier: read, match, write, verify, and only then put in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from google.protobuf.message import DecodeError
from object_detection.protos import pipeline_pb2
from object_detection.utils import label_map_util

from odapi import pipeline
from odapi.convert import checkpoint, parity, restore, vgg16
from odapi.convert.report import Status, TransferReport, Variable
from odapi.convert.source import Classifier, applications, load_classifier
from odapi.errors import UserError

REPORT = "transfer_report.json"
CONFIG = "pipeline.config"

_COCO_CLASSES = 90


@dataclass(frozen=True)
class Request:
    """What to convert, and into what; the fields are the flags of `odapi convert`."""

    source: str
    output_dir: Path
    weights: str | None = None
    format: str = "tf2"
    label_map: str | None = None
    train_records: str | None = None
    eval_records: str | None = None
    num_classes: int | None = None
    image_size: tuple[int, int] = (600, 1000)
    force: bool = False


def convert(request: Request, say: Callable[[str], None] = print) -> TransferReport:
    """Converts a classifier and says how it goes.

    Writes `ckpt-1.*`, `checkpoint`, pipeline.config and transfer_report.json to
    `request.output_dir`: all of them or, whatever happens, none.

    Args:
        request: what to convert.
        say: is called with each line of progress.

    Raises:
        UserError: exit code 2 if the input will not do, 1 if the check of the result failed.
    """
    output = _resolved(request)
    if request.source in set(applications()) - {"VGG16"}:
        raise UserError(
            f"{request.source} is not VGG-16, the one network convert takes for now",
            hint="--list_cuts shows where it can be cut",
        )
    say(f"reading {request.source}")
    classifier = load_classifier(request.source, request.weights)
    match = vgg16.match(classifier.model, classifier.origin)
    num_classes, to_fill_in = _num_classes(request, classifier.model)
    with _staging(output) as folder:
        say(f"writing the {request.format.upper()} checkpoint")
        fresh = _write_checkpoint(folder, match, request.format)
        pipeline.write(_config(request, output, num_classes), folder / CONFIG)
        say("reading it back into a detector, as training does")
        report = verify(folder, classifier, match, fresh, request.format)
        say(report.table())
        if faults := report.faults():
            raise UserError(
                "; ".join(faults),
                at=classifier.origin,
                hint=_hint(report),
                exit_code=1,
            )
        report.write(folder / REPORT)
        _put_in_place(folder, output)
    to_fill_in += [
        field
        for field, given in (
            ("label_map_path, twice", request.label_map),
            ("train_input_reader's input_path", request.train_records),
            ("eval_input_reader's input_path", request.eval_records),
        )
        if not given
    ]
    if to_fill_in:
        say(f"to fill in before training, in {output / CONFIG}: {'; '.join(to_fill_in)}")
    say(f"{report.summary()}: {request.output_dir}")
    return report


def verify(
    folder: Path,
    classifier: Classifier,
    match: vgg16.Match,
    fresh: dict[str, str],
    checkpoint_format: str,
) -> TransferReport:
    """Restores a written checkpoint as training does and compares it with the classifier.

    Args:
        folder: holds pipeline.config and the checkpoint.
        classifier: what was converted.
        match: VGG-16 as found in it.
        fresh: variable to fingerprint of what the checkpoint should hold beyond the classifier's.
        checkpoint_format: `tf2` or `tf1`.

    Raises:
        UserError: exit code 1, if training's restore refuses the checkpoint.
    """
    images = parity.sample_images(classifier.model)
    features, preprocessing = parity.classifier_features(classifier.model, match, images)
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
        variables=_variables(match, fresh, restored),
        unused=match.unused,
        parity=parity.compare(features, restored.features, images[0], preprocessing),
        notes=classifier.notes + _notes(match, fresh),
    )


def _write_checkpoint(folder: Path, match: vgg16.Match, checkpoint_format: str) -> dict[str, str]:
    """Writes the checkpoint; returns the fingerprints of the fresh values in it."""
    values = match.weights()
    fresh = {}
    try:
        if checkpoint_format == "tf1":
            checkpoint.write_tf1(folder, values)
        else:
            if match.fresh_reason:
                fresh = checkpoint.fresh_fully_connected()
            checkpoint.write_tf2(folder, values | fresh)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"the checkpoint cannot be written: {str(error).splitlines()[0]}",
            at=str(folder.parent),
            hint="free some space: a checkpoint takes up to 540 MB",
        ) from error
    return {name: restore.fingerprint(value) for name, value in fresh.items()}


def _variables(
    match: vgg16.Match, fresh: dict[str, str], restored: restore.Restored
) -> tuple[Variable, ...]:
    source = {name: restore.fingerprint(value) for name, value in match.weights().items()}
    rows = []
    for layer, shape in (vgg16.CONVOLUTIONS | vgg16.FULLY_CONNECTED).items():
        for attribute, of_shape in (("kernel", shape), ("bias", shape[-1:])):
            target = f"{layer}/{attribute}"
            expected = source.get(target) or fresh.get(target)
            after = restored.after.get(target)
            if after != expected or target not in restored.before:
                status = Status.MISSING
            else:
                status = Status.MOVED if target in source else Status.FRESH
            own = match.layers.get(layer)
            rows.append(
                Variable(
                    target=target,
                    source=f"{own.name}/{attribute}" if own else None,
                    matched_by=("name" if own.name == layer else "order") if own else None,
                    shape=of_shape,
                    hash_before=restored.before.get(target),
                    hash_source=expected,
                    hash_after=after,
                    status=status,
                )
            )
    return tuple(rows)


def _notes(match: vgg16.Match, fresh: dict[str, str]) -> tuple[str, ...]:
    notes = []
    renamed = [
        f"{layer.name} is {name}" for name, layer in match.layers.items() if layer.name != name
    ]
    if renamed:
        notes.append(f"mapped by order, because names differ: {', '.join(renamed)}")
    if match.fresh_reason:
        where = "in the checkpoint" if fresh else "left out of the checkpoint"
        notes.append(f"fc1 and fc2 start fresh ({where}): {match.fresh_reason}")
    return tuple(notes)


def _hint(report: TransferReport) -> str:
    if report.coverage == 100 and report.parity.preprocessing != "vgg16.preprocess_input":
        return (
            "the detector preprocesses as keras.applications.vgg16 does, and this classifier "
            "otherwise: train it with vgg16.preprocess_input"
        )
    return "the classifier and the checkpoint disagree; nothing was written"


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
    last = model.layers[-1]
    if isinstance(last, tf.keras.layers.Dense):
        return last.units, [f"num_classes ({last.units}, as in the classifier)"]
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


def _config(
    request: Request, output: Path, num_classes: int
) -> pipeline_pb2.TrainEvalPipelineConfig:
    return pipeline.vgg16_faster_rcnn(
        num_classes,
        fine_tune_checkpoint=str(output / checkpoint.NAME),
        train_records=_absolute(request.train_records) or pipeline.TRAIN_RECORDS,
        eval_records=_absolute(request.eval_records) or pipeline.EVAL_RECORDS,
        label_map=_absolute(request.label_map) or pipeline.LABEL_MAP,
        image_size=request.image_size,
        tf1=request.format == "tf1",
    )


def _absolute(path: str | None) -> str | None:
    """A path that holds wherever training is started from; URLs stay as they are."""
    return path if path is None or "://" in path else str(Path(path).absolute())


def _resolved(request: Request) -> Path:
    """The absolute output folder, after checking that nothing would be lost there."""
    output = request.output_dir.absolute()
    if request.image_size[0] > request.image_size[1]:
        raise UserError(
            "--image_size takes the shorter side first", at=" ".join(map(str, request.image_size))
        )
    if not output.exists():
        return output
    if not output.is_dir():
        raise UserError("--output_dir is a file", at=str(output), hint="choose another one")
    present = sorted(entry.name for entry in output.iterdir())
    if present and not request.force:
        raise UserError(
            "--output_dir is not empty",
            at=str(output),
            hint="choose another one, or --force to replace what convert wrote there",
        )
    foreign = [name for name in present if not _is_ours(name)]
    if foreign:
        raise UserError(
            f"--output_dir holds what convert did not write, and --force would delete: "
            f"{', '.join(foreign[:5])}",
            at=str(output),
            hint="move it away, or choose another --output_dir",
        )
    return output


def _is_ours(name: str) -> bool:
    return name in ("checkpoint", CONFIG, REPORT) or name.startswith(checkpoint.NAME + ".")


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """A folder beside the output one, so that renaming puts it in place; removed in the end.

    What a killed run left of it is removed first.
    """
    folder = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    except OSError as error:
        raise UserError(
            f"the output folder cannot be made: {error.strerror}",
            at=str(output),
            hint="choose another --output_dir",
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, output: Path) -> None:
    """Renames the finished folder; an earlier result goes only when the new one is there."""
    previous = output.with_name(f".{output.name}.previous")
    shutil.rmtree(previous, ignore_errors=True)
    if output.exists():
        os.replace(output, previous)
    os.replace(folder, output)
    shutil.rmtree(previous, ignore_errors=True)
