"""The evaluation's page: tables, curves, the confusion matrix and the worst images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from odapi.console.terminal import shown_name
from odapi.detector.drawing import class_colour
from odapi.evaluate.mistakes import WorstImage
from odapi.evaluate.result import ClassResult, Confusion, EvaluationResult
from odapi.pages import page
from odapi.pages.page import escape

NAMED_CLASSES = 10
"""Up to so many classes have a colour and a line in the legend of the curves."""

COUNTED_CLASSES = 20
"""Up to so many classes the confusion matrix shows its counts as numbers."""

CONFUSIONS = 15
"""So many of the most frequent confusions are listed."""


def write_report(result: EvaluationResult, worst: Sequence[WorstImage], path: Path) -> None:
    """Writes the page; `path` holds the old page or the whole new one, never a part."""
    sections = [
        _headline(result),
        _coco(result),
        _curves(result),
        _classes(result),
        _confusion(result.confusion),
        _worst(result.confusion, worst),
    ]
    page.write_page(f"Evaluation of {result.model}", sections, path)


def _headline(result: EvaluationResult) -> str:
    cards = []
    for metrics, kind, what in (
        (result.metrics, "first", "boxes"),
        (result.mask_metrics, "second", "masks"),
    ):
        if metrics:
            ap, ap50 = list(metrics.values())[:2]
            cards.append((kind, page.score(ap), f"AP of {what}"))
            cards.append((kind, page.score(ap50), f"AP@0.5 of {what}"))
    step = "" if result.step is None else f", step {result.step:,}"
    return (
        f'<header><h1>Evaluation</h1><p class="lead">{escape(result.model)}{step}</p>'
        + page.cards(cards)
        + f'<p class="soft">{result.images:,} images with {result.boxes:,} objects, '
        f"{result.images_without_boxes:,} images without any; {result.seconds:.0f} s.</p>"
        + "".join(f"<p><b>Note:</b> {escape(note)}.</p>" for note in result.notes)
        + "</header>"
    )


def _coco(result: EvaluationResult) -> str:
    columns = [("boxes", list(result.metrics.values()))]
    if result.mask_metrics:
        columns.append(("masks", list(result.mask_metrics.values())))
    return (
        '<section id="coco"><h2>COCO metrics</h2><p>Computed by pycocotools; n/a where there is '
        "no object of that size.</p>" + page.coco_table(columns) + "</section>"
    )


def _curves(result: EvaluationResult) -> str:
    figures = []
    for classes, what in ((result.per_class, "boxes"), (result.mask_per_class, "masks")):
        if classes:
            figures.append(
                f'<figure class="panel">{_precision_plot(classes, what)}<figcaption>{what}; thin: '
                "single classes, bold: their mean.</figcaption></figure>"
            )
    return (
        '<section id="curves"><h2>Precision over recall at IoU 0.5</h2><div class="two">'
        + "".join(figures)
        + "</div></section>"
    )


def _precision_plot(classes: Sequence[ClassResult], what: str) -> str:
    figure, axes = page.precision_axes()
    recall = np.linspace(0, 1, 101)
    present = [entry for entry in classes if entry.precision]
    for entry in present:
        named = len(present) <= NAMED_CLASSES
        axes.plot(
            recall,
            entry.precision,
            color=[side / 255 for side in class_colour(entry.name)] if named else page.FIRST,
            alpha=0.75 if named else 0.2,
            linewidth=1.1,
            label=_literal(entry.name) if named else None,
        )
    mean = np.mean([entry.precision for entry in present], axis=0)
    axes.plot(recall, mean, color="#17202a", linewidth=2.2, label="mean")
    return page.figure_image(figure, f"precision-recall curves of {what}", "lower left")


def _classes(result: EvaluationResult) -> str:
    confusion = result.confusion
    kinds = [("", result.per_class)]
    if result.mask_per_class:
        kinds.append(("mask ", result.mask_per_class))
    heads = "".join(
        f"<th class=number>{kind}AP</th><th class=number>{kind}AP@0.5</th>"
        f"<th class=number>{kind}AR</th>"
        for kind, _ in kinds
    )
    rows = []
    for index, entry in enumerate(result.per_class):
        numbers = "".join(
            f"<td class=number>{page.score(value)}</td>"
            for _, classes in kinds
            for value in (classes[index].ap, classes[index].ap50, classes[index].ar)
        )
        counts = (confusion.found(index), confusion.missed(index), confusion.wrong(index))
        rows.append(
            f"<tr><td><b>{escape(entry.name)}</b></td><td class=number>{entry.boxes:,}</td>"
            + numbers
            + "".join(f"<td class=number>{count:,}</td>" for count in counts)
            + f"<td class=bar>{page.bar(entry.ap50 or 0.0)}</td></tr>"
        )
    return (
        '<section id="classes"><h2>Per class</h2><p>Found, missed and wrong count detections of '
        f"score {confusion.min_score:g} and above. AR: average recall with at most 100 detections "
        'an image.</p><div class="panel"><table><tr><th>class</th><th class=number>objects</th>'
        f"{heads}<th class=number>found</th><th class=number>missed</th><th class=number>wrong</th>"
        "<th></th></tr>" + "".join(rows) + "</table></div></section>"
    )


def _confusion(confusion: Confusion) -> str:
    listed = [
        (count, row, column)
        for row, counts in enumerate(confusion.counts)
        for column, count in enumerate(counts)
        if count and row != column and max(row, column) < len(confusion.names)
    ]
    listed.sort(key=lambda entry: -entry[0])
    rows = "".join(
        f"<tr><td><b>{escape(confusion.names[row])}</b></td>"
        f"<td>{escape(confusion.names[column])}</td><td class=number>{count:,}</td></tr>"
        for count, row, column in listed[:CONFUSIONS]
    )
    table = (
        f"<table><tr><th>is</th><th>taken for</th><th class=number>times</th></tr>{rows}</table>"
    )
    nothing = "<p>No object was taken for one of another class.</p>"
    return (
        '<section id="confusion"><h2>Confusion</h2><p>Detections of score '
        f"{confusion.min_score:g} and above against true boxes, paired at IoU {confusion.iou:g}: "
        "within each class first, then what is left. The last row holds detections where nothing "
        "is, the last column objects that were missed. Colour: share of the row.</p>"
        f'<div class="two"><figure class="panel">{_confusion_plot(confusion)}</figure>'
        f'<div class="panel">{table if listed else nothing}</div></div></section>'
    )


def _confusion_plot(confusion: Confusion) -> str:
    from matplotlib.figure import Figure

    counts = np.array(confusion.counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(4.4, 0.45 * len(counts)), 12)
    figure = Figure(figsize=(side, side), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_literal(name) for name in confusion.names]
    axes.set_xticks(range(len(counts)), [*names, "missed"], rotation=90)
    axes.set_yticks(range(len(counts)), [*names, "nothing there"])
    axes.tick_params(labelsize=10 if len(counts) <= COUNTED_CLASSES + 1 else 5)
    axes.set_xlabel("detected")
    axes.set_ylabel("true")
    if len(names) <= COUNTED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", color=ink)
    return page.figure_image(figure, "confusion matrix")


def _worst(confusion: Confusion, worst: Sequence[WorstImage]) -> str:
    pairs = "".join(page.pair(entry.truth, entry.found, entry.caption) for entry in worst)
    return (
        '<section id="worst"><h2>Worst images</h2><p>Those with most mistakes, that is missed '
        f"objects and wrong detections, at score {confusion.min_score:g} and IoU "
        f"{confusion.iou:g}; an object taken for another class is both. Among equals, first where "
        "the wrong detections are surest.</p>"
        + (f'<div class="scenes">{pairs}</div>' if worst else "<p>No image has a mistake.</p>")
        + "</section>"
    )


def _literal(name: str) -> str:
    """A class name as matplotlib shows it unchanged: `$` would begin a formula."""
    return shown_name(name).replace("$", r"\$")
