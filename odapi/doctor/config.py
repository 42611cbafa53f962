"""Checks all that a pipeline config refers to; bare record files are a config of one reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from odapi.console.errors import UserError
from odapi.doctor import checkpoint, label_map, record_files
from odapi.doctor.findings import Finding, Kind, Severity
from odapi.pipeline.config import Pipeline
from odapi.pipeline.extractor import (
    BackboneRefused,
    architecture,
    num_classes,
)
from odapi.pipeline.inputs import matching_files

QUICK_RECORDS = 50
"""Records of each set that are looked into before training."""

OnRecords = Callable[[int], None]


def quick(
    pipeline: Pipeline, model_dir: str | None = None, *, evaluates: bool = False
) -> list[Finding]:
    """What keeps a config from training, as far as a second or two can tell.

    All but the records is looked at fully; of each record set the first `QUICK_RECORDS`, and the
    lengths of the others. What is wrong with the evaluation's records and label map is a warning
    here unless training reads them.

    Args:
        pipeline: the config.
        model_dir: where training will write.
        evaluates: it will evaluate as well.
    """
    found = examine(pipeline, record_files.Counts(), model_dir=model_dir, limit=QUICK_RECORDS)
    return [
        replace(finding, severity=Severity.WARNING) if of_evaluation and not evaluates else finding
        for finding, of_evaluation in found
    ]


def examine(
    pipeline: Pipeline,
    counts: record_files.Counts,
    *,
    model_dir: str | None = None,
    limit: int | None = None,
    on_records: OnRecords = lambda count: None,
) -> Iterator[tuple[Finding, bool]]:
    """Checks a config and all that it refers to.

    Args:
        pipeline: the config.
        counts: what was looked at is added to it.
        model_dir: where training will write; None: not known.
        limit: number of records of each set to look into; None: all.
        on_records: called every now and then with the number of records so far.

    Yields:
        Findings, and whether they concern the evaluation alone.
    """
    config = pipeline.config
    for finding in (*_model(pipeline), *checkpoint.examine(config.train_config, model_dir)):
        yield finding, False
    readers = [("train_input_reader", config.train_input_reader)] + [
        (f"eval_input_reader[{index}]", reader)
        for index, reader in enumerate(config.eval_input_reader)
    ]
    sets = []
    maps: set[str] = set()
    for field, reader in readers:
        of_evaluation = field != "train_input_reader"
        prepared, found = _prepare(reader, field, config, maps)
        sets.append(prepared)
        for finding in found:
            yield finding, of_evaluation
    for finding in _shared(sets):
        yield finding, True
    done: set[str] = set()
    for prepared in sets:
        # A file that training and evaluation share is looked at once.
        files = [file for file in prepared.files if file not in done]
        done.update(files)
        if files:
            part = replace(prepared, files=files)
            for finding in record_files.examine(part, counts, limit=limit, on_records=on_records):
                yield finding, prepared is not sets[0]


def examine_records(
    patterns: Sequence[str],
    counts: record_files.Counts,
    *,
    label_map_path: str = "",
    masks: bool = False,
    on_records: OnRecords = lambda count: None,
) -> Iterator[Finding]:
    """Checks record files of which no config tells.

    Args:
        patterns: paths or glob patterns.
        counts: what was looked at is added to it.
        label_map_path: compare the classes with this label map.
        masks: there must be a PNG mask for each box.
        on_records: called every now and then with the number of records so far.
    """
    from object_detection.protos import input_reader_pb2

    reader = input_reader_pb2.InputReader(
        load_instance_masks=masks, mask_type=input_reader_pb2.PNG_MASKS
    )
    classes = None
    if label_map_path:
        classes, found = label_map.examine(label_map_path, "--label_map")
        yield from found
    files, found = _files(patterns, "RECORD")
    yield from found
    if files:
        part = record_files.RecordSet("RECORD", reader, classes, None, files)
        yield from record_files.examine(part, counts, on_records=on_records)


def _model(pipeline: Pipeline) -> Iterator[Finding]:
    config = pipeline.config
    try:
        _ = pipeline.extractor
    except BackboneRefused as error:
        yield Finding.of(Kind.CONFIG_BACKBONE, error)
    except UserError as error:
        yield Finding.of(Kind.CONFIG_EXTRACTOR, error)
    batch_size = config.train_config.batch_size
    if batch_size < 1:
        message = "the batch size is not set"
        yield Finding(Kind.BATCH_SIZE, message, field="config: train_config.batch_size")
    model = config.model.WhichOneof("model")
    resizer = architecture(config).image_resizer
    kind = resizer.WhichOneof("image_resizer_oneof")
    varies = kind in ("identity_resizer", "conditional_shape_resizer") or (
        kind == "keep_aspect_ratio_resizer"
        and not resizer.keep_aspect_ratio_resizer.pad_to_max_dimension
    )
    if batch_size > 1 and varies:
        message = (
            f"batch_size is {batch_size}, and {kind} gives images of different shapes "
            "different sizes"
        )
        yield Finding(Kind.BATCH_SHAPES, message, field=f"config: model.{model}.image_resizer")
    if _trains_masks(config) and not config.train_input_reader.load_instance_masks:
        message = "the model is trained on masks, and the input reader does not read them"
        field = "config: train_input_reader.load_instance_masks"
        yield Finding(Kind.MASKS_NOT_LOADED, message, field=field)


def _trains_masks(config: Any) -> bool:
    model = architecture(config)
    if config.model.WhichOneof("model") == "faster_rcnn":
        predictor = model.second_stage_box_predictor.mask_rcnn_box_predictor
        return predictor.predict_instance_masks
    return config.model.WhichOneof("model") == "center_net" and model.HasField(
        "mask_estimation_task"
    )


def _prepare(
    reader: Any, field: str, config: Any, maps: set[str]
) -> tuple[record_files.RecordSet, list[Finding]]:
    """The record set of a reader, and what is wrong before a record is read.

    Args:
        maps: label maps that were told of already; this reader's is added.
    """
    path = reader.label_map_path
    classes, found = label_map.examine(path, f"config: {field}.label_map_path")
    if classes is not None:
        found += label_map.compare(classes, config, reader, field)
    if path and path in maps:
        found = []
    maps.add(path)
    patterns = list(reader.tf_record_input_reader.input_path)
    place = f"config: {field}.tf_record_input_reader.input_path"
    if not patterns:
        message, hint = "no record files are given", f"set {place.removeprefix('config: ')}"
        found.append(Finding(Kind.RECORDS_MISSING, message, field=place, hint=hint))
    files, missing = _files(patterns, place)
    found += missing
    return record_files.RecordSet(field, reader, classes, num_classes(config), files), found


def _files(patterns: Sequence[str], field: str) -> tuple[list[str], list[Finding]]:
    files: dict[str, None] = {}
    missing = []
    for pattern in patterns:
        try:
            files |= dict.fromkeys(matching_files(pattern, field))
        except UserError as error:
            missing.append(Finding.of(Kind.RECORDS_MISSING, error))
    return list(files), missing


def _shared(sets: Sequence[record_files.RecordSet]) -> Iterator[Finding]:
    trained = {Path(file).resolve() for file in sets[0].files}
    for evaluated in sets[1:]:
        shared = [file for file in evaluated.files if Path(file).resolve() in trained]
        if shared:
            others = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            message = f"training and evaluation both read {shared[0]}{others}"
            place = f"config: {evaluated.field}.tf_record_input_reader.input_path"
            yield Finding(Kind.RECORDS_SHARED, message, field=place)
