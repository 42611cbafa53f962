"""`odapi predict`: detections in images and videos, as JSON and drawn."""

from __future__ import annotations

import argparse
import glob
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odapi.console.arguments import positive, require_folder, share
from odapi.console.errors import UserError
from odapi.console.files import safe_name, write_text
from odapi.console.progress import Progress
from odapi.console.terminal import say
from odapi.detector import masks
from odapi.pipeline.checkpoint import find_checkpoint
from odapi.pipeline.config import load, require_file
from odapi.pipeline.extractor import check_feature_extractor
from odapi.pipeline.label_map import LABEL_MAP_NAME, label_map_path, load_label_map
from odapi.predict import videos

if TYPE_CHECKING:
    from odapi.detector.detector import Detections, Detector

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
RESULTS_NAME = "detections.json"


@dataclass(frozen=True)
class Failure:
    """An image or video that could not be read, or not to its end, and why."""

    path: Path
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the model comes from, what it looks at, and where the results go."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="PATH",
        help="an image, a video, a folder, of which all images and videos are taken, or a pattern "
        "such as 'pictures/**/*.jpg'",
    )
    parser.add_argument("--saved_model", metavar="DIR", help="a model that odapi export wrote")
    parser.add_argument(
        "--pipeline_config_path", metavar="FILE", help="with --checkpoint_dir: the pipeline config"
    )
    parser.add_argument(
        "--checkpoint_dir", metavar="DIR", help="a model_dir of odapi train, or one checkpoint"
    )
    parser.add_argument(
        "--output_directory",
        required=True,
        metavar="DIR",
        help=f"gets {RESULTS_NAME} (COCO results with file and class names, for videos with frame "
        "and time) and the drawn pictures and videos",
    )
    parser.add_argument(
        "--label_map_path", metavar="FILE", help="class names; default: those of the model's config"
    )
    parser.add_argument(
        "--min_score",
        type=share,
        default=0.5,
        metavar="SCORE",
        help="leave out detections with a lower score (default 0.5)",
    )
    parser.add_argument(
        "--batch_size",
        type=positive,
        default=1,
        metavar="N",
        help="run the model on up to N images at once, where images that follow each other are of "
        "equal size, as a video's are (default 1)",
    )


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where the flags do not name a model, or a path is wrong at first sight."""
    given = bool(args.pipeline_config_path), bool(args.checkpoint_dir)
    if args.saved_model:
        if any(given):
            raise UserError(
                "two models are given", hint="give --saved_model alone, or the other two flags"
            )
    elif not all(given):
        raise UserError(
            "no model is given",
            hint="give --saved_model DIR, or --pipeline_config_path FILE --checkpoint_dir DIR",
        )
    else:
        require_file(args.pipeline_config_path, "--pipeline_config_path")
    _check_output(find_images(args.images), Path(args.output_directory))


def run(args: argparse.Namespace) -> int:
    """The command. Exit code 1 if an image or video could not be read."""
    from odapi.detector.detector import Detector
    from odapi.export.command import exported_input_type

    if args.saved_model:
        detector = Detector.from_saved_model(
            args.saved_model, exported_input_type(args.saved_model)
        )
        label_map = _exported_label_map(args.saved_model)
    else:
        config = load(args.pipeline_config_path)
        check_feature_extractor(config)
        checkpoint = find_checkpoint(args.checkpoint_dir, "--checkpoint_dir")
        detector = Detector.from_checkpoint(config, checkpoint)
        label_map = label_map_path(config)
    _check_batch_size(detector, args.batch_size)
    names: dict[int, str] = {}
    if args.label_map_path:
        names = load_label_map(args.label_map_path, "--label_map_path")
    elif label_map and Path(label_map).is_file():
        names = load_label_map(label_map, "the model's config")
    else:
        say("note: no label map is at hand, classes are shown by number; see --label_map_path")
    failures = predict(
        detector,
        find_images(args.images),
        Path(args.output_directory),
        names,
        args.min_score,
        args.batch_size,
    )
    if not failures:
        return 0
    first = failures[0].path
    what = "a video" if videos.is_video(first) else "an image"
    raise UserError(
        f"{len(failures)} of the images could not be read; the others are done",
        at=[f"{failure.path}: {failure.reason}" for failure in failures],
        hint=f"is {first.name} {what}, and whole?",
        exit_code=1,
    )


def _check_output(images: Iterable[Path], output: Path) -> None:
    """Raises UserError where a drawing could take the place of what it is drawn from."""
    require_folder(output, "--output_directory")
    for path in images:
        # As the path says, and where a link leads.
        if output.resolve() in (path.parent.resolve(), path.resolve().parent):
            raise UserError(
                f"drawings could replace what lies beside {path}",
                at=f"--output_directory {output}",
                hint="name another folder",
            )


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


def predict(
    detector: Detector,
    images: Iterable[Path],
    output: Path,
    names: dict[int, str],
    min_score: float = 0.5,
    batch_size: int = 1,
) -> list[Failure]:
    """Detects objects in image and video files.

    Args:
        detector: the model.
        images: the files.
        output: gets `detections.json` and one PNG for each image, one MP4 for each video. Of
            files with the same name, the second one's picture is `NAME_2.png`. An `image_id` is
            the place of the image among all images and frames, from 1.
        names: class id to name; a class without one is shown as `class 7`.
        min_score: detections below it are left out, of both.
        batch_size: so many images go through the model at once, where they follow each other and
            are of equal size. Frames of a video are never mixed with other images.

    Returns:
        The files that could not be read, or not to their end.
    """
    run = _Run(detector, output, names, min_score, batch_size)
    output.mkdir(parents=True, exist_ok=True)
    pictures: list[Path] = []
    try:
        for path in images:
            if videos.is_video(path):
                run.pictures(pictures)
                pictures = []
                run.video(path)
            else:
                pictures.append(path)
        run.pictures(pictures)
    finally:
        # Interrupted as well: it goes with the pictures that are drawn.
        write_text(output / RESULTS_NAME, json.dumps(run.results, indent=1) + "\n")
    count = len(run.results)
    say(f"{count} detections of score {min_score:g} and above: {output / RESULTS_NAME}")
    return run.failures


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
                self.results += _coco_results(entry, found, labels)
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


def find_images(arguments: Iterable[str]) -> list[Path]:
    """Files as they are given, folders replaced by the images and videos in them, by name.

    A pattern that the shell has left as it is, since it stood in quotes or the shell expands
    none, is expanded here; `**` stands for any folders.

    Raises:
        UserError: a path does not exist, a pattern matches nothing, or a folder has no image.
    """
    found: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.exists() or not glob.has_magic(argument):
            found += _expand(path)
            continue
        # Path.glob takes no absolute pattern.
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207
        files = [Path(match) for match in matches if Path(match).is_file()]
        if not files:
            raise UserError(f"no file matches the pattern {argument}")
        found += files
    return found


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        suffixes = (*SUFFIXES, *videos.SUFFIXES)
        inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in suffixes)
        if not inside:
            raise UserError(
                f"the folder holds no image: {path}",
                hint="images and videos are " + ", ".join(suffixes),
            )
        return inside
    if path.is_file():
        return [path]
    raise UserError(f"there is no such image or folder: {path}")


def read_image(path: Path) -> np.ndarray:
    """Reads an image the way a person sees it: turned as its EXIF data says, in RGB.

    Returns:
        uint8 [H, W, 3]. Grey becomes three equal channels; transparency is dropped and 16-bit
        samples lose their lower byte, as in TensorFlow's decoder, which training uses.

    Raises:
        UserError: the file is not an image, is damaged, or has more pixels than are decoded; or it
            is no regular file.
    """
    from PIL import Image, ImageOps

    from odapi.records.images import UNREADABLE, opened, read_file

    try:
        with opened(read_file(path)) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.array(image.convert("RGB"))
    except UNREADABLE as error:
        raise UserError(f"not a readable image ({error})", at=str(path)) from None


def _exported_label_map(saved_model: str) -> str | None:
    """The label map exported with the model, else the one its config names."""
    from odapi.export.command import beside

    copied = beside(saved_model, LABEL_MAP_NAME)
    if copied is not None:
        return str(copied)
    config = beside(saved_model, "pipeline.config")
    return label_map_path(load(str(config))) if config is not None else None


def _coco_results(
    entry: dict[str, Any], found: Detections, labels: list[str]
) -> list[dict[str, Any]]:
    """One image's detections as COCO results, with the names that make them readable."""
    results = []
    for index, label in enumerate(labels):
        ymin, xmin, ymax, xmax = (float(side) for side in found.boxes[index])
        result = entry | {
            "category_id": int(found.classes[index]),
            "category_name": label,
            "bbox": [round(side, 3) for side in (xmin, ymin, xmax - xmin, ymax - ymin)],
            "score": round(float(found.scores[index]), 6),
        }
        if found.masks is not None:
            result["segmentation"] = masks.encode(found.masks[index])
        results.append(result)
    return results
