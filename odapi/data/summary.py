"""What an import says of itself: its report and the summary on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from odapi.console.errors import UserError
from odapi.console.terminal import say, shown_lines, shown_name
from odapi.data.annotations import Problem, ProblemLog
from odapi.data.import_folder import REPORT_NAME
from odapi.data.shards import WrittenSet
from odapi.pipeline.label_map import LABEL_MAP_NAME


def report_text(
    written: Mapping[str, WrittenSet],
    problems: ProblemLog,
    class_ids: Mapping[str, int],
    about: dict[str, Any],
) -> str:
    """The report as JSON.

    Args:
        written: name of the set to what was written.
        problems: what was met.
        class_ids: class name to id.
        about: goes in as it is.
    """

    def found(losses: bool) -> dict[str, Any]:
        return {
            problem.name.lower(): {"what": problem.value, "count": count, "first": places}
            for problem, count, places in problems.entries(losses)
        }

    sets = {
        name: {
            "images": records.images,
            "images_without_boxes": records.images_without_boxes,
            "boxes": records.boxes.total(),
            "masks": records.masks,
            "boxes_per_class": dict(sorted(records.boxes.items())),
            "files": records.files,
        }
        for name, records in written.items()
    }
    report = {
        **about,
        "classes": dict(class_ids),
        "sets": sets,
        "left_out": found(True),
        "noted": found(False),
    }
    # A file name that is no UTF-8 has lone surrogates in it, which UTF-8 cannot write: escaped as
    # JSON does, they are the same name.
    return shown_lines(json.dumps(report, indent=1, ensure_ascii=False)) + "\n"


def print_summary(
    written: Mapping[str, WrittenSet], problems: ProblemLog, output: Path, num_classes: int
) -> None:
    """Prints what was written, and what was met."""
    classes = sorted({label for records in written.values() for label in records.boxes})
    width = max(5, *(len(shown_name(name)) for name in (*classes, "images")))
    say(f"{'':{width}}" + "".join(f"  {name:>9}" for name in written))

    def row(name: str, values: Iterable[int]) -> None:
        say(f"{shown_name(name):{width}}" + "".join(f"  {value:>9}" for value in values))

    row("images", (records.images for records in written.values()))
    row("boxes", (records.boxes.total() for records in written.values()))
    if any(records.masks for records in written.values()):
        row("masks", (records.masks for records in written.values()))
    for label in classes:
        row(label, (records.boxes[label] for records in written.values()))
    for title, losses in (("noted", False), ("LEFT OUT", True)):
        entries = problems.entries(losses)
        if entries:
            say(f"{title}:")
            say(*(f"  {line}" for line in problem_lines(entries)))
    for name, records in written.items():
        wildcard = records.files[0] if len(records.files) == 1 else f"{name}.record-*"
        say(f"{name}: {output / wildcard}")
    say(f"label map: {output / LABEL_MAP_NAME}, num_classes: {num_classes}")
    say(f"report: {output / REPORT_NAME}")


def problem_lines(entries: Iterable[tuple[Problem, int, list[str]]]) -> list[str]:
    """Number, name and first places of each problem; `entries` as `ProblemLog` has them."""
    lines = []
    for problem, count, places in entries:
        lines.append(f"{count:6} {problem.value}")
        lines += [f"{'':9}{place}" for place in places]
        if count > len(places):
            lines.append(f"{'':9}... and {count - len(places)} more")
    return lines


def nothing_written(what: str, problems: ProblemLog) -> UserError:
    """The error for an import without a box, with what was left out."""
    losses = problem_lines(problems.entries(losses=True))
    return UserError(
        f"{what}: nothing is written",
        at=losses,
        hint="are SOURCE, --format and --images what was meant?",
    )
