"""Parts of a report page: one HTML file that needs nothing else, no network and no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape as escape_html
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from odapi.console.files import write_text
from odapi.console.terminal import shown

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

FIRST, SECOND = "#0b63c5", "#c2570c"
"""Colours of two results that are compared (the same in page.css)."""


def escape(text: object) -> str:
    """A text that came from outside, for a page: no markup, no character that turns a line."""
    return escape_html(shown(text))


def write_page(title: str, sections: Iterable[str], path: Path) -> None:
    """Writes a page of HTML sections; `path` holds the old page or the whole new one."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        f"<style>\n{style}</style></head>\n<body><main>\n" + "\n".join(sections) + "\n"
        "</main></body></html>\n"
    )
    write_text(path, page)


def cards(entries: Iterable[tuple[str, str, str]]) -> str:
    """Large figures in a row: (`first`, `second` or nothing, the figure, what it is)."""
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card {kind}"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
            for kind, value, text in entries
        )
        + "</div>"
    )


def coco_table(columns: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """A table of the twelve COCO numbers; a column is a heading and its numbers."""
    rows = "".join(
        f"<tr><td>{name}</td><td class=soft>{meaning}</td>"
        + "".join(f"<td class=number>{score(scores[index])}</td>" for _, scores in columns)
        + "</tr>"
        for index, (name, meaning) in enumerate(COCO_METRICS)
    )
    return (
        '<div class="panel"><table><tr><th>metric</th><th>over</th>'
        + "".join(f"<th class=number>{escape(name)}</th>" for name, _ in columns)
        + f"</tr>{rows}</table></div>"
    )


def axes(xlabel: str, ylabel: str) -> tuple[Any, Any]:
    """A matplotlib figure for half of the page's width, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.7), dpi=200, layout="constrained")
    plot = figure.add_subplot()
    plot.set_xlabel(xlabel)
    plot.set_ylabel(ylabel)
    plot.grid(color="#e6eaee", linewidth=0.8)
    plot.spines[["top", "right"]].set_visible(False)
    return figure, plot


def precision_axes() -> tuple[Any, Any]:
    """Axes for precision over recall, both from 0 to 1."""
    figure, plot = axes("recall", "precision")
    plot.set_xlim(0, 1)
    plot.set_ylim(0, 1.02)
    return figure, plot


def figure_image(figure: Any, description: str, legend: str | None = None) -> str:
    """An `img` of a matplotlib figure.

    Args:
        legend: where on the first axes the legend goes, if any curve has a label.
    """
    plot = figure.axes[0]
    if legend and plot.get_legend_handles_labels()[0]:
        plot.legend(frameon=False, loc=legend)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return _data_image(buffer.getvalue(), "png", description)


def jpeg(pixels: np.ndarray) -> bytes:
    """A picture, uint8 [H, W, 3] RGB, as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def pair(truth: bytes, found: bytes, caption: str = "") -> str:
    """Two JPEG files side by side: an image with its true objects, and with those detected."""
    first = _data_image(truth, "jpeg", "image with its true boxes")
    second = _data_image(found, "jpeg", "image with detected boxes")
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        '<figure class="panel pair">'
        f"<div>{first}<span>truth</span></div><div>{second}<span>detected</span></div>"
        f"{text}</figure>"
    )


def _data_image(encoded: bytes, kind: str, description: str) -> str:
    data = base64.b64encode(encoded).decode("ascii")
    return f'<img alt="{escape(description)}" src="data:image/{kind};base64,{data}">'


def bar(share: float, kind: str = "") -> str:
    """A bar of a length from 0 to 1; `kind` is `second` for the second result."""
    width = 100 * min(max(share, 0.0), 1.0)
    fill = f'<span class="fill {kind}" style="width:{width:.1f}%"></span>'
    return f'<span class="track">{fill}</span>'


def score(value: float | None) -> str:
    """A number from 0 to 1; n/a for None and for pycocotools' own sign of it, -1."""
    return "n/a" if value is None or value < 0 else f"{value:.3f}"
