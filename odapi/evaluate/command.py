"""`odapi evaluate`: how good a model is on the eval records, in COCO's numbers and in pictures."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odapi.console.arguments import add_config, positive, require_folder, share
from odapi.console.progress import Progress
from odapi.console.terminal import say, shown_name
from odapi.evaluate.coco import BOXES_NAME, MASKS_NAME, TRUTH_NAME, CocoTable
from odapi.evaluate.mistakes import MIN_SCORE, WORST_IMAGES, Mistakes
from odapi.evaluate.result import EvaluationResult
from odapi.pipeline.checkpoint import checkpoint_step, find_checkpoint
from odapi.pipeline.config import load, require_file
from odapi.pipeline.extractor import check_feature_extractor
from odapi.pipeline.inputs import EvalRecords, eval_records
from odapi.records import framing
from odapi.records.ground_truth import read_examples

if TYPE_CHECKING:
    from odapi.detector.detector import Detector

REPORT_NAME = "evaluation.json"

CLASSES_NAME = "per_class.csv"
PAGE_NAME = "evaluation.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `model_main_tf2.py` that concern evaluation, and --saved_model."""
    add_config(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--checkpoint_dir",
        metavar="DIR",
        help="a model_dir of odapi train (its latest checkpoint is taken), or one checkpoint, "
        "DIR/ckpt-7",
    )
    source.add_argument("--saved_model", metavar="DIR", help="evaluate an exported model instead")
    parser.add_argument(
        "--model_dir",
        metavar="DIR",
        help=f"where {REPORT_NAME} goes; default: beside the checkpoint or SavedModel, or to "
        "--output_dir alone where that is given",
    )
    parser.add_argument(
        "--output_dir",
        metavar="DIR",
        help=f"gets {REPORT_NAME}, {CLASSES_NAME}, the page {PAGE_NAME} with curves, confusion "
        f"matrix and the {WORST_IMAGES} worst images, and {TRUTH_NAME}, {BOXES_NAME} and "
        f"{MASKS_NAME} in COCO's format",
    )
    parser.add_argument(
        "--min_score",
        type=share,
        default=MIN_SCORE,
        metavar="SCORE",
        help="confusion matrix and worst images leave out detections with a lower score (default "
        f"{MIN_SCORE:g}); AP and AR count all",
    )
    parser.add_argument(
        "--sample_1_of_n_eval_examples",
        type=positive,
        metavar="N",
        help="take every Nth record; default: the eval_input_reader's sample_1_of_n_examples",
    )


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where a path is wrong at first sight."""
    require_file(args.pipeline_config_path, "--pipeline_config_path")
    for flag in ("output_dir", "model_dir"):
        if getattr(args, flag):
            require_folder(Path(getattr(args, flag)), f"--{flag}")


def run(args: argparse.Namespace) -> int:
    """The command."""
    result = evaluate(
        args.pipeline_config_path,
        args.checkpoint_dir,
        saved_model=args.saved_model,
        sample_1_of_n=args.sample_1_of_n_eval_examples,
        config_override=args.config_override,
        output_dir=Path(args.output_dir) if args.output_dir else None,
        min_score=args.min_score,
    )
    if args.model_dir or not args.output_dir:
        folder = Path(args.model_dir) if args.model_dir else Path(result.model).parent
        result.write(folder / REPORT_NAME)
        say(f"written to {folder / REPORT_NAME}")
    if args.output_dir:
        say(f"page: {Path(args.output_dir) / PAGE_NAME}")
    return 0


def evaluate(
    pipeline_config_path: str,
    checkpoint_dir: str | None,
    *,
    saved_model: str | None = None,
    sample_1_of_n: int | None = None,
    config_override: str = "",
    output_dir: Path | None = None,
    min_score: float = MIN_SCORE,
) -> EvaluationResult:
    """Evaluates a model on the first eval_input_reader's records, and prints the tables.

    Images are taken at the size they have in the records. Records are told apart by their place,
    so that repeated or empty `image/source_id`s do no harm; repeated ones are counted. As in
    ODAPI's own COCO metrics, boxes marked `difficult` count like all others. Masks are measured
    where the model makes them and every record with boxes has them. An object's area, for small,
    medium and large, is the record's `image/object/area`, else its mask's, else its box's.

    Args:
        pipeline_config_path: the config.
        checkpoint_dir: a folder with checkpoints, or one checkpoint's prefix; None with
            `saved_model`.
        saved_model: the folder of an exported model.
        sample_1_of_n: take every nth record.
        config_override: a text proto, merged over the config.
        output_dir: gets the result as JSON, CSV and a page, and the files for pycocotools; None:
            nothing is written.
        min_score: for the confusion matrix and the worst images.

    Raises:
        UserError: the config, the records or the model cannot be used, or no record has a box.
    """
    config = load(pipeline_config_path, config_override)
    records = eval_records(config, pipeline_config_path)
    every = sample_1_of_n or records.reader.sample_1_of_n_examples

    from odapi.detector.detector import Detector
    from odapi.export.command import exported_input_type

    step = None
    if saved_model is not None:
        detector = Detector.from_saved_model(saved_model, exported_input_type(saved_model))
    else:
        check_feature_extractor(config)
        checkpoint = find_checkpoint(checkpoint_dir, "--checkpoint_dir")
        step = checkpoint_step(checkpoint)
        detector = Detector.from_checkpoint(config, checkpoint)
    say(f"evaluating {detector.source}" + ("" if step is None else f", step {step}"))
    return evaluate_detector(
        detector,
        records,
        every=every,
        step=step,
        output_dir=output_dir,
        min_score=min_score,
    )


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
        output_dir: as `evaluate`.
        min_score: as `evaluate`.
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
        # The page loads matplotlib.
        from odapi.evaluate.page import write_report

        table.write(output_dir)
        result.write_classes(output_dir / CLASSES_NAME)
        write_report(result, mistakes.worst(), output_dir / PAGE_NAME)
        result.write(output_dir / REPORT_NAME)
    return result


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


def print_result(result: EvaluationResult) -> None:
    """Prints the COCO tables, the tables of classes and the notes."""

    def number(value: float | None) -> str:
        return "    -" if value is None else f"{value:5.3f}"

    say(
        f"{result.images} images, {result.boxes} boxes, "
        f"{result.images_without_boxes} images without a box"
    )
    for metrics, classes, title in (
        (result.metrics, result.per_class, "class"),
        (result.mask_metrics, result.mask_per_class, "masks of class"),
    ):
        if metrics is None:
            continue
        width = max(len(name) for name in metrics)
        for name, value in metrics.items():
            say(f"  {name:{width}}  {number(value)}")
        width = max([len(title), *(len(shown_name(entry.name)) for entry in classes)])
        say(f"  {title:{width}}     AP  AP@.5     AR   boxes")
        for entry in classes:
            say(
                f"  {shown_name(entry.name):{width}}  {number(entry.ap)}  {number(entry.ap50)}  "
                f"{number(entry.ar)}  {entry.boxes:6}"
            )
    for note in result.notes:
        say(f"note: {note}")
