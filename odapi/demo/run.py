"""The demo from digits to report page: every phase is the command that a user would run."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from odapi.console.errors import UserError
from odapi.console.terminal import say
from odapi.convert import recipes
from odapi.convert.artefact import CONFIG
from odapi.convert.report import Status, TransferReport
from odapi.convert.transfer import Architecture, Request, convert
from odapi.demo import detectors, scenes
from odapi.demo.classifier import RECIPES, Recipe, train_classifier
from odapi.demo.cpu import bfloat16_arithmetic, describe_machine
from odapi.demo.report import (
    ClassifierResult,
    DemoResult,
    DetectorResult,
    Drawing,
    Phase,
    TransferSummary,
    write_report,
)
from odapi.detector.detector import Detector
from odapi.evaluate.command import evaluate
from odapi.evaluate.result import EvaluationResult
from odapi.export.command import export
from odapi.pipeline.config import load
from odapi.pipeline.label_map import load_label_map
from odapi.predict.command import predict
from odapi.train import TOTAL_LOSS, TrainOptions, train

MARKER = ".odapi-demo"
"""Its presence says that a folder is a demo's, and may be replaced."""

DISK_SPACE = {"small": 1e9, "mobilenetv2": 1e9}
"""Bytes that the demo needs, by backbone."""

MOST_DISK_SPACE = 8e9
"""Bytes for any other: a checkpoint of VGG-16 with Adam's two moments is 1.7 GB, and there are
two of them."""

MIN_SCORE = 0.5
"""Detections below it are not drawn; `odapi predict` has the same."""


@dataclass(frozen=True)
class Choice:
    """Which classifier becomes which detector.

    Attributes:
        backbone: one of `RECIPES`, which is trained, or the path of a classifier, which is not.
        architecture: the detector's.
        preprocessing: of the classifier at that path; see `odapi convert`.
    """

    backbone: str = "small"
    architecture: Architecture = Architecture.FASTER_RCNN
    preprocessing: str | None = None

    @property
    def recipe(self) -> Recipe | None:
        return RECIPES.get(self.backbone)

    @property
    def title(self) -> str:
        """The classifier's name for people."""
        return self.recipe.title if self.recipe else Path(self.backbone).name


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        train_scenes, test_scenes, drawn_scenes: number of scenes; those drawn are among the test.
        tiny: train classifier and detectors for a few steps only.
    """

    train_scenes: int
    test_scenes: int
    drawn_scenes: int
    tiny: bool = False


FULL = Size(train_scenes=2000, test_scenes=200, drawn_scenes=12)
TINY = Size(train_scenes=8, test_scenes=4, drawn_scenes=2, tiny=True)
ARCHITECTURES = {
    Architecture.FASTER_RCNN: "Faster R-CNN",
    Architecture.MASK_RCNN: "Mask R-CNN",
    Architecture.SSD: "SSD",
}
"""Those that the demo makes, with their names for people."""

TINY_TRAINING = detectors.Training(steps=3, batch=1, learning_rate=1e-4)


def run_demo(
    output: Path,
    choice: Choice = Choice(),
    size: Size = FULL,
    *,
    seed: int = 0,
    from_scratch: bool = True,
) -> Path:
    """Runs every phase and writes `report.html`.

    Args:
        output: the folder for everything; an earlier demo there is replaced.
        choice: which classifier becomes which detector.
        size: how much of everything.
        seed: of the scenes and of initial weights.
        from_scratch: train the second detector, from a random backbone, as well.

    Returns:
        The report's path.

    Raises:
        UserError: `output` holds something else, the disk is too full, or the classifier at
            `choice.backbone` cannot be converted.
    """
    _prepare(output, DISK_SPACE.get(choice.backbone, MOST_DISK_SPACE))
    label_map = output / "label_map.pbtxt"
    records = {part: output / f"{part}.record" for part in ("train", "test")}
    phases: list[Phase] = []

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        say("", f"== {name}", flush=True)
        started = time.monotonic()
        yield
        phases.append(Phase(name, time.monotonic() - started))

    digits = dict(zip(records, scenes.split_digits(scenes.load_digits()), strict=True))
    with phase("Draw scenes"):
        scenes.write_label_map(label_map)
        for part, count in (("train", size.train_scenes), ("test", size.test_scenes)):
            drawn = scenes.make_scenes(digits[part], count, _seed(part, seed))
            written = scenes.write_records(drawn, records[part])
            say(f"{written} scenes: {records[part]}")

    source, classifier = choice.backbone, None
    if choice.recipe:
        recipe = choice.recipe.tiny if size.tiny else choice.recipe
        with phase("Train the classifier"):
            model, epochs = train_classifier(digits["train"], digits["test"], recipe, seed)
            source = str(output / "classifier.keras")
            model.save(source)
            say(f"classifier: {source}")
            del model
        classifier = ClassifierResult(
            [epoch.train_accuracy for epoch in epochs],
            [epoch.test_accuracy for epoch in epochs],
            recipe.test_crops,
        )

    preprocessing = choice.recipe.preprocessing if choice.recipe else choice.preprocessing
    with phase("Convert it"):
        transfer = convert(
            Request(
                source=source,
                output_dir=output / "converted",
                architecture=choice.architecture,
                preprocessing=preprocessing,
                label_map=str(label_map),
                train_records=str(records["train"]),
                eval_records=str(records["test"]),
            )
        )

    training = detectors.training(choice.backbone, choice.architecture)
    if size.tiny:
        training = TINY_TRAINING
    # In bfloat16 SSD's loss was not a number at the sixth step; in float32 it trains.
    arithmetic = nullcontext if choice.architecture.is_ssd else bfloat16_arithmetic
    results: dict[str, DetectorResult] = {}
    for name in ("detector", "from_scratch") if from_scratch else ("detector",):
        start = "from the classifier" if name == "detector" else "from scratch"
        config = load(str(output / "converted" / CONFIG))
        detectors.fit_to_scenes(config, training)
        if name == "from_scratch":
            detectors.start_afresh(config)
        path = output / f"{name}.config"
        recipes.write(config, path)
        with phase(f"Train the detector {start}"), arithmetic():
            trained = train(
                TrainOptions(
                    pipeline_config_path=str(path),
                    model_dir=str(output / name),
                    checkpoint_every_n=training.steps,
                    checkpoint_max_to_keep=1,
                    record_summaries=False,
                )
            )
        with phase(f"Evaluate the detector trained {start}"):
            evaluation = evaluate(str(path), str(output / name))
            evaluation.write(output / name / "evaluation.json")
        results[name] = _detector_result(trained.log, evaluation)

    exported = output / "exported"
    with phase("Export"):
        export(str(output / "detector.config"), str(output / "detector"), str(exported))
    with phase("Predict on unseen scenes"):
        drawings = list(_predict(exported, digits["test"], size.drawn_scenes, seed, output))

    report = output / "report.html"
    write_report(
        DemoResult(
            backbone=choice.title,
            architecture=ARCHITECTURES[choice.architecture],
            machine=describe_machine(),
            seed=seed,
            train_scenes=size.train_scenes,
            test_scenes=size.test_scenes,
            phases=phases,
            classifier=classifier,
            transfer=_transfer_summary(transfer),
            converted=results["detector"],
            from_scratch=results.get("from_scratch"),
            commands=_commands(choice, preprocessing, output, source, results),
        ),
        drawings,
        report,
    )
    minutes = sum(phase.seconds for phase in phases) / 60
    outcome = f"{_outcome(results['detector'])} from the classifier"
    if from_scratch:
        outcome += f", {_outcome(results['from_scratch'])} from scratch"
    say("", f"AP@0.5 on unseen scenes: {outcome}; {minutes:.1f} minutes in all")
    say(f"report: {report}")
    return report


def _seed(part: str, seed: int) -> int:
    """The seed of the training or test scenes, never the same."""
    return 2 * seed + ("train", "test").index(part)


def _prepare(output: Path, disk_space: float) -> None:
    """Makes an empty folder with the marker, in place of an earlier demo."""
    if output.exists():
        if not (output / MARKER).is_file() and any(output.iterdir()):
            raise UserError(
                "the output folder holds something that is not a demo",
                at=str(output),
                hint="name another folder with --output_dir",
            )
        shutil.rmtree(output)
    output.mkdir(parents=True)
    (output / MARKER).touch()
    free = shutil.disk_usage(output).free
    if free < disk_space:
        raise UserError(
            f"the demo needs {disk_space / 1e9:.0f} GB of disk, and {free / 1e9:.1f} GB are free",
            at=str(output),
            hint="make room, or name a folder on another disk with --output_dir",
        )


def _outcome(result: DetectorResult) -> str:
    if result.mask_coco is None:
        return f"{result.ap50:.3f}"
    return f"boxes {result.ap50:.3f} and masks {result.mask_ap50:.3f}"


def _detector_result(log: Path, evaluation: EvaluationResult) -> DetectorResult:
    masks = evaluation.mask_metrics
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return DetectorResult(
        steps=[entry["step"] for entry in entries],
        losses=[entry["losses"][TOTAL_LOSS] for entry in entries],
        coco=[_number(value) for value in evaluation.metrics.values()],
        class_ap={
            entry.name: (_number(entry.ap), _number(entry.ap50)) for entry in evaluation.per_class
        },
        precision={
            entry.name: entry.precision for entry in evaluation.per_class if entry.precision
        },
        mask_coco=[_number(value) for value in masks.values()] if masks else None,
    )


def _number(value: float | None) -> float:
    """Pycocotools' own sign for what was not measured, in place of None."""
    return -1.0 if value is None else value


def _predict(
    exported: Path, digits: scenes.Digits, count: int, seed: int, output: Path
) -> Iterator[Drawing]:
    """Writes the first test scenes as PNG files; the exported model detects digits in them."""
    folder = output / "scenes"
    folder.mkdir()
    drawn = list(scenes.make_scenes(digits, count, _seed("test", seed)))
    paths = [folder / f"scene_{number:02d}.png" for number in range(1, count + 1)]
    for path, scene in zip(paths, drawn, strict=True):
        Image.fromarray(scene.image).save(path)
    names = load_label_map(str(output / "label_map.pbtxt"), "label_map_path")
    detector = Detector.from_saved_model(str(exported))
    predict(detector, paths, output / "predictions", names, MIN_SCORE)
    for scene in drawn:
        found = detector.detect(scene.image, MIN_SCORE)
        yield Drawing(
            image=scene.image,
            true_boxes=scene.boxes,
            true_labels=[names[int(label)] for label in scene.labels],
            boxes=found.boxes,
            labels=[names[int(label)] for label in found.classes],
            scores=found.scores.tolist(),
            # Detectors of boxes are compared with boxes.
            true_masks=None if found.masks is None else scene.masks,
            masks=found.masks,
        )


def _transfer_summary(report: TransferReport) -> TransferSummary:
    """The variables of the report by block, with what became of each block."""
    groups: dict[tuple[str, Status], list[int]] = {}
    for entry in report.variables:
        block = entry.target.split("/")[0].split("_")[0]
        groups.setdefault((block, entry.status), []).append(int(np.prod(entry.shape)))
    return TransferSummary(
        coverage=report.coverage / 100,
        parity=max(parity.relative for parity in report.parity),
        rows=[
            (block, len(sizes), sum(sizes), status.value)
            for (block, status), sizes in groups.items()
        ],
    )


def _commands(
    choice: Choice, preprocessing: str | None, output: Path, source: str, runs: Iterable[str]
) -> list[str]:
    """What a user would type for the same, the classifier's training apart."""
    how = f" --preprocessing {preprocessing}" if preprocessing else ""
    commands = [
        f"odapi convert {source} --architecture {choice.architecture}{how} \\\n"
        f"    --output_dir {output}/converted --label_map {output}/label_map.pbtxt \\\n"
        f"    --train_records {output}/train.record --eval_records {output}/test.record"
    ]
    for name in runs:
        flags = f"--pipeline_config_path={output}/{name}.config"
        commands += [
            f"odapi train {flags} --model_dir={output}/{name}",
            f"odapi evaluate {flags} --checkpoint_dir={output}/{name}",
        ]
    return [
        *commands,
        f"odapi export --pipeline_config_path={output}/detector.config \\\n"
        f"    --trained_checkpoint_dir={output}/detector --output_directory={output}/exported",
        f"odapi predict --saved_model={output}/exported "
        f"--output_directory={output}/predictions {output}/scenes",
    ]
