"""`odapi evaluate`: COCO metrics of a model on the eval records, computed by pycocotools."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odapi import config as configs
from odapi.arguments import add_config
from odapi.errors import UserError
from odapi.files import write_text
from odapi.progress import Progress, duration

if TYPE_CHECKING:
    from odapi.detector import Detector

REPORT_NAME = "evaluation.json"

METRICS = (
    "DetectionBoxes_Precision/mAP",
    "DetectionBoxes_Precision/mAP@.50IOU",
    "DetectionBoxes_Precision/mAP@.75IOU",
    "DetectionBoxes_Precision/mAP (small)",
    "DetectionBoxes_Precision/mAP (medium)",
    "DetectionBoxes_Precision/mAP (large)",
    "DetectionBoxes_Recall/AR@1",
    "DetectionBoxes_Recall/AR@10",
    "DetectionBoxes_Recall/AR@100",
    "DetectionBoxes_Recall/AR@100 (small)",
    "DetectionBoxes_Recall/AR@100 (medium)",
    "DetectionBoxes_Recall/AR@100 (large)",
)
"""The numbers of `COCOeval.stats` in order, under the names ODAPI gives them on TensorBoard."""


@dataclass(frozen=True)
class GroundTruth:
    """The annotated objects of one image.

    Attributes:
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax in pixels.
        classes: int64 [N], ids of the label map.
        crowd: int64 [N], 1 where a box stands for a group: finding it is neither right nor wrong.
        areas: float32 [N] in pixels, or None: the boxes' own.
    """

    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray | None = None


@dataclass(frozen=True)
class ClassResult:
    """How well one class is detected. None where the class has no ground truth box to find.

    Attributes:
        ap: average precision over IoU 0.50 to 0.95.
        ap50: average precision at IoU 0.5.
        ar: average recall over the same IoUs, with at most 100 detections an image.
        boxes: number of ground truth boxes, crowds left out.
        precision: at IoU 0.5, the best precision at each recall 0, 0.01, ..., 1.
    """

    id: int
    name: str
    ap: float | None
    ap50: float | None
    ar: float | None
    boxes: int
    precision: list[float] | None


@dataclass(frozen=True)
class EvaluationResult:
    """What `evaluate` measured.

    Attributes:
        metrics: the twelve COCO numbers by `METRICS`; None where there is nothing to measure,
            for example no small object.
        per_class: in order of class id.
        images: number of images.
        images_without_boxes: how many of them hold no object; a detection there is a mistake.
        boxes: number of ground truth boxes, crowds left out.
        model: the checkpoint or SavedModel.
        step: the training step of the checkpoint; None for a SavedModel.
        seconds: wall time.
    """

    metrics: dict[str, float | None]
    per_class: list[ClassResult]
    images: int
    images_without_boxes: int
    boxes: int
    model: str
    step: int | None
    seconds: float

    def write(self, path: Path) -> None:
        """Writes the result as JSON, the whole file or nothing."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")


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
        help=f"where {REPORT_NAME} goes; default: beside the checkpoint or SavedModel",
    )
    parser.add_argument(
        "--sample_1_of_n_eval_examples",
        type=int,
        metavar="N",
        help="take every Nth record; default: the eval_input_reader's sample_1_of_n_examples",
    )


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where a path is wrong at first sight."""
    configs.require_file(args.pipeline_config_path, "--pipeline_config_path")


def run(args: argparse.Namespace) -> int:
    """The command."""
    result = evaluate(
        args.pipeline_config_path,
        args.checkpoint_dir,
        saved_model=args.saved_model,
        sample_1_of_n=args.sample_1_of_n_eval_examples,
        config_override=args.config_override,
    )
    folder = Path(args.model_dir) if args.model_dir else Path(result.model).parent
    result.write(folder / REPORT_NAME)
    print(f"written to {folder / REPORT_NAME}")
    return 0


def evaluate(
    pipeline_config_path: str,
    checkpoint_dir: str | None,
    *,
    saved_model: str | None = None,
    sample_1_of_n: int | None = None,
    config_override: str = "",
) -> EvaluationResult:
    """Evaluates a model on the first eval_input_reader's records, and prints the tables.

    Images are taken at the size they have in the records. Records are told apart by their place,
    so that repeated or empty `image/source_id`s do no harm. As in ODAPI's own COCO metrics, boxes
    marked `difficult` count like all others.

    Args:
        pipeline_config_path: the config.
        checkpoint_dir: a folder with checkpoints, or one checkpoint's prefix; None with
            `saved_model`.
        saved_model: the folder of an exported model.
        sample_1_of_n: take every nth record.
        config_override: a text proto, merged over the config.

    Raises:
        UserError: the config, the records or the model cannot be used, or no record has a box.
    """
    config = configs.load(pipeline_config_path, config_override)
    if not config.eval_input_reader:
        raise UserError("there is no eval_input_reader", at=pipeline_config_path)
    reader = config.eval_input_reader[0]
    names = configs.check_label_map(config, reader, "eval_input_reader[0]")
    files = configs.record_files(reader, "eval_input_reader[0]")
    every = sample_1_of_n or reader.sample_1_of_n_examples

    from odapi.detector import Detector

    step = None
    if saved_model is not None:
        detector = Detector.from_saved_model(saved_model)
    else:
        configs.check_feature_extractor(config)
        checkpoint = configs.find_checkpoint(checkpoint_dir, "--checkpoint_dir")
        step = configs.checkpoint_step(checkpoint)
        detector = Detector.from_checkpoint(config, checkpoint)
    print(f"evaluating {detector.source}" + ("" if step is None else f", step {step}"))
    return evaluate_detector(detector, reader, files, names, every=every, step=step)


def evaluate_detector(
    detector: Detector,
    reader: Any,
    files: Sequence[str],
    names: Mapping[int, str],
    *,
    every: int = 1,
    step: int | None = None,
) -> EvaluationResult:
    """As `evaluate`, with the parts at hand.

    Args:
        detector: the model.
        reader: the `input_reader_pb2.InputReader` that says how the records are decoded.
        files: the TFRecord files.
        names: class id to name.
        every: take every nth record.
        step: for the result.
    """
    started = time.monotonic()
    total = -(-sum(configs.count_records(file) for file in files) // every)
    progress = Progress(total)
    table = _CocoTable(names)
    for number, (image, truth) in enumerate(read_examples(reader, files, names, every), start=1):
        table.add(image.shape[:2], truth, detector.detect(image))
        text = f"image {number}/{total}"
        if number == 1:
            # Building the readers and compiling the model falls to the first image.
            first_done = time.monotonic()
        else:
            rate = (number - 1) / (time.monotonic() - first_done)
            text += f"  {rate:.1f} images/s  time left {duration((total - number) / rate)}"
        progress.show(number, text)
    result = table.result(detector.source, step, time.monotonic() - started)
    print_result(result)
    return result


def read_examples(
    reader: Any, files: Sequence[str], names: Mapping[int, str], every: int = 1
) -> Iterator[tuple[np.ndarray, GroundTruth]]:
    """Decodes records as ODAPI does, in order and at their own size.

    Yields:
        The image, uint8 [H, W, 3] RGB, and what is in it.

    Raises:
        UserError: a record cannot be decoded, or holds a class that the label map lacks.
    """
    import tensorflow as tf
    from object_detection.builders import decoder_builder
    from object_detection.core.standard_fields import InputDataFields as Fields

    decoder = decoder_builder.build(reader)
    dataset = tf.data.TFRecordDataset(list(files)).shard(every, 0)
    examples = iter(dataset.map(decoder.decode).prefetch(2))
    index = -1
    while True:
        index += 1
        at = f"{', '.join(files)}: record {index * every + 1}"
        try:
            example = next(examples)
        except StopIteration:
            return
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            raise UserError(
                f"a record cannot be decoded: {error.message.splitlines()[0]}",
                at=at,
                hint="write the record again, or leave it out",
            ) from None
        image = example[Fields.image].numpy()
        height, width = image.shape[:2]
        classes = example[Fields.groundtruth_classes].numpy().astype(np.int64)
        unknown = sorted(set(classes.tolist()) - set(names))
        if unknown:
            what = "a class name" if unknown == [-1] else f"class {unknown[0]}"
            raise UserError(
                f"a box has {what} that the label map lacks",
                at=f"{at}, image/object/class; {reader.label_map_path}",
                hint=f"the label map has {', '.join(f'{i} {name}' for i, name in names.items())}",
            )
        boxes = example[Fields.groundtruth_boxes].numpy() * [height, width, height, width]
        crowd = example[Fields.groundtruth_is_crowd].numpy().astype(np.int64)
        areas = example[Fields.groundtruth_area].numpy()
        yield (
            image,
            GroundTruth(
                boxes.astype(np.float32).reshape(-1, 4),
                classes,
                crowd if len(crowd) == len(classes) else np.zeros(len(classes), np.int64),
                areas if len(areas) == len(classes) else None,
            ),
        )


def print_result(result: EvaluationResult) -> None:
    """Prints the COCO table and the table of classes."""

    def number(value: float | None) -> str:
        return "    -" if value is None else f"{value:5.3f}"

    print(
        f"{result.images} images, {result.boxes} boxes, "
        f"{result.images_without_boxes} images without a box"
    )
    width = max(len(name) for name in METRICS)
    for name, value in result.metrics.items():
        print(f"  {name:{width}}  {number(value)}")
    width = max([5, *(len(entry.name) for entry in result.per_class)])
    print(f"  {'class':{width}}     AP  AP@.5     AR   boxes")
    for entry in result.per_class:
        print(
            f"  {entry.name:{width}}  {number(entry.ap)}  {number(entry.ap50)}  "
            f"{number(entry.ar)}  {entry.boxes:6}"
        )


class _CocoTable:
    """Collects images and detections in the form pycocotools takes."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = dict(sorted(names.items()))
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._empty = 0

    def add(self, size: tuple[int, int], truth: GroundTruth, found: Any) -> None:
        """Adds one image of `size` (height, width)."""
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "height": size[0], "width": size[1]})
        self._empty += not len(truth.boxes)
        for index, box in enumerate(truth.boxes):
            entry = _annotation(image_id, len(self._truth) + 1, box, truth.classes[index])
            entry["iscrowd"] = int(truth.crowd[index])
            if truth.areas is not None:
                entry["area"] = float(truth.areas[index])
            self._truth.append(entry)
        for box, score, label in zip(found.boxes, found.scores, found.classes, strict=True):
            entry = _annotation(image_id, len(self._found) + 1, box, label)
            self._found.append(entry | {"score": float(score)})

    def result(self, model: str, step: int | None, seconds: float) -> EvaluationResult:
        """The metrics of everything added."""
        counts = dict.fromkeys(self._names, 0)
        for entry in self._truth:
            counts[entry["category_id"]] += not entry["iscrowd"]
        if not sum(counts.values()):
            raise UserError(
                f"none of the {len(self._images)} eval records has a box to find",
                at="config: eval_input_reader[0].tf_record_input_reader.input_path",
                hint="check the keys image/object/bbox/* and image/object/class/* of the records",
            )
        from pycocotools.cocoeval import COCOeval

        # pycocotools reports on standard output, in the midst of our own.
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCOeval(self._index(self._truth), self._index(self._found), "bbox")
            coco.evaluate()
            coco.accumulate()
            coco.summarize()
        # precision: [IoU, recall, class, area, detections]; recall: [IoU, class, area, detections]
        precision = coco.eval["precision"][:, :, :, 0, -1]
        recall = coco.eval["recall"][:, :, 0, -1]
        at_50 = int(np.flatnonzero(np.isclose(coco.params.iouThrs, 0.5))[0])
        return EvaluationResult(
            metrics={
                name: _measured(value) for name, value in zip(METRICS, coco.stats, strict=True)
            },
            per_class=[
                ClassResult(
                    id=label,
                    name=name,
                    ap=_measured(precision[:, :, index].mean()),
                    ap50=_measured(precision[at_50, :, index].mean()),
                    ar=_measured(recall[:, index].mean()),
                    boxes=counts[label],
                    precision=precision[at_50, :, index].tolist() if counts[label] else None,
                )
                for index, (label, name) in enumerate(self._names.items())
            ],
            images=len(self._images),
            images_without_boxes=self._empty,
            boxes=sum(counts.values()),
            model=model,
            step=step,
            seconds=round(seconds, 2),
        )

    def _index(self, annotations: list[dict[str, Any]]) -> Any:
        from pycocotools.coco import COCO

        # Filled by hand: COCO.loadRes, the usual way, fails on a model that found nothing.
        coco = COCO()
        coco.dataset = {
            "images": self._images,
            "annotations": annotations,
            "categories": [{"id": label, "name": name} for label, name in self._names.items()],
        }
        coco.createIndex()
        return coco


def _annotation(image_id: int, number: int, box: Sequence[float], label: int) -> dict[str, Any]:
    ymin, xmin, ymax, xmax = (float(side) for side in box)
    width, height = xmax - xmin, ymax - ymin
    return {
        "id": number,
        "image_id": image_id,
        "category_id": int(label),
        "bbox": [xmin, ymin, width, height],
        "area": width * height,
        "iscrowd": 0,
    }


def _measured(value: float) -> float | None:
    """pycocotools says -1 where there was nothing to measure."""
    return float(value) if math.isfinite(value) and value >= 0 else None
