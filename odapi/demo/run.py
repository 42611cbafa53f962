"""The demo from digits to report page: every phase is the command that a user would run."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from odapi import config as configs
from odapi import pipeline
from odapi.convert.report import Status, TransferReport
from odapi.convert.transfer import Request, convert
from odapi.demo import classifier, scenes
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
from odapi.detector import Detector
from odapi.errors import UserError
from odapi.evaluate import EvaluationResult, evaluate
from odapi.export import export
from odapi.predict import RESULTS_NAME, predict
from odapi.train import TOTAL_LOSS, train

MARKER = ".odapi-demo"
"""Its presence says that a folder is a demo's, and may be replaced."""

DISK_SPACE = 8e9
"""Bytes: a checkpoint of VGG-16 with Adam's two moments is 1.7 GB, and there are two of them."""


ADAM_EPSILON = 1e-4
"""Far above Adam's usual 1e-8, so that a weight whose gradient is small moves little.

Adam moves every weight by about the learning rate. fc1 has 25,088 inputs, so that at 1e-4 it
forgets the digits faster than the new layers learn: 400 steps ended at AP@0.5 0.65, and plain
momentum, which keeps fc1, left the proposals behind. This does for both.
"""


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        classifier: the classifier's training.
        train_scenes, test_scenes, drawn_scenes: number of scenes; those drawn are among the test.
        steps: of detector training, from the classifier and from scratch alike.
        batch: scenes a step.
        learning_rate: Adam's peak, after a sixteenth of the steps; a cosine takes it to 0.
            See `ADAM_EPSILON`.
    """

    classifier: classifier.Recipe
    train_scenes: int
    test_scenes: int
    drawn_scenes: int
    steps: int
    batch: int
    learning_rate: float


FULL = Size(
    classifier=classifier.DEFAULT_RECIPE,
    train_scenes=2000,
    test_scenes=200,
    drawn_scenes=12,
    steps=400,
    batch=4,
    learning_rate=2e-4,
)
TINY = Size(
    # Narrow fc1 and fc2, which the detector does not take over: they start fresh there.
    classifier=classifier.Recipe(stages=((32, 1),), crops=32, test_crops=16, batch=16, width=64),
    train_scenes=8,
    test_scenes=4,
    drawn_scenes=2,
    steps=3,
    batch=1,
    learning_rate=1e-4,
)


def run_demo(output: Path, size: Size = FULL, *, seed: int = 0, from_scratch: bool = True) -> Path:
    """Runs every phase and writes `report.html`.

    Args:
        output: the folder for everything; an earlier demo there is replaced.
        size: how much of everything.
        seed: of the scenes and of initial weights.
        from_scratch: train the second detector, from a random backbone, as well.

    Returns:
        The report's path.

    Raises:
        UserError: `output` holds something else, or the disk is too full.
    """
    _prepare(output)
    label_map = output / "label_map.pbtxt"
    records = {part: output / f"{part}.record" for part in ("train", "test")}
    phases: list[Phase] = []

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        yield
        phases.append(Phase(name, time.monotonic() - started))

    digits = dict(zip(records, scenes.split_digits(scenes.load_digits()), strict=True))
    with phase("Draw scenes"):
        scenes.write_label_map(label_map)
        for part, count in (("train", size.train_scenes), ("test", size.test_scenes)):
            drawn = scenes.make_scenes(digits[part], count, _seed(part, seed))
            written = scenes.write_records(drawn, records[part])
            print(f"{written} scenes: {records[part]}")

    with phase("Train the classifier"):
        model, epochs = classifier.train_classifier(
            digits["train"], digits["test"], size.classifier, seed
        )
        source = output / "classifier.keras"
        model.save(source)
        print(f"classifier: {source}")
        del model

    with phase("Convert it"):
        transfer = convert(
            Request(
                source=str(source),
                output_dir=output / "converted",
                label_map=str(label_map),
                train_records=str(records["train"]),
                eval_records=str(records["test"]),
            )
        )

    runs = {"detector": str(output / "converted" / "ckpt-1")}
    if from_scratch:
        runs["from_scratch"] = ""
    results: dict[str, DetectorResult] = {}
    for name, checkpoint in runs.items():
        start = "from the classifier" if checkpoint else "from scratch"
        config = output / f"{name}.config"
        pipeline.write(_detector_config(size, label_map, records, checkpoint), config)
        with phase(f"Train the detector {start}"), bfloat16_arithmetic():
            trained = train(
                str(config),
                str(output / name),
                checkpoint_every_n=size.steps,
                checkpoint_max_to_keep=1,
                record_summaries=False,
            )
        with phase(f"Evaluate the detector trained {start}"):
            evaluation = evaluate(str(config), str(output / name))
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
            backbone="VGG-16",
            machine=describe_machine(),
            seed=seed,
            train_scenes=size.train_scenes,
            test_scenes=size.test_scenes,
            phases=phases,
            classifier=ClassifierResult(
                [epoch.train_accuracy for epoch in epochs],
                [epoch.test_accuracy for epoch in epochs],
                size.classifier.test_crops,
            ),
            transfer=_transfer_summary(transfer),
            converted=results["detector"],
            from_scratch=results.get("from_scratch"),
            commands=_commands(output, source, label_map, from_scratch),
        ),
        drawings,
        report,
    )
    minutes = sum(phase.seconds for phase in phases) / 60
    print(f"\nAP@0.5 on unseen scenes: {results['detector'].ap50:.3f} from the classifier", end="")
    if from_scratch:
        print(f", {results['from_scratch'].ap50:.3f} from scratch", end="")
    print(f"; {minutes:.1f} minutes in all\nreport: {report}")
    return report


def _seed(part: str, seed: int) -> int:
    """The seed of the training or test scenes, never the same."""
    return 2 * seed + ("train", "test").index(part)


def _prepare(output: Path) -> None:
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
    if free < DISK_SPACE:
        raise UserError(
            f"the demo needs {DISK_SPACE / 1e9:.0f} GB of disk, and {free / 1e9:.1f} GB are free",
            at=str(output),
            hint="make room, or name a folder on another disk with --output_dir",
        )


def _detector_config(size: Size, label_map: Path, records: dict[str, Path], checkpoint: str):
    """The pipeline of `odapi convert`, made smaller where small pictures allow it."""
    config = pipeline.vgg16_faster_rcnn(
        len(scenes.CLASS_NAMES),
        fine_tune_checkpoint=checkpoint,
        train_records=str(records["train"]),
        eval_records=str(records["test"]),
        label_map=str(label_map),
        batch_size=size.batch,
        num_steps=size.steps,
    )
    side = scenes.DEFAULT_STYLE.size
    model = config.model.faster_rcnn
    model.image_resizer.fixed_shape_resizer.height = side
    model.image_resizer.fixed_shape_resizer.width = side
    # A penalty on 137 million weights takes a tenth of a step and changes nothing in 400.
    model.feature_extractor.ClearField("conv_hyperparams")
    # Digits are 32 to 60 pixels long and rather high than wide; scale 1 is 256 pixels.
    anchors = model.first_stage_anchor_generator.grid_anchor_generator
    anchors.ClearField("scales")
    anchors.scales.extend([0.14, 0.19, 0.25])
    anchors.ClearField("aspect_ratios")
    anchors.aspect_ratios.extend([0.5, 0.9])
    model.first_stage_box_predictor_depth = 256
    model.first_stage_minibatch_size = 64
    # At most four digits a scene: few proposals do, and fc1 is most of a proposal's cost.
    model.first_stage_max_proposals = 32
    model.first_stage_localization_loss_weight = 2.0
    model.second_stage_localization_loss_weight = 2.0
    model.second_stage_batch_size = 16
    model.second_stage_balance_fraction = 0.5
    suppression = model.second_stage_post_processing.batch_non_max_suppression
    suppression.score_threshold = 0.05
    suppression.iou_threshold = 0.4
    suppression.max_detections_per_class = 10
    suppression.max_total_detections = 20

    training = config.train_config
    training.ClearField("data_augmentation_options")  # a mirrored digit is another sign
    training.optimizer.adam_optimizer.epsilon = ADAM_EPSILON
    schedule = training.optimizer.adam_optimizer.learning_rate.cosine_decay_learning_rate
    schedule.learning_rate_base = size.learning_rate
    schedule.total_steps = size.steps
    schedule.warmup_learning_rate = size.learning_rate / 20
    schedule.warmup_steps = max(1, size.steps // 16)
    if not checkpoint:
        training.ClearField("fine_tune_checkpoint")
        training.ClearField("fine_tune_checkpoint_type")
    config.train_input_reader.shuffle_buffer_size = 512
    return config


def _detector_result(log: Path, evaluation: EvaluationResult) -> DetectorResult:
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
    drawn = {}
    for number, scene in enumerate(scenes.make_scenes(digits, count, _seed("test", seed)), start=1):
        path = folder / f"scene_{number:02d}.png"
        Image.fromarray(scene.image).save(path)
        drawn[str(path)] = scene
    names = configs.load_label_map(str(output / "label_map.pbtxt"), "label_map_path")
    detector = Detector.from_saved_model(str(exported))
    predict(detector, [Path(path) for path in drawn], output / "predictions", names)
    found = json.loads((output / "predictions" / RESULTS_NAME).read_text())
    for path, scene in drawn.items():
        here = [entry for entry in found if entry["file_name"] == path]
        corners = np.array([entry["bbox"] for entry in here]).reshape(-1, 4)[:, [1, 0, 3, 2]]
        corners[:, 2:] += corners[:, :2]
        yield Drawing(
            image=scene.image,
            true_boxes=scene.boxes,
            true_labels=[names[int(label)] for label in scene.labels],
            boxes=corners,
            labels=[entry["category_name"] for entry in here],
            scores=[entry["score"] for entry in here],
        )


def _transfer_summary(report: TransferReport) -> TransferSummary:
    """The variables of the report by block, with what became of each block."""
    groups: dict[tuple[str, Status], list[int]] = {}
    for entry in report.variables:
        block = entry.target.split("/")[0].split("_")[0]
        groups.setdefault((block, entry.status), []).append(int(np.prod(entry.shape)))
    return TransferSummary(
        coverage=report.coverage / 100,
        parity=report.parity.relative,
        rows=[
            (block, len(sizes), sum(sizes), status.value)
            for (block, status), sizes in groups.items()
        ],
    )


def _commands(output: Path, source: Path, label_map: Path, from_scratch: bool) -> list[str]:
    """What a user would type for the same, the classifier's training apart."""
    commands = [
        f"odapi convert {source} --output_dir {output}/converted --label_map {label_map} \\\n"
        f"    --train_records {output}/train.record --eval_records {output}/test.record"
    ]
    for name in ("detector", "from_scratch") if from_scratch else ("detector",):
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
