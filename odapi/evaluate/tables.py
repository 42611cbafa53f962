"""An evaluation's tables on the terminal."""

from __future__ import annotations

from odapi.console.terminal import say, shown_name
from odapi.evaluate.result import EvaluationResult


def print_result(result: EvaluationResult) -> None:
    """Prints the COCO tables, the tables of classes and the notes."""

    def number(value: float | None) -> str:
        return "    -" if value is None else f"{value:5.3f}"

    say(
        f"{result.images} images, {result.boxes} boxes, "
        f"{result.images_without_boxes} images without a box"
    )
    for metrics, classes, title in (
        (result.metrics, result.per_class, "class"),
        (result.mask_metrics, result.mask_per_class, "masks of class"),
    ):
        if metrics is None:
            continue
        width = max(len(name) for name in metrics)
        for name, value in metrics.items():
            say(f"  {name:{width}}  {number(value)}")
        width = max([len(title), *(len(shown_name(entry.name)) for entry in classes)])
        say(f"  {title:{width}}     AP  AP@.5     AR   boxes")
        for entry in classes:
            say(
                f"  {shown_name(entry.name):{width}}  {number(entry.ap)}  {number(entry.ap50)}  "
                f"{number(entry.ar)}  {entry.boxes:6}"
            )
    for note in result.notes:
        say(f"note: {note}")
