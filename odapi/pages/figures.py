"""Pictures for a report page: curves and images as encoded files, and those as part of the page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from markupsafe import Markup

FIRST, SECOND = "#0b63c5", "#c2570c"
"""Colours of two results that are compared (the same in page.css)."""


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


def png(figure: Any, legend: str | None = None) -> bytes:
    """A matplotlib figure as a PNG file.

    Args:
        legend: where on the first axes the legend goes, if any curve has a label.
    """
    plot = figure.axes[0]
    if legend and plot.get_legend_handles_labels()[0]:
        plot.legend(frameon=False, loc=legend)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    """A picture, uint8 [H, W, 3] RGB, as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def heat_map(values: np.ndarray, low: float, high: float) -> bytes:
    """Values [H, W] as a PNG file, a pixel each, from dark blue for `low` to yellow for `high`."""
    from matplotlib import colormaps

    share = (np.asarray(values, np.float64) - low) / ((high - low) or 1)
    buffer = io.BytesIO()
    Image.fromarray(colormaps["viridis"](share, bytes=True)[..., :3]).save(buffer, format="PNG")
    return buffer.getvalue()


def data_uri(encoded: bytes) -> Markup:
    """A PNG or JPEG file as the `src` of an `img`; base64 has nothing to escape."""
    from markupsafe import Markup

    kind = "png" if encoded.startswith(b"\x89PNG") else "jpeg"
    return Markup(f"data:image/{kind};base64,{base64.b64encode(encoded).decode('ascii')}")
