"""The page of a conversion, transfer_report.html: the cut, both models' features, all variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from odapi.convert import brief, cut_drawing, stages
from odapi.convert.parity import Features, Parity
from odapi.convert.report import COLUMNS, TransferReport
from odapi.pages import figures
from odapi.pages.page import render

_TEMPLATE = "convert/transfer_report.html"


@dataclass(frozen=True)
class Picture:
    """A photograph with a channel of both models' features.

    Attributes:
        photograph: JPEG file.
        classifier, detector: PNG files, a pixel for each point of the channel.
        low, high: the values of the first and the last colour, the same in both.
        difference: the largest in this channel.
    """

    photograph: bytes
    classifier: bytes
    detector: bytes
    low: float
    high: float
    difference: float


@dataclass(frozen=True)
class Place:
    """A place at which the features were compared.

    Attributes:
        parity: what came of it.
        channel: the one that is shown, which varies most, counted from 0.
        shape: height, width and channels of the features.
        pictures: one for each photograph.
    """

    parity: Parity
    channel: int
    shape: tuple[int, ...]
    pictures: tuple[Picture, ...]


def write(report: TransferReport, features: Features, architecture: str, path: Path) -> None:
    """Writes the page; `path` holds the old page or the whole new one, never a part.

    Args:
        report: on a conversion that ended well.
        features: what was compared.
        architecture: the kind of detector.
        path: of the file.
    """
    size = report.parity[0]
    render(
        _TEMPLATE,
        path,
        report=report,
        architecture=architecture,
        headline=_headline(report),
        drawing=cut_drawing.draw(report.stages, report.unused, (size.height, size.width)),
        cut=stages.described(report.stages),
        left_behind=brief.left_behind(report.unused, len(report.unused)),
        places=[
            _place(parity, features.images, left, right)
            for parity, left, right in zip(
                report.parity, features.classifier, features.detector, strict=True
            )
        ],
        columns=COLUMNS,
        rows=[entry.cells() for entry in report.variables],
    )


def _headline(report: TransferReport) -> list[tuple[str, str, str]]:
    """The page's cards."""
    worst = max(parity.relative for parity in report.parity)
    unused = sum(layer.parameters for layer in report.unused)
    return [
        ("first", f"{report.coverage:.4g}%", "of the backbone's parameters arrived"),
        ("", f"{report.moved:,}", "variables moved, each compared by hash"),
        ("", f"{worst:.1e}", "of the features' range is their largest difference"),
        ("", f"{unused:,}", "parameters stay behind"),
    ]


def _place(
    parity: Parity,
    images: Sequence[np.ndarray],
    classifier: Sequence[np.ndarray],
    detector: Sequence[np.ndarray],
) -> Place:
    variance = np.var(np.concatenate([maps.reshape(-1, maps.shape[-1]) for maps in classifier]), 0)
    channel = int(np.argmax(variance))
    pairs = [
        (left[..., channel], right[..., channel])
        for left, right in zip(classifier, detector, strict=True)
    ]
    low = float(min(side.min() for pair in pairs for side in pair))
    high = float(max(side.max() for pair in pairs for side in pair))
    return Place(
        parity,
        channel,
        classifier[0].shape,
        tuple(
            Picture(
                figures.jpeg(image),
                *(figures.heat_map(side, low, high) for side in pair),
                low=low,
                high=high,
                difference=float(np.abs(pair[0] - pair[1]).max()),
            )
            for image, pair in zip(images, pairs, strict=True)
        ),
    )
