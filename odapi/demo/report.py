"""The demo's report, report.html: one file that needs nothing else, made of measured results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from odapi.detector.drawing import draw_detections
from odapi.pages import figures
from odapi.pages.page import render


@dataclass(frozen=True)
class Phase:
    """A part of the demo and its wall-clock time."""

    name: str
    seconds: float


@dataclass(frozen=True)
class ClassifierResult:
    """The classifier's training: one entry per epoch; accuracies in 0..1, on crops."""

    train_accuracy: list[float]
    test_accuracy: list[float]
    test_crops: int


@dataclass(frozen=True)
class TransferSummary:
    """What `odapi convert` reported: `rows` are (group, variables, parameters, outcome)."""

    coverage: float
    parity: float
    rows: list[tuple[str, int, int, str]]


@dataclass(frozen=True)
class DetectorResult:
    """One detector's training and its evaluation on unseen scenes.

    Attributes:
        steps, losses: the loss curve; as many of the one as of the other.
        coco: the twelve numbers of `page.COCO_METRICS`; -1 where there is no such object.
        class_ap: for each class AP and AP@0.5, both 0..1, -1 where the class does not occur.
        precision: for each class the precision at recall 0, 0.01 ... 1 for IoU 0.5.
        mask_coco: the twelve numbers over masks; None for a detector without masks.
    """

    steps: list[int]
    losses: list[float]
    coco: list[float]
    class_ap: dict[str, tuple[float, float]]
    precision: dict[str, list[float]]
    mask_coco: list[float] | None = None

    @property
    def ap50(self) -> float:
        return self.coco[1]

    @property
    def mask_ap50(self) -> float:
        return self.mask_coco[1]


@dataclass(frozen=True)
class DemoResult:
    """All that the report says, pictures apart.

    `classifier` is None where it was not trained by the demo.
    """

    backbone: str
    architecture: str
    machine: str
    seed: int
    train_scenes: int
    test_scenes: int
    phases: list[Phase]
    classifier: ClassifierResult | None
    transfer: TransferSummary
    converted: DetectorResult
    from_scratch: DetectorResult | None
    commands: list[str]


@dataclass(frozen=True)
class Drawing:
    """An unseen scene with its truth and what was detected in it.

    `image` uint8 [H, W, 3] RGB; boxes [N, 4], ymin, xmin, ymax, xmax in pixels; masks uint8
    [N, H, W] of 0 and 1, or None to draw boxes only.
    """

    image: np.ndarray
    true_boxes: np.ndarray
    true_labels: Sequence[str]
    boxes: np.ndarray
    labels: Sequence[str]
    scores: Sequence[float]
    true_masks: np.ndarray | None = None
    masks: np.ndarray | None = None


def write_report(result: DemoResult, drawings: Iterable[Drawing], path: Path) -> None:
    """Writes the report; `path` holds the old page or the whole new one, never a part."""
    runs = _runs(result)
    total = sum(phase.seconds for phase in result.phases)
    render(
        "demo/report.html",
        path,
        result=result,
        headline=_headline(result, total),
        scenes=[_pictures(drawing) for drawing in drawings],
        losses=_loss_plot(result),
        precision=_precision_plot(result),
        coco=_coco_columns(result),
        runs=[name for _, _, name in runs],
        classes=[
            (name, [run.class_ap[name] for run, _, _ in runs]) for name in result.converted.class_ap
        ],
        epochs=_epochs(result.classifier),
        phases=[
            (phase.name, _duration(phase.seconds), phase.seconds / total if total else 0.0)
            for phase in result.phases
        ],
        together=_duration(total),
        lines=[line for command in result.commands for line in command.split("\n")],
    )


def _headline(result: DemoResult, total: float) -> list[tuple[str, str, str]]:
    """The page's cards; `total` is the time in seconds that everything took."""
    cards = []
    for kind, run, origin in (
        ("first", result.converted, "from the classifier"),
        ("second", result.from_scratch, "from random weights, as many steps"),
    ):
        if run:
            cards.append((kind, f"{run.ap50:.2f}", f"AP@0.5 of boxes, {origin}"))
            if run.mask_coco:
                cards.append((kind, f"{run.mask_ap50:.2f}", f"AP@0.5 of masks, {origin}"))
    if result.classifier:
        accuracy = f"{100 * result.classifier.test_accuracy[-1]:.1f}%"
        cards.append(("", accuracy, "classifier on unseen crops"))
    cards.append(("", f"{total / 60:.0f} min", "for everything on this page"))
    return cards


def _pictures(drawing: Drawing) -> tuple[bytes, bytes]:
    """JPEG files of a scene with its true objects, and with those detected."""
    image = drawing.image
    truth = draw_detections(
        image, drawing.true_boxes, drawing.true_labels, masks=drawing.true_masks
    )
    found = draw_detections(
        image, drawing.boxes, drawing.labels, drawing.scores, masks=drawing.masks
    )
    return figures.jpeg(truth), figures.jpeg(found)


def _coco_columns(result: DemoResult) -> list[tuple[str, list[float]]]:
    """A heading and the twelve numbers for the boxes of each run, then for its masks."""
    columns = [
        (name + (", boxes" if run.mask_coco else ""), run.coco) for run, _, name in _runs(result)
    ]
    columns += [
        (f"{name}, masks", run.mask_coco) for run, _, name in _runs(result) if run.mask_coco
    ]
    return columns


def _epochs(classifier: ClassifierResult | None) -> list[tuple[float, float]]:
    """The classifier's accuracy in training and on unseen crops."""
    if classifier is None:
        return []
    return list(zip(classifier.train_accuracy, classifier.test_accuracy, strict=True))


def _loss_plot(result: DemoResult) -> bytes:
    figure, axes = figures.axes("step", "total loss")
    highest = 0.0
    for run, colour, name in _runs(result):
        losses = np.array(run.losses)
        smooth = _running_mean(losses)
        axes.plot(run.steps, losses, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(run.steps, smooth, color=colour, linewidth=2.2, label=name)
        highest = max(highest, float(np.percentile(losses, 98)))
    axes.set_ylim(0, 1.1 * highest)
    axes.set_xlim(left=0)
    return figures.png(figure, "upper right")


def _precision_plot(result: DemoResult) -> bytes:
    figure, axes = figures.precision_axes()
    recall = np.linspace(0, 1, 101)
    for run, colour, name in _runs(result):
        present = np.array([p for p in run.precision.values() if min(p) >= 0]).reshape(-1, 101)
        axes.plot(recall, present.T, color=colour, alpha=0.2, linewidth=0.8)
        if len(present):
            axes.plot(recall, present.mean(0), color=colour, linewidth=2.2, label=name)
    return figures.png(figure, "lower left")


def _runs(result: DemoResult) -> tuple[tuple[DetectorResult, str, str], ...]:
    """Each detector with its colour and its name."""
    runs = [(result.converted, figures.FIRST, "converted")]
    if result.from_scratch:
        runs.append((result.from_scratch, figures.SECOND, "from scratch"))
    return tuple(runs)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """The mean over a window of a tenth of the curve, shorter at both ends."""
    reach = max(1, len(values) // 20)
    return np.array([values[max(0, i - reach) : i + reach + 1].mean() for i in range(len(values))])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
