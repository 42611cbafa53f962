"""The demo from digits to report page: every phase is the command that a user would run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from odapi.console import output_folder
from odapi.console.errors import UserError
from odapi.console.terminal import say
from odapi.convert import recipes
from odapi.convert.artefact import CONFIG
from odapi.convert.report import TransferReport
from odapi.convert.request import Architecture, Request
from odapi.convert.transfer import convert
from odapi.demo import detectors, scenes
from odapi.demo.classifier import RECIPES, Recipe, train_classifier
from odapi.demo.cpu import bfloat16_arithmetic, describe_machine
from odapi.demo.outcome import detector_result, outcome, transfer_summary
from odapi.demo.report import (
    ClassifierResult,
    DemoResult,
    DetectorResult,
    Drawing,
    Phase,
    write_report,
)
from odapi.detector.detector import Detector
from odapi.evaluate.options import EvaluateOptions
from odapi.evaluate.run import evaluate
from odapi.export.options import ExportOptions
from odapi.export.run import export
from odapi.pipeline.config import load
from odapi.pipeline.label_map import load_label_map
from odapi.predict.run import predict_files
from odapi.train import TrainOptions, train

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
    demo = _Demo(output, choice, size, seed)
    demo.draw_scenes()
    classifier = demo.train_classifier() if choice.recipe else None
    transfer = demo.convert()
    results = {"detector": demo.train_detector("detector")}
    if from_scratch:
        results["from_scratch"] = demo.train_detector("from_scratch")
    drawings = demo.export_and_predict()
    report = output / "report.html"
    write_report(
        DemoResult(
            backbone=choice.title,
            architecture=ARCHITECTURES[choice.architecture],
            machine=describe_machine(),
            seed=seed,
            train_scenes=size.train_scenes,
            test_scenes=size.test_scenes,
            phases=demo.phases,
            classifier=classifier,
            transfer=transfer_summary(transfer),
            converted=results["detector"],
            from_scratch=results.get("from_scratch"),
            commands=_commands(choice, demo.preprocessing, output, demo.source, results),
        ),
        drawings,
        report,
    )
    minutes = sum(phase.seconds for phase in demo.phases) / 60
    said = f"{outcome(results['detector'])} from the classifier"
    if from_scratch:
        said += f", {outcome(results['from_scratch'])} from scratch"
    say("", f"AP@0.5 on unseen scenes: {said}; {minutes:.1f} minutes in all")
    say(f"report: {report}")
    return report


class _Demo:
    """The phases of one demo, in their order, and the files that one leaves for the next.

    Attributes:
        source: the classifier to convert: a path or a name.
        preprocessing: its images'; see `odapi convert`.
        phases: those that are done.
    """

    def __init__(self, output: Path, choice: Choice, size: Size, seed: int) -> None:
        self._output = output
        self._choice = choice
        self._size = size
        self._seed = seed
        self._label_map = output / "label_map.pbtxt"
        self._records = {part: output / f"{part}.record" for part in ("train", "test")}
        digits = scenes.split_digits(scenes.load_digits())
        self._digits = dict(zip(self._records, digits, strict=True))
        self.source = choice.backbone
        self.preprocessing = choice.recipe.preprocessing if choice.recipe else choice.preprocessing
        self.phases: list[Phase] = []

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        say("", f"== {name}", flush=True)
        started = time.monotonic()
        yield
        self.phases.append(Phase(name, time.monotonic() - started))

    def draw_scenes(self) -> None:
        counts = {"train": self._size.train_scenes, "test": self._size.test_scenes}
        with self._phase("Draw scenes"):
            scenes.write_label_map(self._label_map)
            for part, count in counts.items():
                drawn = scenes.make_scenes(self._digits[part], count, _seed(part, self._seed))
                written = scenes.write_records(drawn, self._records[part])
                say(f"{written} scenes: {self._records[part]}")

    def train_classifier(self) -> ClassifierResult:
        recipe = self._choice.recipe.tiny if self._size.tiny else self._choice.recipe
        train, test = self._digits["train"], self._digits["test"]
        with self._phase("Train the classifier"):
            model, epochs = train_classifier(train, test, recipe, self._seed)
            self.source = str(self._output / "classifier.keras")
            model.save(self.source)
            say(f"classifier: {self.source}")
        return ClassifierResult(
            [epoch.train_accuracy for epoch in epochs],
            [epoch.test_accuracy for epoch in epochs],
            recipe.test_crops,
        )

    def convert(self) -> TransferReport:
        with self._phase("Convert it"):
            return convert(
                Request(
                    source=self.source,
                    output_dir=self._output / "converted",
                    architecture=self._choice.architecture,
                    preprocessing=self.preprocessing,
                    label_map=str(self._label_map),
                    train_records=str(self._records["train"]),
                    eval_records=str(self._records["test"]),
                )
            )

    def train_detector(self, name: str) -> DetectorResult:
        """Trains and evaluates "detector", from the classifier, or "from_scratch"."""
        architecture = self._choice.architecture
        training = detectors.training(self._choice.backbone, architecture)
        if self._size.tiny:
            training = TINY_TRAINING
        # In bfloat16 SSD's loss was not a number at the sixth step; in float32 it trains.
        arithmetic = nullcontext if architecture.is_ssd else bfloat16_arithmetic
        start = "from the classifier" if name == "detector" else "from scratch"
        config = load(str(self._output / "converted" / CONFIG))
        detectors.fit_to_scenes(config, training)
        if name == "from_scratch":
            detectors.start_afresh(config)
        path, model_dir = self._output / f"{name}.config", self._output / name
        recipes.write(config, path)
        with self._phase(f"Train the detector {start}"), arithmetic():
            trained = train(
                TrainOptions(
                    config=str(path),
                    model_dir=str(model_dir),
                    checkpoint_every_n=training.steps,
                    checkpoint_max_to_keep=1,
                    record_summaries=False,
                )
            )
        with self._phase(f"Evaluate the detector trained {start}"):
            evaluation = evaluate(EvaluateOptions(config=str(path), checkpoint=str(model_dir)))
        return detector_result(trained.log, evaluation)

    def export_and_predict(self) -> list[Drawing]:
        exported, digits = self._output / "exported", self._digits["test"]
        with self._phase("Export"):
            export(
                ExportOptions(
                    config=str(self._output / "detector.config"),
                    checkpoint=str(self._output / "detector"),
                    output_dir=exported,
                )
            )
        with self._phase("Predict on unseen scenes"):
            count = self._size.drawn_scenes
            return list(_predict(exported, digits, count, self._seed, self._output))


def _seed(part: str, seed: int) -> int:
    """The seed of the training or test scenes, never the same."""
    return 2 * seed + ("train", "test").index(part)


def _prepare(output: Path, disk_space: float) -> None:
    """Makes an empty folder with the marker, in place of an earlier demo."""
    output_folder.check(output, force=True, kind="demo", foreign=_foreign)
    output_folder.empty(output)
    (output / MARKER).touch()
    free = shutil.disk_usage(output).free
    if free < disk_space:
        raise UserError(
            f"the demo needs {disk_space / 1e9:.0f} GB of disk, and {free / 1e9:.1f} GB are free",
            at=str(output),
            hint="make room, or name a folder on another disk with --output_dir",
        )


def _foreign(output: Path) -> list[str]:
    """The names in a folder that no demo wrote: none; UserError where it is not that of one."""
    if not (output / MARKER).is_file():
        raise UserError(
            "the output folder holds something that is not a demo",
            at=f"{output_folder.FLAG} {output}",
            hint="name another folder with --output_dir",
        )
    return []


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
    predict_files(detector, paths, output / "predictions", names, MIN_SCORE)
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
        flags = f"--config={output}/{name}.config"
        commands += [
            f"odapi train {flags} --model_dir={output}/{name}",
            f"odapi evaluate {flags} --checkpoint={output}/{name}",
        ]
    return [
        *commands,
        f"odapi export --config={output}/detector.config \\\n"
        f"    --checkpoint={output}/detector --output_dir={output}/exported",
        f"odapi predict --saved_model={output}/exported "
        f"--output_dir={output}/predictions {output}/scenes",
    ]
