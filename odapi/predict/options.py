"""What a prediction is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIN_SCORE = 0.5


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The flags of `odapi predict`, by their names.

    Attributes:
        images: images, videos, folders of them, and patterns.
        output_dir: gets `detections.json` and one PNG for each image, one MP4 for each video. Of
            files with the same name, the second one's picture is `NAME_2.png`. An `image_id` is
            the place of the image among all images and frames, from 1.
        saved_model: the folder of an exported model.
        config: without `saved_model`: path of the pipeline config.
        checkpoint: with `config`: a folder with checkpoints, of which the latest is taken, or one
            checkpoint's prefix.
        label_map: names of the classes; None: as the model's config says. A class without one is
            shown as `class 7`.
        min_score: 0 to 1. Detections below it are left out, of results and drawings.
        batch_size: so many images go through the model at once, where they follow each other and
            are of equal size. Frames of a video are never mixed with other images.
    """

    images: Sequence[str]
    output_dir: Path
    saved_model: str | None = None
    config: str | None = None
    checkpoint: str | None = None
    label_map: str | None = None
    min_score: float = MIN_SCORE
    batch_size: int = 1
