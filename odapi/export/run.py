"""Models of other formats from a checkpoint, proved to detect what it detects."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odapi.console import output_folder
from odapi.console.errors import UserError
from odapi.console.terminal import say
from odapi.detector.exported import REPORT_NAME
from odapi.detector.loading import load_detector
from odapi.export import formats as other_formats
from odapi.export.comparison import BOX_TOLERANCE, SCORE_TOLERANCE, Difference, compare
from odapi.export.options import ExportOptions
from odapi.pipeline.checkpoint import checkpoint_step, find_checkpoint
from odapi.pipeline.config import Pipeline
from odapi.pipeline.label_map import LABEL_MAP_NAME, load_label_map

if TYPE_CHECKING:
    from odapi.detector.detector import Detector

IMAGES_COMPARED = 2


def export(options: ExportOptions) -> Difference:
    """Exports a checkpoint, and compares what it and the exported models detect.

    The output directory appears, whole, only after the comparisons have passed.

    Returns:
        The difference between checkpoint and SavedModel, within tolerance.

    Raises:
        UserError: the config or the checkpoint cannot be used, a format cannot hold the model, or
            the directory is not empty. Or, with exit code 1, an exported model detects something
            else than the checkpoint.
    """
    check_output(options.output_dir, force=options.force)
    pipeline = Pipeline.load(options.config, options.config_override)
    _ = pipeline.extractor  # Refuses what cannot be built.
    others = [name for name in other_formats.FILES if name in options.formats]
    other_formats.check_config(others, pipeline.config)
    checkpoint = find_checkpoint(options.checkpoint, "--checkpoint")
    # Like the records, it may be on another machine.
    label_map = pipeline.label_map if Path(pipeline.label_map).is_file() else ""
    classes = load_label_map(label_map, "label_map_path") if label_map else {}
    say(f"exporting {checkpoint}")
    original = load_detector(pipeline, checkpoint)
    images = list(itertools.islice(_images(pipeline), IMAGES_COMPARED))
    with output_folder.replacing(options.output_dir) as staging:
        difference = _write_saved_model(options, pipeline, original, staging, images)
        if label_map:
            shutil.copyfile(label_map, staging / LABEL_MAP_NAME)
        report = {
            "checkpoint": checkpoint,
            "step": checkpoint_step(checkpoint),
            "input_type": options.input_type,
            "difference": asdict(difference),
            "files": {
                other_formats.FILES[name]: _write_other(
                    name, options, pipeline, original, staging, images
                )
                for name in others
            },
            "classes": [{"id": key, "name": classes[key]} for key in sorted(classes)],
        }
        (staging / REPORT_NAME).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if not difference.detections:
        say("note: nothing was detected, so the comparison says nothing about boxes and scores")
    say(f"written to {options.output_dir}")
    return difference


def check_output(output: Path, *, force: bool) -> None:
    """Raises UserError where an export may not be written to `output`.

    With `force` an earlier export goes, and nothing else: it may be the folder of a training run.
    """
    output_folder.check(output, force=force, kind="export", foreign=_foreign)


def _foreign(output: Path) -> list[str]:
    """The names in a folder that no export wrote."""
    ours = {"saved_model", "checkpoint", "pipeline.config", LABEL_MAP_NAME, REPORT_NAME}
    ours.update(other_formats.FILES.values())
    return [path.name for path in output_folder.content(output) if path.name not in ours]


def _write_saved_model(
    options: ExportOptions,
    pipeline: Pipeline,
    original: Detector,
    staging: Path,
    images: Sequence[np.ndarray],
) -> Difference:
    from object_detection import exporter_lib_v2

    from odapi.detector.detector import Detector

    with _folder_of(original.source) as folder:
        exporter_lib_v2.export_inference_graph(
            options.input_type, pipeline.config, str(folder), str(staging)
        )
    exported = Detector.from_saved_model(str(staging), options.input_type)
    return _compared("SavedModel", original, exported, images, options.output_dir)


def _write_other(
    name: str,
    options: ExportOptions,
    pipeline: Pipeline,
    original: Detector,
    staging: Path,
    images: Sequence[np.ndarray],
) -> dict[str, Any]:
    """Writes the file of another format; returns what the report says of it."""
    file = other_formats.FILES[name]
    say(f"converting to {file}")
    converted = other_formats.convert(name, original, pipeline.config, staging)
    fitted = [converted.fit(image) for image in images]
    found = _compared(file, original, converted.detector, fitted, options.output_dir)
    return {
        "inputs": converted.inputs,
        "outputs": converted.outputs,
        "difference": asdict(found),
    }


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


def _images(pipeline: Pipeline) -> Iterator[np.ndarray]:
    """Images of the eval records if they are at hand; then, without end, generated ones."""
    from odapi.records.ground_truth import read_examples

    # The records are no part of the model: it can be exported on a machine without them.
    with suppress(UserError):
        yield from (image for image, _ in read_examples(pipeline.eval_records))
    random = np.random.default_rng(0)
    while True:
        coarse = random.integers(0, 256, (8, 10, 3)).astype(np.uint8)
        yield np.kron(coarse, np.ones((32, 32, 1), np.uint8))


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
