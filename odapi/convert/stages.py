"""The backbone as a chain of stages, a stride each, and the places at which it is cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
from object_detection.models.keras_models.classifier_cut import Cut

from odapi.console.terminal import shown_name


class Part(StrEnum):
    """What a detector makes of a stage."""

    FIRST = "first stage"
    SECOND = "second stage"
    MAPS = "feature maps for SSD"


@dataclass(frozen=True)
class Stage:
    """Layers of the classifier that follow each other."""

    name: str
    """The layer with which they end."""
    stride: int | None
    """Pixels of the image for one step of the features at their end; None where there is no map."""
    channels: int
    """At their end."""
    parameters: int
    part: Part
    tapped: bool = False
    """Whether the detector takes the features at their end."""


def of_cuts(cuts: Sequence[Cut], taken: Sequence[Cut], ssd: bool) -> tuple[Stage, ...]:
    """The stages of a trunk up to the last that is taken; a stride ends where it would be cut.

    Args:
        cuts: all of the trunk, from the first to its end.
        taken: those that the detector takes, in their order; of Faster R-CNN the ends of both
            stages.
        ssd: whether it is SSD.
    """
    places = [cuts.index(cut) for cut in taken]
    last = {cuts[place].stride: place for place in places}
    ends = {_end_of_stride(cuts, stride) for stride in {cut.stride for cut in cuts}}
    ends = {end for end in ends if last.get(cuts[end].stride, -1) <= end <= places[-1]}
    stages = []
    before = 0
    for place in sorted(ends | {*places}):
        cut = cuts[place]
        if cut.parameters_before == before and place not in places:
            continue  # padding, or other layers that only prepare what follows
        stages.append(
            Stage(
                name=cut.name,
                stride=cut.stride,
                channels=cut.channels,
                parameters=cut.parameters_before - before,
                part=Part.MAPS if ssd else Part.FIRST if place <= places[0] else Part.SECOND,
                tapped=place in places,
            )
        )
        before = cut.parameters_before
    return tuple(stages)


def _end_of_stride(cuts: Sequence[Cut], stride: int) -> int:
    places = [place for place, cut in enumerate(cuts) if cut.stride == stride]
    return ([place for place in places if cuts[place].ends_block] or places)[-1]


def note(stages: Iterable[Stage]) -> str:
    """The note on where the features come from that a detector takes."""
    places = [f"{stage.name} (stride {stage.stride})" for stage in stages if stage.tapped]
    return f"features: {', '.join(places)}"


def described(stages: Sequence[Stage]) -> str:
    """The cut, for the terminal: what ends where."""
    maps = [_place(stage) for stage in stages if stage.tapped and stage.part is Part.MAPS]
    if maps:
        return f"maps at {', '.join(maps)}"
    first, second = (
        [stage for stage in stages if stage.part is part] for part in (Part.FIRST, Part.SECOND)
    )
    text = f"first stage up to {_place(first[-1])}, second stage "
    if not second:
        return f"{text}without layers of the classifier"
    if second[-1].stride is None:
        return text + " and ".join(shown_name(stage.name) for stage in second)
    return f"{text}from there to {_place(second[-1])}"


def _place(stage: Stage) -> str:
    return f"{shown_name(stage.name)} (stride {stage.stride})"
