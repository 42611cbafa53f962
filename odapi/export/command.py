"""`odapi export`: models of other formats from a checkpoint, proved to detect what it detects."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odapi.console.arguments import add_config, require_folder
from odapi.console.errors import UserError
from odapi.console.files import replacing_folder
from odapi.console.terminal import say
from odapi.export import formats as other_formats
from odapi.pipeline.checkpoint import checkpoint_step, find_checkpoint
from odapi.pipeline.config import load, require_file
from odapi.pipeline.extractor import check_feature_extractor
from odapi.pipeline.inputs import eval_records
from odapi.pipeline.label_map import LABEL_MAP_NAME, label_map_path, load_label_map

if TYPE_CHECKING:
    from odapi.detector.detector import Detections, Detector

FORMATS = ("saved_model", *other_formats.FILES)
INPUT_TYPES = ("image_tensor", "float_image_tensor", "encoded_image_string_tensor", "tf_example")
REPORT_NAME = "export_report.json"
BOX_TOLERANCE = 1e-2
"""Pixels. Both models run the same graph in float32; what optimisation of the SavedModel's graph
changes is some 1e-4 pixels in an image of 1000, and a wrong variable changes whole pixels."""
SCORE_TOLERANCE = 1e-4
IMAGES_COMPARED = 2


@dataclass(frozen=True)
class Difference:
    """How far two models' detections in some images lie apart.

    Attributes:
        boxes: largest difference of a box side, in pixels; infinite where a detection of one
            model has no counterpart of its class and score in the other.
        scores: largest difference between scores of the same rank.
        variables: number of variables of the second model whose values no variable of the first
            has. Few images show few detections: a wrong variable need not show in them.
        detections: number of detections compared.
        images: number of images.
    """

    boxes: float
    scores: float
    variables: int
    detections: int
    images: int

    @property
    def tolerable(self) -> bool:
        """Whether it is no more than rounding."""
        return (
            self.boxes <= BOX_TOLERANCE and self.scores <= SCORE_TOLERANCE and self.variables == 0
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `exporter_main_v2.py`, under their names."""
    parser.add_argument(
        "--input_type",
        choices=INPUT_TYPES,
        default="image_tensor",
        metavar="TYPE",
        help="what the SavedModel takes: " + ", ".join(INPUT_TYPES) + " (default image_tensor)",
    )
    parser.add_argument(
        "--format",
        dest="formats",
        action="extend",
        type=_formats,
        default=[],
        metavar="FORMAT[,FORMAT]",
        help="what to write: " + ", ".join(FORMATS) + "; may be given more than once. The "
        "SavedModel is always written; the others take one image, RGB uint8",
    )
    add_config(parser)
    parser.add_argument(
        "--trained_checkpoint_dir",
        required=True,
        metavar="DIR",
        help="a model_dir of odapi train (its latest checkpoint is taken), or one checkpoint, "
        "DIR/ckpt-7",
    )
    parser.add_argument(
        "--output_directory",
        required=True,
        metavar="DIR",
        help="where saved_model/, the other formats' files, checkpoint/, pipeline.config and the "
        "label map go",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace an output directory that is not empty"
    )


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where a path is wrong at first sight, or a package is missing."""
    other_formats.require_packages(args.formats)
    require_file(args.pipeline_config_path, "--pipeline_config_path")
    _check_output(Path(args.output_directory), args.force)


def run(args: argparse.Namespace) -> int:
    """The command."""
    export(
        args.pipeline_config_path,
        args.trained_checkpoint_dir,
        args.output_directory,
        input_type=args.input_type,
        formats=args.formats,
        config_override=args.config_override,
        force=args.force,
    )
    return 0


def export(
    pipeline_config_path: str,
    trained_checkpoint_dir: str,
    output_directory: str,
    *,
    input_type: str = "image_tensor",
    formats: Sequence[str] = (),
    config_override: str = "",
    force: bool = False,
) -> Difference:
    """Exports a checkpoint, and compares what it and the exported models detect.

    The output directory appears, whole, only after the comparisons have passed.

    Args:
        pipeline_config_path: the config the model was trained with.
        trained_checkpoint_dir: a folder with checkpoints, or one checkpoint's prefix.
        output_directory: gets `saved_model`, the files of `formats`, `checkpoint`,
            `pipeline.config`, `label_map.pbtxt` where the config has one, and `export_report.json`.
        input_type: one of `INPUT_TYPES`.
        formats: some of `FORMATS`; the SavedModel is written in any case.
        config_override: a text proto, merged over the config.
        force: replace a directory that is not empty.

    Returns:
        The difference between checkpoint and SavedModel, within tolerance.

    Raises:
        UserError: the config or the checkpoint cannot be used, a format cannot hold the model, or
            the directory is not empty. Or, with exit code 1, an exported model detects something
            else than the checkpoint.
    """
    output = Path(output_directory)
    _check_output(output, force)
    config = load(pipeline_config_path, config_override)
    check_feature_extractor(config)
    others = [name for name in other_formats.FILES if name in formats]
    other_formats.check_config(others, config)
    checkpoint = find_checkpoint(trained_checkpoint_dir, "--trained_checkpoint_dir")
    label_map = label_map_path(config)
    # Like the records, it may be on another machine.
    has_labels = bool(label_map) and Path(label_map).is_file()
    classes = load_label_map(label_map, "label_map_path") if has_labels else {}

    from object_detection import exporter_lib_v2

    from odapi.detector.detector import Detector

    say(f"exporting {checkpoint}")
    original = Detector.from_checkpoint(config, checkpoint)
    with replacing_folder(output) as staging:
        with _folder_of(checkpoint) as folder:
            exporter_lib_v2.export_inference_graph(input_type, config, str(folder), str(staging))
        if classes:
            shutil.copyfile(label_map, staging / LABEL_MAP_NAME)
        images = list(itertools.islice(_images(config), IMAGES_COMPARED))
        exported = Detector.from_saved_model(str(staging), input_type)
        difference = _compared("SavedModel", original, exported, images, output)
        files = {}
        for name in others:
            file = other_formats.FILES[name]
            say(f"converting to {file}")
            converted = other_formats.convert(name, original, config, staging)
            fitted = [converted.fit(image) for image in images]
            found = _compared(file, original, converted.detector, fitted, output)
            files[file] = {
                "inputs": converted.inputs,
                "outputs": converted.outputs,
                "difference": asdict(found),
            }
        report = {
            "checkpoint": checkpoint,
            "step": checkpoint_step(checkpoint),
            "input_type": input_type,
            "difference": asdict(difference),
            "files": files,
            "classes": [{"id": key, "name": classes[key]} for key in sorted(classes)],
        }
        (staging / REPORT_NAME).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if not difference.detections:
        say("note: nothing was detected, so the comparison says nothing about boxes and scores")
    say(f"written to {output}")
    return difference


def _compared(
    what: str, original: Detector, exported: Detector, images: Sequence[np.ndarray], output: Path
) -> Difference:
    """How far an exported model is from the checkpoint; UserError where it is too far."""
    difference = compare(original, exported, images)
    text = f"{difference.boxes:.2g} px in boxes, {difference.scores:.2g} in scores, "
    if exported.variables:
        text += f"{difference.variables} of {len(exported.variables)} variables, "
    text += f"{difference.detections} detections in {difference.images} images"
    if not difference.tolerable:
        raise UserError(
            f"the {what} does not detect what the checkpoint detects: {text}",
            at=f"{original.source}; nothing was written to {output}",
            hint=f"allowed are {BOX_TOLERANCE} px, {SCORE_TOLERANCE}, and no variable",
            exit_code=1,
        )
    say(f"{what} against checkpoint: largest difference {text}")
    return difference


def _formats(text: str) -> list[str]:
    """Names of formats, separated by commas, for `type=` of an argument."""
    names = text.split(",")
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return names


def compare(first: Detector, second: Detector, images: Sequence[np.ndarray]) -> Difference:
    """Runs two models on the same images (uint8 [H, W, 3], RGB)."""
    foreign = _values(second) - _values(first)
    boxes = scores = 0.0
    detections = 0
    for image in images:
        here, there = first.detect(image), second.detect(image)
        detections += max(len(here), len(there))
        if len(here) != len(there):
            boxes = scores = math.inf
            continue
        if len(here):
            scores = max(scores, float(np.abs(here.scores - there.scores).max()))
            boxes = max(boxes, _box_distance(here, there), _box_distance(there, here))
    return Difference(boxes, scores, foreign.total(), detections, len(images))


def exported_input_type(saved_model: str) -> str | None:
    """The input type that `odapi export` noted beside a SavedModel; None without a note."""
    report = beside(saved_model, REPORT_NAME)
    return json.loads(report.read_text(encoding="utf-8"))["input_type"] if report else None


def beside(saved_model: str, name: str) -> Path | None:
    """The file `name` in the folder that `odapi export` wrote, given it or its saved_model."""
    from odapi.detector.detector import find_saved_model

    path = find_saved_model(saved_model).parent / name
    return path if path.is_file() else None


def _values(detector: Detector) -> Counter[str]:
    """Hashes of the variables' values. Not by name: an exported variable may lose its own."""
    return Counter(
        hashlib.sha256(variable.numpy().tobytes()).hexdigest() for variable in detector.variables
    )


def _box_distance(here: Detections, there: Detections) -> float:
    """The largest distance from a detection to its nearest counterpart, in pixels.

    Not rank by rank: two detections whose scores are equal but for rounding may change places.
    """
    distance = np.abs(here.boxes[:, np.newaxis] - there.boxes).max(axis=2)
    same_class = here.classes[:, np.newaxis] == there.classes
    same_score = np.abs(here.scores[:, np.newaxis] - there.scores) <= SCORE_TOLERANCE
    distance[~(same_class & same_score)] = np.inf
    return float(distance.min(axis=1).max())


def _images(config: Any) -> Iterator[np.ndarray]:
    """Images of the eval records if they are at hand; then, without end, generated ones."""
    from odapi.records.ground_truth import read_examples

    # The records are no part of the model: it can be exported on a machine without them.
    with suppress(UserError):
        records = eval_records(config, "config")
        yield from (image for image, _ in read_examples(records))
    random = np.random.default_rng(0)
    while True:
        coarse = random.integers(0, 256, (8, 10, 3)).astype(np.uint8)
        yield np.kron(coarse, np.ones((32, 32, 1), np.uint8))


def _check_output(output: Path, force: bool) -> None:
    require_folder(output, "--output_directory")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise UserError(
            "the output directory is not empty",
            at=f"--output_directory {output}",
            hint="take another one, or replace it with --force",
        )


@contextmanager
def _folder_of(checkpoint: str) -> Iterator[Path]:
    """A folder whose latest checkpoint is this one.

    Upstream's exporter takes the latest of a folder, which may have changed since we looked, and
    exports random values where there is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        state = f"model_checkpoint_path: {json.dumps(str(Path(checkpoint).absolute()))}\n"
        (Path(folder) / "checkpoint").write_text(state, encoding="utf-8")
        yield Path(folder)
