"""`odapi data stats`: how many images and boxes of which sizes records hold."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from odapi.console.errors import UserError
from odapi.console.terminal import say, shown_name
from odapi.records.contents import Record

SMALL, MEDIUM = 32**2, 96**2
"""Areas in pixels below which COCO calls an object small, or else medium."""

CLASSES = 2000
"""So many classes are printed, the most frequent; LVIS has 1,203."""

QUANTILES = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}


@dataclass
class _Tally:
    """What was counted so far. Arrays are one for each record; see `collect` for the units."""

    classes: Counter[str]
    images_with: Counter[str] = field(default_factory=Counter)
    image_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    per_image: list[int] = field(default_factory=list)
    sides: list[np.ndarray] = field(default_factory=lambda: [np.zeros((0, 2))])
    relative: list[np.ndarray] = field(default_factory=lambda: [np.zeros(0)])
    areas: list[np.ndarray] = field(default_factory=lambda: [np.zeros(0)])
    masks: int = 0
    crowd: int = 0
    difficult: int = 0
    not_finite: int = 0

    def add(self, record: Record) -> None:
        self.classes.update(record.labels)
        self.images_with.update(set(record.labels))
        self.image_sizes[record.width, record.height] += 1
        self.per_image.append(len(record.labels))
        finite = np.isfinite(record.boxes).all(1)
        self.not_finite += int((~finite).sum())
        sides = (record.boxes[:, [3, 2]] - record.boxes[:, [1, 0]])[finite]
        self.sides.append(sides)
        share = np.maximum(sides.prod(1), 0) / (record.width * record.height)
        self.relative.append(np.sqrt(share))
        self.areas.append(record.areas[~record.crowd & np.isfinite(record.areas)])
        self.masks += len(record.masks)
        self.crowd += int(record.crowd.sum())
        self.difficult += int(record.difficult.sum())


def collect(records: Iterable[Record], names: Mapping[int, str] | None) -> dict[str, Any]:
    """Counts and measures.

    Args:
        records: what to look at.
        names: a label map: its classes without a box are listed too, and classes that it lacks.

    Returns:
        What `odapi data stats --json` prints: numbers, and quantiles by `QUANTILES`. Side lengths
        are in pixels of the stored image; `box_side_relative` is the square root of the box's
        share of the image's area; aspect ratios are width by height.

    Raises:
        UserError: there is no record.
    """
    tally = _Tally(Counter(dict.fromkeys(names.values(), 0) if names else {}))
    for record in records:
        tally.add(record)
    if not tally.per_image:
        raise UserError("the files hold no record")
    sides, area = np.concatenate(tally.sides), np.concatenate(tally.areas)
    whole = sides[(sides > 0).all(1)]
    sizes = np.repeat(list(tally.image_sizes), list(tally.image_sizes.values()), axis=0)
    unknown = sorted(set(tally.classes) - set(names.values())) if names else []
    return {
        "images": len(tally.per_image),
        "images_without_boxes": tally.per_image.count(0),
        "boxes": len(sides) + tally.not_finite,
        "boxes_not_finite": tally.not_finite,
        "boxes_without_extent": len(sides) - len(whole),
        "crowd_boxes": tally.crowd,
        "difficult_boxes": tally.difficult,
        "masks": tally.masks,
        "classes": {
            name: {"boxes": count, "images": tally.images_with[name]}
            for name, count in tally.classes.most_common()
        },
        "classes_not_in_label_map": unknown,
        "objects_by_coco_size": {
            "small": int((area < SMALL).sum()),
            "medium": int(((area >= SMALL) & (area < MEDIUM)).sum()),
            "large": int((area >= MEDIUM).sum()),
        },
        "boxes_per_image": _quantiles(np.array(tally.per_image)),
        "box_width": _quantiles(sides[:, 0]),
        "box_height": _quantiles(sides[:, 1]),
        "box_side_relative": _quantiles(np.concatenate(tally.relative)),
        "box_aspect_ratio": _quantiles(whole[:, 0] / whole[:, 1]),
        "image_width": _quantiles(sizes[:, 0]),
        "image_height": _quantiles(sizes[:, 1]),
        "image_sizes": {
            f"{width}x{height}": count
            for (width, height), count in tally.image_sizes.most_common(10)
        },
    }


def _quantiles(values: np.ndarray) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(QUANTILES)
    found = np.quantile(values, list(QUANTILES.values()))
    return {name: round(float(value), 4) for name, value in zip(QUANTILES, found, strict=True)}


def print_table(stats: dict[str, Any]) -> None:
    """Prints what `collect` found."""
    say(
        f"{stats['images']} images, {stats['images_without_boxes']} of them without a box",
        f"{stats['boxes']} boxes, {stats['crowd_boxes']} of them crowds, "
        f"{stats['difficult_boxes']} difficult, {stats['boxes_without_extent']} without extent"
        + (f", {stats['boxes_not_finite']} not of numbers" if stats["boxes_not_finite"] else ""),
        f"{stats['masks']} masks",
    )
    listed = list(itertools.islice(stats["classes"].items(), CLASSES))
    width = max([20, *(len(shown_name(name)) for name, _ in listed)])
    say("", f"{'class':{width}}  {'boxes':>8}  {'images':>8}")
    for name, counts in listed:
        odd = "  not in the label map" if name in stats["classes_not_in_label_map"] else ""
        say(f"{shown_name(name):{width}}  {counts['boxes']:8}  {counts['images']:8}{odd}")
    if len(stats["classes"]) > CLASSES:
        say(f"... and {len(stats['classes']) - CLASSES:,} classes more: --json has all")
    say("", f"{'':{width}}" + "".join(f"  {name:>8}" for name in QUANTILES))
    for title, key in (
        ("boxes per image", "boxes_per_image"),
        ("box width, pixels", "box_width"),
        ("box height, pixels", "box_height"),
        ("box side / image", "box_side_relative"),
        ("box width / height", "box_aspect_ratio"),
        ("image width", "image_width"),
        ("image height", "image_height"),
    ):
        values = (stats[key][name] for name in QUANTILES)
        cells = "".join(f"  {'-' if value is None else f'{value:.4g}':>8}" for value in values)
        say(f"{title:{width}}{cells}")
    sizes = stats["objects_by_coco_size"]
    say(
        "",
        f"objects in COCO's sizes, crowds left out: {sizes['small']} small (area below 32x32), "
        f"{sizes['medium']} medium, {sizes['large']} large (96x96 and above)",
    )
    frequent = ", ".join(f"{size} ({count})" for size, count in stats["image_sizes"].items())
    say(f"most frequent image sizes: {frequent}")
