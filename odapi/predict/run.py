"""Detects objects in images and videos, writes them as JSON, and draws them."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odapi.console import output_folder
from odapi.console.errors import UserError
from odapi.console.files import safe_name, write_text
from odapi.console.progress import Progress
from odapi.console.terminal import say
from odapi.detector import exported
from odapi.detector.loading import load_detector
from odapi.pipeline.config import Pipeline
from odapi.pipeline.label_map import load_label_map
from odapi.predict import videos
from odapi.predict.options import MIN_SCORE, PredictOptions
from odapi.predict.results import RESULTS_NAME, coco_results
from odapi.predict.sources import find_images, read_image

if TYPE_CHECKING:
    from odapi.detector.detector import Detector


@dataclass(frozen=True)
class Failure:
    """An image or video that could not be read, or not to its end, and why."""

    path: Path
    reason: str


def predict(options: PredictOptions) -> list[Failure]:
    """Detects objects in image and video files.

    Returns:
        The files that could not be read, or not to their end.

    Raises:
        UserError: the model or the label map cannot be used, there is no such image, or nothing
            can be written.
    """
    pipeline = None if options.config is None else Pipeline.load(options.config)
    detector = load_detector(pipeline, options.checkpoint, options.saved_model)
    _check_batch_size(detector, options.batch_size)
    return predict_files(
        detector,
        find_images(options.images),
        options.output_dir,
        _class_names(options, pipeline),
        options.min_score,
        options.batch_size,
    )


def predict_files(
    detector: Detector,
    files: Iterable[Path],
    output_dir: Path,
    names: dict[int, str],
    min_score: float = MIN_SCORE,
    batch_size: int = 1,
) -> list[Failure]:
    """As `predict`, with the parts at hand.

    Args:
        detector: the model.
        files: images and videos.
        output_dir: as that of `PredictOptions`.
        names: class id to name; a class without one is shown as `class 7`.
        min_score: as that of `PredictOptions`.
        batch_size: as that of `PredictOptions`.

    Returns:
        The files that could not be read, or not to their end.
    """
    run = _Run(detector, output_dir, names, min_score, batch_size)
    with output_folder.keeping(output_dir):
        pictures: list[Path] = []
        try:
            for path in files:
                if videos.is_video(path):
                    run.pictures(pictures)
                    pictures = []
                    run.video(path)
                else:
                    pictures.append(path)
            run.pictures(pictures)
        finally:
            # Interrupted as well: it goes with the pictures that are drawn.
            write_text(output_dir / RESULTS_NAME, json.dumps(run.results, indent=1) + "\n")
    count = len(run.results)
    say(f"{count} detections of score {min_score:g} and above: {output_dir / RESULTS_NAME}")
    return run.failures


def _class_names(options: PredictOptions, pipeline: Pipeline | None) -> dict[int, str]:
    if options.label_map:
        return load_label_map(options.label_map, "--label_map")
    if options.saved_model is not None:
        label_map = exported.label_map(options.saved_model)
    else:
        label_map = pipeline.label_map if pipeline else ""
    if label_map and Path(label_map).is_file():
        return load_label_map(label_map, "the model's config")
    say("note: no label map is at hand, classes are shown by number; see --label_map")
    return {}


def _check_batch_size(detector: Detector, batch_size: int) -> None:
    most = detector.batch_size
    if most is not None and most < batch_size:
        raise UserError(
            f"the model takes {most} {'image' if most == 1 else 'images'} at a time, not "
            f"{batch_size}",
            at=f"--batch_size {batch_size}; {detector.source}",
            hint=f"set --batch_size={most}, or export with --input_type=float_image_tensor: that "
            "model takes any number",
        )


@dataclass
class _Run:
    """One call of `predict`: its arguments, and what it has found so far."""

    detector: Detector
    output: Path
    names: dict[int, str]
    min_score: float
    batch_size: int
    results: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    _images: int = 0
    _used: set[str] = field(default_factory=set)

    def pictures(self, paths: list[Path]) -> None:
        """Detects in image files."""
        from PIL import Image

        progress = Progress(len(paths))
        unread = 0

        def read() -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
            nonlocal unread
            for number, path in enumerate(paths, start=1):
                self._images += 1
                try:
                    image = read_image(path)
                except UserError as error:
                    unread += 1
                    self.failures.append(Failure(path, error.message))
                    text = f"image {number}/{len(paths)}  {path.name}: cannot be read"
                    progress.show(number, text)
                    continue
                yield image, {"image_id": self._images, "file_name": str(path)}

        for done, (drawn, entry, count) in enumerate(self._detect(read()), start=1):
            path = Path(entry["file_name"])
            Image.fromarray(drawn).save(self._target(path, ".png"))
            number = done + unread
            progress.show(number, f"image {number}/{len(paths)}  {path.name}: {_counted(count)}")

    def video(self, path: Path) -> None:
        """Detects in the frames of a video, and draws them to another."""
        try:
            video = videos.Video(path)
        except UserError as error:
            self.failures.append(Failure(path, error.message))
            say(f"{path.name}: cannot be read")
            return
        total = video.frames or sys.maxsize
        known = f"/{video.frames}" if video.frames else ""
        progress = Progress(total)

        def read() -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
            for frame, (image, seconds) in enumerate(video):
                self._images += 1
                entry = {"image_id": self._images, "file_name": str(path)}
                yield image, entry | {"frame": frame, "time": round(seconds, 6)}

        done = 0
        with video, videos.writing(self._target(path, ".mp4"), video.rate) as write:
            for drawn, _, count in self._detect(read()):
                write(drawn)
                done += 1
                progress.show(done, f"{path.name}: frame {done}{known}: {_counted(count)}")
        if done < total:
            progress.close()
        if video.is_cut_off(done):
            reason = f"it ends after {done} of {video.frames} frames, which are done"
            self.failures.append(Failure(path, reason))

    def _detect(
        self, images: Iterable[tuple[np.ndarray, dict[str, Any]]]
    ) -> Iterator[tuple[np.ndarray, dict[str, Any], int]]:
        """Runs the model on images with their entries; adds to `results`.

        Yields:
            For each image its drawing, its entry and its number of detections.
        """
        from odapi.detector.drawing import draw_detections

        for batch in _batches(images, self.batch_size):
            stacked = np.stack([image for image, _ in batch])
            found_in_each = self.detector.detect_batch(stacked, self.min_score)
            for (image, entry), found in zip(batch, found_in_each, strict=True):
                labels = [self.names.get(int(label), f"class {label}") for label in found.classes]
                drawn = draw_detections(image, found.boxes, labels, found.scores, masks=found.masks)
                self.results += coco_results(entry, found, labels)
                yield drawn, entry, len(found)

    def _target(self, path: Path, suffix: str) -> Path:
        """Where the drawing of a file goes: no other drawing's place."""
        stem = safe_name(path.stem)
        names = (f"{stem}_{number}{suffix}" for number in itertools.count(2))
        names = itertools.chain([stem + suffix], names)
        # Some file systems do not tell A.png from a.png.
        name = next(name for name in names if name.casefold() not in self._used)
        self._used.add(name.casefold())
        return self.output / name


def _batches(
    images: Iterable[tuple[np.ndarray, dict[str, Any]]], size: int
) -> Iterator[list[tuple[np.ndarray, dict[str, Any]]]]:
    """Groups images that follow each other and are of equal size, up to `size` of them."""
    batch: list[tuple[np.ndarray, dict[str, Any]]] = []
    for image, entry in images:
        if batch and (len(batch) == size or batch[0][0].shape != image.shape):
            yield batch
            batch = []
        batch.append((image, entry))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _counted(count: int) -> str:
    return f"{count} {'detection' if count == 1 else 'detections'}"
