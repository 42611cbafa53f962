"""Report pages: one HTML file each that needs nothing else, no network and no script.

A page is a Jinja template beside the code that renders it; what several share is in this room:
`base.html` around each page, and the macros of `parts.html`. Templates are named by their place in
the package `odapi`. Every value that they output is escaped, by the environment and not by them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from odapi.console.files import write_text
from odapi.console.terminal import shown, shown_lines
from odapi.pages.figures import data_uri

if TYPE_CHECKING:
    from jinja2 import Environment

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


def render(template: str, path: Path, /, **values: object) -> None:
    """Writes a page; `path` holds the old page or the whole new one, never a part.

    Args:
        template: place of the template in the package, as `evaluate/page.html`.
        values: what the template names; one that is missing is jinja2.UndefinedError.
    """
    text = environment().get_template(template).render(values)
    # `finalize` has seen each value alone; not one that a template has joined to markup.
    write_text(path, shown_lines(text))


@cache
def environment() -> Environment:
    """What templates are loaded and rendered with; made, and Jinja imported, for the first page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        # Through the package's own loader: from a folder, a wheel or a zip file.
        loader=PackageLoader("odapi", ""),
        autoescape=True,
        finalize=as_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"score": score, "grouped": grouped, "data_uri": data_uri}
    made.globals["COCO_METRICS"] = COCO_METRICS
    return made


def as_text(value: object) -> str:
    """What a template outputs of a value: `shown` of it, unless it is markup of our own.

    The environment escapes what is returned, Markup apart.
    """
    from markupsafe import Markup

    return value if isinstance(value, Markup) else shown(value)


def score(value: float | None) -> str:
    """A number from 0 to 1; n/a for None and for pycocotools' own sign of it, -1."""
    return "n/a" if value is None or value < 0 else f"{value:.3f}"


def grouped(value: int) -> str:
    """A number with a comma between thousands."""
    return f"{value:,}"
