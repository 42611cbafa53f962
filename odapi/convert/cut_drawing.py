"""The drawing of the cut: where everything in it goes. transfer_report.html makes an SVG of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from odapi.console.terminal import shown_name
from odapi.convert.plan import Unused
from odapi.convert.stages import Part, Stage

_WIDTH, _GAP, _CUT_GAP = 156, 18, 44
"""Of a box, of what is between two, and of what is between two where the cut is."""
_IMAGES = 96
"""Width of the first box."""
_LOWEST, _TALLER = 88, 9
"""Height of a box, and what it has more for each halving of the stride below 64."""
_MARGIN, _MIDDLE, _HEIGHT = 12, 112, 236
_NAME = 19
"""Characters of a name that go into a box."""


@dataclass(frozen=True)
class Box:
    """A rectangle with lines of text.

    Attributes:
        kind: `images`, `first`, `second` or `behind`: its colour.
        heading: its first line, in bold.
        name: the next, a layer's; shortened.
        lines: those below.
        title: the whole name, which shows under the pointer.
    """

    left: int
    height: int
    kind: str
    heading: str
    name: str
    lines: tuple[str, ...]
    title: str
    width: int = _WIDTH

    @property
    def top(self) -> int:
        return _MIDDLE - self.height // 2

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def centre(self) -> int:
        return self.left + self.width // 2


@dataclass(frozen=True)
class Drawing:
    """Boxes from left to right, what lies between them, and what they belong to.

    Attributes:
        arrows: left and right end of each.
        cuts: where, and what is written above.
        parts: left and right end, and what is written below.
    """

    width: int
    boxes: tuple[Box, ...]
    arrows: tuple[tuple[int, int], ...]
    cuts: tuple[tuple[int, str], ...]
    parts: tuple[tuple[int, int, str], ...]
    height: int = _HEIGHT
    middle: int = _MIDDLE


def draw(stages: Sequence[Stage], unused: Sequence[Unused], image_size: tuple[int, int]) -> Drawing:
    """Lays a classifier out.

    Args:
        stages: what the detector takes of it.
        unused: what it does not.
        image_size: height and width of the classifier's images.
    """
    size = f"{image_size[0]}x{image_size[1]}"
    title = f"images of {size} pixels"
    boxes = [Box(_MARGIN, _LOWEST, "images", "images", "", (size,), title, _IMAGES)]
    cuts = []
    for stage in stages:
        cut_before = cuts and cuts[-1][0] > boxes[-1].right
        left = boxes[-1].right + (_CUT_GAP if cut_before else _GAP)
        boxes.append(_stage_box(stage, left))
        if label := _label(stage, stage is stages[-1]):
            cuts.append((boxes[-1].right + _CUT_GAP // 2, label))
    parts = [
        (group[0][0].left, group[-1][0].right, part.value)
        for part, group in (
            (part, list(found))
            for part, found in groupby(
                zip(boxes[1:], stages, strict=True), key=lambda pair: pair[1].part
            )
        )
    ]
    if unused:
        boxes.append(_behind_box(unused, boxes[-1].right + _CUT_GAP))
        parts.append((boxes[-1].left, boxes[-1].right, "stays behind"))
    return Drawing(
        width=boxes[-1].right + (_MARGIN if unused else _CUT_GAP + _MARGIN),
        boxes=tuple(boxes),
        arrows=tuple((left.right, right.left) for left, right in pairwise(boxes)),
        cuts=tuple(cuts),
        parts=tuple(parts),
    )


def _label(stage: Stage, last: bool) -> str:
    """What is written above the cut after a stage; nothing where there is none."""
    if stage.part is Part.MAPS:
        return "map" if stage.tapped else ""
    if stage.part is Part.FIRST and stage.tapped:
        return "the cut"
    return "the end" if last else ""


def _stage_box(stage: Stage, left: int) -> Box:
    return Box(
        left=left,
        height=_height(stage.stride),
        kind="second" if stage.part is Part.SECOND else "first",
        heading=f"stride {stage.stride}" if stage.stride else "no map",
        name=_short(stage.name),
        lines=(f"{stage.channels:,} channels", _parameters(stage.parameters)),
        title=f"up to {shown_name(stage.name)}",
    )


def _behind_box(unused: Sequence[Unused], left: int) -> Box:
    return Box(
        left=left,
        height=_LOWEST,
        kind="behind",
        heading=f"{len(unused)} layer{'s' * (len(unused) > 1)}",
        name=_short(unused[-1].layer) if len(unused) == 1 else "",
        lines=(_parameters(sum(layer.parameters for layer in unused)),),
        title=", ".join(shown_name(layer.layer) for layer in unused[:10]),
    )


def _parameters(number: int) -> str:
    return f"{number:,} parameters" if number < 10**6 else f"{number / 1e6:,.1f} M parameters"


def _height(stride: int | None) -> int:
    return _LOWEST + max(0, 6 - (stride or 64).bit_length() + 1) * _TALLER


def _short(name: str) -> str:
    """A name that fits a box: its middle goes, as its ends tell more."""
    whole = shown_name(name)
    if len(whole) <= _NAME:
        return whole
    return f"{whole[: _NAME // 2]}…{whole[-(_NAME // 2) :]}"
