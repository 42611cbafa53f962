"""The demo's report: one HTML file that needs nothing else, made from measured results."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from odapi.drawing import class_colour, draw_detections
from odapi.files import write_text

COCO_METRICS = (
    ("AP", "IoU 0.50 to 0.95"),
    ("AP@0.5", "IoU 0.50"),
    ("AP@0.75", "IoU 0.75"),
    ("AP small", "objects below 32² pixels"),
    ("AP medium", "32² to 96² pixels"),
    ("AP large", "above 96² pixels"),
    ("AR@1", "one detection an image"),
    ("AR@10", "ten detections an image"),
    ("AR@100", "a hundred detections an image"),
    ("AR small", "objects below 32² pixels"),
    ("AR medium", "32² to 96² pixels"),
    ("AR large", "above 96² pixels"),
)
"""Name and meaning of the twelve numbers, in the order of pycocotools' `COCOeval.stats`."""

MASK_STRENGTH = 0.6
"""Share of the class's colour where a mask lies, so that the ink still shows through."""

FIRST, SECOND = "#0b63c5", "#c2570c"
"""Colours of the converted and of the from-scratch run (the same in report.css)."""


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
        coco: the twelve numbers of `COCO_METRICS`; -1 where there is no such object.
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
    style = Path(__file__).with_name("report.css").read_text()
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Digits: {escape(result.backbone)} detector</title>"
        f"<style>\n{style}</style></head>\n<body><main>\n" + "\n".join(sections) + "\n"
        "</main></body></html>\n"
    )
    write_text(path, page)


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
        '<div class="cards">'
        + "".join(
            f'<div class="card {kind}"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
            for kind, value, text in cards
        )
        + f'</div><p class="soft">{escape(result.machine)}; seed {result.seed}; '
        f"{converted.steps[-1]:,} training steps for each detector.</p></header>"
    )


def _scenes(drawings: Iterable[Drawing]) -> str:
    pairs = []
    for drawing in drawings:
        truth = draw_detections(
            _tinted(drawing.image, drawing.true_masks, drawing.true_labels),
            drawing.true_boxes,
            drawing.true_labels,
        )
        found = draw_detections(
            _tinted(drawing.image, drawing.masks, drawing.labels),
            drawing.boxes,
            drawing.labels,
            drawing.scores,
        )
        pairs.append(
            '<figure class="panel pair">'
            f"<div>{_picture(truth, 'scene with its true boxes')}<span>truth</span></div>"
            f"<div>{_picture(found, 'scene with detected boxes')}<span>detected</span></div>"
            "</figure>"
        )
    return (
        '<section id="scenes"><h2>Unseen scenes</h2>'
        "<p>On the left what was drawn, on the right what the exported model found, with its "
        'confidence. The first scenes of the test set, not chosen.</p><div class="scenes">'
        + "".join(pairs)
        + "</div></section>"
    )


def _tinted(image: np.ndarray, masks: np.ndarray | None, labels: Sequence[str]) -> np.ndarray:
    """A copy of the image with each mask in its class's colour."""
    tinted = image.copy()
    if masks is not None:
        for mask, label in zip(masks, labels, strict=True):
            ink = tinted[mask > 0]
            colour = np.array(class_colour(label))
            tinted[mask > 0] = (1 - MASK_STRENGTH) * ink + MASK_STRENGTH * colour
    return tinted


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
    rows = "".join(
        f"<tr><td>{name}</td><td class=soft>{meaning}</td>"
        + "".join(f"<td class=number>{_score(scores[index])}</td>" for _, scores in columns)
        + "</tr>"
        for index, (name, meaning) in enumerate(COCO_METRICS)
    )
    return (
        '<section id="coco"><h2>COCO metrics</h2><p>Measured with pycocotools on the unseen '
        'scenes; n/a where there is no object of that size.</p><div class="panel"><table>'
        "<tr><th>metric</th><th>over</th>"
        + "".join(f"<th class=number>{name}</th>" for name, _ in columns)
        + f"</tr>{rows}</table></div></section>"
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
                f"<td class=number>{_score(ap)}</td><td class=number>{_score(ap50)}</td>"
                for ap, ap50 in scores
            )
            + f"<td class=bar>{''.join(_bar(ap50, kind) for (_, ap50), kind in bars)}</td></tr>"
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
        f"<td class=number>{100 * test:.1f}%</td><td class=bar>{_bar(test)}</td></tr>"
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
        f"<td class=bar>{_bar(phase.seconds / total if total else 0.0)}</td></tr>"
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
        + escape("\n".join(result.commands))
        + "</pre></section>"
    )


def _loss_plot(result: DemoResult) -> str:
    figure, axes = _axes("step", "total loss")
    highest = 0.0
    for run, colour, name in _runs(result):
        losses = np.array(run.losses)
        smooth = _running_mean(losses)
        axes.plot(run.steps, losses, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(run.steps, smooth, color=colour, linewidth=2.2, label=name)
        highest = max(highest, float(np.percentile(losses, 98)))
    axes.set_ylim(0, 1.1 * highest)
    axes.set_xlim(left=0)
    return _plot(figure, axes, "loss curves of both detectors", "upper right")


def _precision_plot(result: DemoResult) -> str:
    figure, axes = _axes("recall", "precision")
    recall = np.linspace(0, 1, 101)
    for run, colour, name in _runs(result):
        present = np.array([p for p in run.precision.values() if min(p) >= 0]).reshape(-1, 101)
        axes.plot(recall, present.T, color=colour, alpha=0.2, linewidth=0.8)
        if len(present):
            axes.plot(recall, present.mean(0), color=colour, linewidth=2.2, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    return _plot(figure, axes, "precision-recall curves of both detectors", "lower left")


def _runs(result: DemoResult) -> tuple[tuple[DetectorResult, str, str], ...]:
    """Each detector with its colour and its name."""
    runs = [(result.converted, FIRST, "converted")]
    if result.from_scratch:
        runs.append((result.from_scratch, SECOND, "from scratch"))
    return tuple(runs)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """The mean over a window of a tenth of the curve, shorter at both ends."""
    reach = max(1, len(values) // 20)
    return np.array([values[max(0, i - reach) : i + reach + 1].mean() for i in range(len(values))])


def _axes(xlabel: str, ylabel: str):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.7), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(color="#e6eaee", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _plot(figure, axes, description: str, legend: str) -> str:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc=legend)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return _data_image(buffer.getvalue(), "png", description)


def _picture(pixels: np.ndarray, description: str) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=90, subsampling=0)
    return _data_image(buffer.getvalue(), "jpeg", description)


def _data_image(encoded: bytes, kind: str, description: str) -> str:
    data = base64.b64encode(encoded).decode("ascii")
    return f'<img alt="{escape(description)}" src="data:image/{kind};base64,{data}">'


def _bar(share: float, kind: str = "") -> str:
    width = 100 * min(max(share, 0.0), 1.0)
    fill = f'<span class="fill {kind}" style="width:{width:.1f}%"></span>'
    return f'<span class="track">{fill}</span>'


def _score(value: float) -> str:
    return "n/a" if value < 0 else f"{value:.3f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
