"""Evaluates a model on the eval records, in COCO's numbers and in pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odapi.console import output_folder
from odapi.console.progress import Progress
from odapi.console.terminal import say
from odapi.detector.loading import load_detector
from odapi.evaluate.coco import CocoTable
from odapi.evaluate.mistakes import MIN_SCORE, WORST_IMAGES, Mistakes
from odapi.evaluate.options import EvaluateOptions
from odapi.evaluate.result import CLASSES_NAME, PAGE_NAME, REPORT_NAME, EvaluationResult
from odapi.evaluate.tables import print_result
from odapi.pipeline.checkpoint import checkpoint_step
from odapi.pipeline.config import Pipeline
from odapi.pipeline.inputs import EvalRecords
from odapi.records import framing
from odapi.records.ground_truth import read_examples

if TYPE_CHECKING:
    from odapi.detector.detector import Detector


def evaluate(options: EvaluateOptions) -> EvaluationResult:
    """Evaluates a model on the first eval_input_reader's records, prints and writes the tables.

    Images are taken at the size they have in the records. Records are told apart by their place,
    so that repeated or empty `image/source_id`s do no harm; repeated ones are counted. As in
    ODAPI's own COCO metrics, boxes marked `difficult` count like all others. Masks are measured
    where the model makes them and every record with boxes has them. An object's area, for small,
    medium and large, is the record's `image/object/area`, else its mask's, else its box's.

    Raises:
        UserError: the config, the records or the model cannot be used, no record has a box, or
            nothing can be written.
    """
    pipeline = Pipeline.load(options.config, options.config_override)
    records = pipeline.eval_records
    detector = load_detector(pipeline, options.checkpoint, options.saved_model)
    step = None if options.saved_model else checkpoint_step(detector.source)
    folders = options.folders(detector.source)
    with output_folder.keeping(*folders):
        say(f"evaluating {detector.source}" + ("" if step is None else f", step {step}"))
        result = evaluate_detector(
            detector,
            records,
            every=options.sample_1_of_n_eval_examples or records.reader.sample_1_of_n_examples,
            step=step,
            output_dir=options.output_dir,
            min_score=options.min_score,
        )
        for folder in folders:
            if folder != options.output_dir:
                result.write(folder / REPORT_NAME)
                say(f"written to {folder / REPORT_NAME}")
    if options.output_dir:
        say(f"page: {options.output_dir / PAGE_NAME}")
    return result


def evaluate_detector(
    detector: Detector,
    records: EvalRecords,
    *,
    every: int = 1,
    step: int | None = None,
    output_dir: Path | None = None,
    min_score: float = MIN_SCORE,
) -> EvaluationResult:
    """As `evaluate`, with the parts at hand.

    Args:
        detector: the model.
        records: what to evaluate on.
        every: take every nth record.
        step: for the result.
        output_dir: as that of `EvaluateOptions`; None: nothing is written.
        min_score: as that of `EvaluateOptions`.
    """
    started = time.monotonic()
    total = -(-sum(framing.count_records(file) for file in records.files) // every)
    progress = Progress(total)
    table = CocoTable(records.names)
    mistakes = Mistakes(records.names, min_score, WORST_IMAGES if output_dir else 0)
    for number, (image, truth) in enumerate(read_examples(records, every), start=1):
        found = detector.detect(image)
        table.add(image.shape[:2], truth, found)
        mistakes.add(image, truth, found)
        progress.show_images(number)
    metrics, per_class = table.measure_boxes()
    mask_metrics, mask_per_class = table.measure_masks() if table.has_masks else (None, None)
    result = EvaluationResult(
        metrics=metrics,
        per_class=per_class,
        images=table.images,
        images_without_boxes=table.images_without_boxes,
        boxes=table.boxes,
        model=detector.source,
        step=step,
        seconds=round(time.monotonic() - started, 2),
        confusion=mistakes.confusion(),
        mask_metrics=mask_metrics,
        mask_per_class=mask_per_class,
        repeated_ids=table.repeated_ids,
        notes=_notes(table, records.reader),
    )
    print_result(result)
    if output_dir:
        _write(output_dir, result, table, mistakes)
    return result


def _write(folder: Path, result: EvaluationResult, table: CocoTable, mistakes: Mistakes) -> None:
    # It loads matplotlib.
    from odapi.evaluate.page import write_report

    table.write(folder)
    result.write_classes(folder / CLASSES_NAME)
    write_report(result, mistakes.worst(), folder / PAGE_NAME)
    result.write(folder / REPORT_NAME)


def _notes(table: CocoTable, reader: Any) -> list[str]:
    """What was out of the ordinary, one sentence each."""
    notes = []
    if table.repeated_ids:
        notes.append(
            f"{table.repeated_ids} of {table.images} records repeat the image/source_id of an "
            "earlier one; each counts as an image of its own, numbered by its place"
        )
    if table.unknown_classes:
        notes.append(
            f"{table.unknown_classes} detections are of classes that the label map lacks; they "
            "were left out"
        )
    if table.model_has_masks and not reader.load_instance_masks:
        notes.append(
            "the model makes masks, which were not measured: set load_instance_masks and "
            "mask_type in eval_input_reader"
        )
    elif table.model_has_masks and table.images_without_masks:
        notes.append(
            f"masks were not measured: {table.images_without_masks} of {table.images} records "
            "have boxes and no mask of the image's size for each of them"
        )
    return notes
