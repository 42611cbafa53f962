"""The demo's report: one HTML file that needs nothing else, made from measured results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from odapi.detector.drawing import draw_detections
from odapi.pages import page
from odapi.pages.page import escape


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
    sections = (
        _headline(result),
        _scenes(drawings),
        _curves(result),
        _coco_table(result),
        _class_table(result),
        *([_classifier(result.classifier)] if result.classifier else []),
        _transfer(result.transfer),
        _phases(result.phases),
        _reproduce(result),
    )
    page.write_page(f"Digits: {result.backbone} detector", sections, path)


def _headline(result: DemoResult) -> str:
    converted, scratch = result.converted, result.from_scratch
    total = sum(phase.seconds for phase in result.phases)
    cards = []
    for kind, run, origin in (
        ("first", converted, "from the classifier"),
        ("second", scratch, "from random weights, as many steps"),
    ):
        if run:
            cards.append((kind, f"{run.ap50:.2f}", f"AP@0.5 of boxes, {origin}"))
            if run.mask_coco:
                cards.append((kind, f"{run.mask_ap50:.2f}", f"AP@0.5 of masks, {origin}"))
    trained = "of your own"
    if result.classifier:
        trained = "of digits, trained here,"
        accuracy = f"{100 * result.classifier.test_accuracy[-1]:.1f}%"
        cards.append(("", accuracy, "classifier on unseen crops"))
    cards.append(("", f"{total / 60:.0f} min", "for everything on this page"))
    return (
        "<header><h1>A Keras classifier becomes a detector</h1>"
        f'<p class="lead">A classifier {trained} ({escape(result.backbone)}) was converted to '
        f"the backbone of {escape(result.architecture)}, which was trained on "
        f"{result.train_scenes:,} scenes and measured on {result.test_scenes:,} scenes of digits "
        f"that {'neither had' if result.classifier else 'it had not'} seen.</p>"
        + page.cards(cards)
        + f'<p class="soft">{escape(result.machine)}; seed {result.seed}; '
        f"{converted.steps[-1]:,} training steps for each detector.</p></header>"
    )


def _scenes(drawings: Iterable[Drawing]) -> str:
    pairs = []
    for drawing in drawings:
        truth = draw_detections(
            drawing.image, drawing.true_boxes, drawing.true_labels, masks=drawing.true_masks
        )
        found = draw_detections(
            drawing.image, drawing.boxes, drawing.labels, drawing.scores, masks=drawing.masks
        )
        pairs.append(page.pair(page.jpeg(truth), page.jpeg(found)))
    return (
        '<section id="scenes"><h2>Unseen scenes</h2>'
        "<p>On the left what was drawn, on the right what the exported model found, with its "
        'confidence. The first scenes of the test set, not chosen.</p><div class="scenes">'
        + "".join(pairs)
        + "</div></section>"
    )


def _curves(result: DemoResult) -> str:
    return (
        '<section id="curves"><h2>Training and precision</h2>'
        f"<p>{_comparison(result)}</p>"
        '<div class="two">'
        f'<figure class="panel">{_loss_plot(result)}<figcaption>Total loss by step; thin: every '
        "reading, bold: running mean.</figcaption></figure>"
        f'<figure class="panel">{_precision_plot(result)}<figcaption>Precision over recall at '
        "IoU 0.5; thin: single classes, bold: their mean.</figcaption></figure></div></section>"
    )


def _comparison(result: DemoResult) -> str:
    """What the two runs have in common, and what not."""
    if not result.from_scratch:
        return "The detector was trained from the classifier only."
    return (
        "Both detectors have the same layers, schedule and scenes. From scratch means random "
        "initial weights, nothing from the classifier. Batch normalisation, where the backbone "
        "has any, then learns its statistics; from the classifier it keeps the classifier's."
    )


def _coco_table(result: DemoResult) -> str:
    columns = [
        (name + (", boxes" if run.mask_coco else ""), run.coco) for run, _, name in _runs(result)
    ]
    columns += [
        (f"{name}, masks", run.mask_coco) for run, _, name in _runs(result) if run.mask_coco
    ]
    return (
        '<section id="coco"><h2>COCO metrics</h2><p>Measured with pycocotools on the unseen '
        "scenes; n/a where there is no object of that size.</p>"
        + page.coco_table(columns)
        + "</section>"
    )


def _class_table(result: DemoResult) -> str:
    runs = _runs(result)
    rows = []
    for name in result.converted.class_ap:
        scores = [run.class_ap[name] for run, _, _ in runs]
        bars = zip(scores, ("", "second"), strict=False)
        rows.append(
            f"<tr><td><b>{escape(name)}</b></td>"
            + "".join(
                f"<td class=number>{page.score(ap)}</td><td class=number>{page.score(ap50)}</td>"
                for ap, ap50 in scores
            )
            + f"<td class=bar>{''.join(page.bar(ap50, kind) for (_, ap50), kind in bars)}</td></tr>"
        )
    return (
        '<section id="classes"><h2>Per class</h2><div class="panel"><table><tr><th>class</th>'
        + "".join(
            f"<th class=number>AP, {name}</th><th class=number>AP@0.5</th>" for _, _, name in runs
        )
        + "<th></th></tr>"
        + "".join(rows)
        + "</table></div></section>"
    )


def _classifier(classifier: ClassifierResult) -> str:
    epochs = zip(classifier.train_accuracy, classifier.test_accuracy, strict=True)
    rows = "".join(
        f"<tr><td>{epoch}</td><td class=number>{100 * train:.1f}%</td>"
        f"<td class=number>{100 * test:.1f}%</td><td class=bar>{page.bar(test)}</td></tr>"
        for epoch, (train, test) in enumerate(epochs, start=1)
    )
    return (
        '<section id="classifier"><h2>The classifier</h2><p>Trained on fresh crops in every '
        f"epoch, tested on {classifier.test_crops:,} crops of digits kept apart from the start."
        '</p><div class="panel"><table><tr><th>epoch</th><th class=number>training</th>'
        f"<th class=number>unseen</th><th></th></tr>{rows}</table></div></section>"
    )


def _transfer(transfer: TransferSummary) -> str:
    rows = "".join(
        f"<tr><td>{escape(group)}</td><td class=number>{variables}</td>"
        f"<td class=number>{parameters:,}</td><td>{escape(outcome)}</td></tr>"
        for group, variables, parameters, outcome in transfer.rows
    )
    return (
        '<section id="transfer"><h2>What the conversion moved</h2>'
        f"<p>{100 * transfer.coverage:.1f} per cent of the backbone's parameters; largest "
        f"difference between both models' features on the same images: {transfer.parity:.1e} of "
        "their range.</p>"
        '<div class="panel"><table><tr><th>layers</th><th class=number>variables</th>'
        f"<th class=number>parameters</th><th>outcome</th></tr>{rows}</table></div></section>"
    )


def _phases(phases: Sequence[Phase]) -> str:
    total = sum(phase.seconds for phase in phases)
    rows = "".join(
        f"<tr><td>{escape(phase.name)}</td><td class=number>{_duration(phase.seconds)}</td>"
        f"<td class=bar>{page.bar(phase.seconds / total if total else 0.0)}</td></tr>"
        for phase in phases
    )
    return (
        '<section id="time"><h2>Where the time went</h2><div class="panel"><table>'
        f"{rows}<tr><td><b>together</b></td><td class=number><b>{_duration(total)}</b></td>"
        "<td></td></tr></table></div></section>"
    )


def _reproduce(result: DemoResult) -> str:
    return (
        '<section id="reproduce"><h2>The same by hand</h2><p>Everything above comes from these '
        f"commands and seed {result.seed}.</p><pre>"
        + "\n".join(escape(line) for command in result.commands for line in command.split("\n"))
        + "</pre></section>"
    )


def _loss_plot(result: DemoResult) -> str:
    figure, axes = page.axes("step", "total loss")
    highest = 0.0
    for run, colour, name in _runs(result):
        losses = np.array(run.losses)
        smooth = _running_mean(losses)
        axes.plot(run.steps, losses, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(run.steps, smooth, color=colour, linewidth=2.2, label=name)
        highest = max(highest, float(np.percentile(losses, 98)))
    axes.set_ylim(0, 1.1 * highest)
    axes.set_xlim(left=0)
    return page.figure_image(figure, "loss curves of both detectors", "upper right")


def _precision_plot(result: DemoResult) -> str:
    figure, axes = page.precision_axes()
    recall = np.linspace(0, 1, 101)
    for run, colour, name in _runs(result):
        present = np.array([p for p in run.precision.values() if min(p) >= 0]).reshape(-1, 101)
        axes.plot(recall, present.T, color=colour, alpha=0.2, linewidth=0.8)
        if len(present):
            axes.plot(recall, present.mean(0), color=colour, linewidth=2.2, label=name)
    return page.figure_image(figure, "precision-recall curves of both detectors", "lower left")


def _runs(result: DemoResult) -> tuple[tuple[DetectorResult, str, str], ...]:
    """Each detector with its colour and its name."""
    runs = [(result.converted, page.FIRST, "converted")]
    if result.from_scratch:
        runs.append((result.from_scratch, page.SECOND, "from scratch"))
    return tuple(runs)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """The mean over a window of a tenth of the curve, shorter at both ends."""
    reach = max(1, len(values) // 20)
    return np.array([values[max(0, i - reach) : i + reach + 1].mean() for i in range(len(values))])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
