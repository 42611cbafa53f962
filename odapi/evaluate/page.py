"""The evaluation's page, page.html: tables, curves, the confusion matrix and the worst images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from odapi.console.terminal import shown_name
from odapi.detector.drawing import class_colour
from odapi.evaluate.mistakes import WorstImage
from odapi.evaluate.result import ClassResult, Confusion, EvaluationResult
from odapi.pages import figures
from odapi.pages.page import render, score

NAMED_CLASSES = 10
"""Up to so many classes have a colour and a line in the legend of the curves."""

COUNTED_CLASSES = 20
"""Up to so many classes the confusion matrix shows its counts as numbers."""

CONFUSIONS = 15
"""So many of the most frequent confusions are listed."""


def write_report(result: EvaluationResult, worst: Sequence[WorstImage], path: Path) -> None:
    """Writes the page; `path` holds the old page or the whole new one, never a part."""
    coco = [("boxes", list(result.metrics.values()))]
    if result.mask_metrics:
        coco.append(("masks", list(result.mask_metrics.values())))
    classes = [("boxes", result.per_class)]
    if result.mask_per_class:
        classes.append(("masks", result.mask_per_class))
    render(
        "evaluate/page.html",
        path,
        result=result,
        headline=_headline(result),
        coco=coco,
        classes=classes,
        curves=[(what, _precision_plot(entries)) for what, entries in classes if entries],
        confusions=_confusions(result.confusion),
        matrix=_confusion_plot(result.confusion),
        worst=worst,
    )


def _headline(result: EvaluationResult) -> list[tuple[str, str, str]]:
    """The page's cards."""
    cards = []
    for metrics, kind, what in (
        (result.metrics, "first", "boxes"),
        (result.mask_metrics, "second", "masks"),
    ):
        if metrics:
            ap, ap50 = list(metrics.values())[:2]
            cards.append((kind, score(ap), f"AP of {what}"))
            cards.append((kind, score(ap50), f"AP@0.5 of {what}"))
    return cards


def _confusions(confusion: Confusion) -> list[tuple[str, str, int]]:
    """The most frequent ones: what an object is, what it was taken for, and how often."""
    names = confusion.names
    listed = [
        (names[row], names[column], count)
        for row, counts in enumerate(confusion.counts)
        for column, count in enumerate(counts)
        if count and row != column and max(row, column) < len(names)
    ]
    listed.sort(key=lambda entry: -entry[-1])
    return listed[:CONFUSIONS]


def _precision_plot(classes: Sequence[ClassResult]) -> bytes:
    figure, axes = figures.precision_axes()
    recall = np.linspace(0, 1, 101)
    present = [entry for entry in classes if entry.precision]
    for entry in present:
        named = len(present) <= NAMED_CLASSES
        axes.plot(
            recall,
            entry.precision,
            color=[side / 255 for side in class_colour(entry.name)] if named else figures.FIRST,
            alpha=0.75 if named else 0.2,
            linewidth=1.1,
            label=_literal(entry.name) if named else None,
        )
    mean = np.mean([entry.precision for entry in present], axis=0)
    axes.plot(recall, mean, color="#17202a", linewidth=2.2, label="mean")
    return figures.png(figure, "lower left")


def _confusion_plot(confusion: Confusion) -> bytes:
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
    return figures.png(figure)


def _literal(name: str) -> str:
    """A class name as matplotlib shows it unchanged: `$` would begin a formula."""
    return shown_name(name).replace("$", r"\$")
