"""Deals the images of a source out to sets, such as train and val."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from odapi.console.errors import UserError
from odapi.data.annotations import LabelledImage


def split(
    images: Sequence[LabelledImage], name: str, splits: Mapping[str, float], seed: int
) -> dict[str, list[LabelledImage]]:
    """Divides images by chance into sets.

    An image's place in the draw depends on its name and the seed alone: with a few images more,
    almost all others stay in the set they were in.

    Returns:
        Name to images, in their order; `name` has what the splits leave.

    Raises:
        UserError: a set would be empty.
    """
    drawn = sorted(
        range(len(images)),
        key=lambda index: hashlib.sha256(
            f"{seed}:{images[index].name}".encode(errors="surrogatepass")
        ).digest(),
    )
    sets: dict[str, list[LabelledImage]] = {}
    start = 0
    for other, share in splits.items():
        end = start + round(share * len(images))
        sets[other] = [images[index] for index in sorted(drawn[start:end])]
        start = end
    sets = {name: [images[index] for index in sorted(drawn[start:])], **sets}
    empty = [name for name, chosen in sets.items() if not chosen]
    if empty:
        raise UserError(
            f"of {len(images)} images, none would be left for {empty[0]}",
            at="--split " + " ".join(f"{other}={share:g}" for other, share in splits.items()),
        )
    return sets
