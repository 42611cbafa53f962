"""`odapi predict`: detections in image files, as JSON and as drawn pictures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odapi import config as configs
from odapi.errors import UserError
from odapi.files import write_text
from odapi.progress import Progress

if TYPE_CHECKING:
    from odapi.detector import Detections, Detector

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
RESULTS_NAME = "detections.json"


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, and why."""

    path: Path
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the model comes from, what it looks at, and where the results go."""
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE_OR_FOLDER", help="of a folder, all its images are taken"
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
        help=f"gets {RESULTS_NAME} (COCO results with file and class names) and the drawn pictures",
    )
    parser.add_argument(
        "--label_map_path", metavar="FILE", help="class names; default: those of the model's config"
    )
    parser.add_argument(
        "--min_score",
        type=_share,
        default=0.5,
        metavar="SCORE",
        help="leave out detections with a lower score (default 0.5)",
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
        configs.require_file(args.pipeline_config_path, "--pipeline_config_path")
    find_images(args.images)


def run(args: argparse.Namespace) -> int:
    """The command. Exit code 1 if an image could not be read."""
    from odapi.detector import Detector

    if args.saved_model:
        detector = Detector.from_saved_model(
            args.saved_model, exported_input_type(args.saved_model)
        )
        label_map = _exported_label_map(args.saved_model)
    else:
        config = configs.load(args.pipeline_config_path)
        configs.check_feature_extractor(config)
        checkpoint = configs.find_checkpoint(args.checkpoint_dir, "--checkpoint_dir")
        detector = Detector.from_checkpoint(config, checkpoint)
        label_map = configs.label_map_path(config)
    names: dict[int, str] = {}
    if args.label_map_path:
        names = configs.load_label_map(args.label_map_path, "--label_map_path")
    elif label_map and Path(label_map).is_file():
        names = configs.load_label_map(label_map, "the model's config")
    else:
        print("note: no label map is at hand, classes are shown by number; see --label_map_path")
    failures = predict(
        detector, find_images(args.images), Path(args.output_directory), names, args.min_score
    )
    if not failures:
        return 0
    first = failures[0]
    raise UserError(
        f"{len(failures)} of the images could not be read; the others are done",
        at="\n      ".join(f"{failure.path}: {failure.reason}" for failure in failures),
        hint=f"is {first.path.name} an image, and whole?",
        exit_code=1,
    )


def predict(
    detector: Detector,
    images: Iterable[Path],
    output: Path,
    names: dict[int, str],
    min_score: float = 0.5,
) -> list[Failure]:
    """Detects objects in image files.

    Args:
        detector: the model.
        images: the files.
        output: gets `detections.json` and one PNG for each image. Of images with the same name,
            the second one's picture is `NAME_2.png`.
        names: class id to name; a class without one is shown as `class 7`.
        min_score: detections below it are left out, of both.

    Returns:
        The files that could not be read.
    """
    from PIL import Image

    from odapi.drawing import draw_detections

    images = list(images)
    output.mkdir(parents=True, exist_ok=True)
    progress = Progress(len(images))
    results: list[dict[str, Any]] = []
    failures: list[Failure] = []
    used: dict[str, int] = {}
    for number, path in enumerate(images, start=1):
        try:
            image = read_image(path)
        except UserError as error:
            failures.append(Failure(path, error.message))
            progress.show(number, f"image {number}/{len(images)}  {path.name}: cannot be read")
            continue
        found = detector.detect(image).above(min_score)
        labels = [names.get(int(label), f"class {label}") for label in found.classes]
        drawn = Image.fromarray(draw_detections(image, found.boxes, labels, found.scores))
        results += _coco_results(number, path, found, labels)
        used[path.stem] = used.get(path.stem, 0) + 1
        suffix = f"_{used[path.stem]}" if used[path.stem] > 1 else ""
        drawn.save(output / f"{path.stem}{suffix}.png")
        count = len(found)
        progress.show(
            number,
            f"image {number}/{len(images)}  {path.name}: "
            f"{count} {'detection' if count == 1 else 'detections'}",
        )
    write_text(output / RESULTS_NAME, json.dumps(results, indent=1) + "\n")
    print(f"{len(results)} detections of score {min_score:g} and above: {output / RESULTS_NAME}")
    return failures


def find_images(arguments: Iterable[str]) -> list[Path]:
    """Files as they are given, folders replaced by the images in them, in order of name.

    Raises:
        UserError: a path does not exist, or a folder has no image.
    """
    found: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
            if not inside:
                raise UserError(
                    f"the folder holds no image: {path}",
                    hint="images are " + ", ".join(SUFFIXES),
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"there is no such image or folder: {path}")
    return found


def read_image(path: Path) -> np.ndarray:
    """Reads an image the way a person sees it: turned as its EXIF data says, in RGB.

    Returns:
        uint8 [H, W, 3]. Grey becomes three equal channels; transparency is dropped and 16-bit
        samples lose their lower byte, as in TensorFlow's decoder, which training uses.

    Raises:
        UserError: the file is not an image, or is damaged.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"not a readable image ({error})", at=str(path)) from None


def exported_input_type(saved_model: str) -> str | None:
    """The input type that `odapi export` noted beside a SavedModel; None without a note."""
    from odapi.export import REPORT_NAME

    report = _beside(saved_model, REPORT_NAME)
    if report is None:
        return None
    return json.loads(report.read_text(encoding="utf-8"))["input_type"]


def _exported_label_map(saved_model: str) -> str | None:
    """The label map exported with the model, else the one its config names."""
    copied = _beside(saved_model, configs.LABEL_MAP_NAME)
    if copied is not None:
        return str(copied)
    config = _beside(saved_model, "pipeline.config")
    return configs.label_map_path(configs.load(str(config))) if config is not None else None


def _beside(saved_model: str, name: str) -> Path | None:
    """The file `name` in the folder that `odapi export` wrote, given it or its saved_model."""
    from odapi.detector import find_saved_model

    path = find_saved_model(saved_model).parent / name
    return path if path.is_file() else None


def _coco_results(
    image_id: int, path: Path, found: Detections, labels: list[str]
) -> list[dict[str, Any]]:
    """One image's detections as COCO results, with the names that make them readable."""
    results = []
    for box, score, category, label in zip(
        found.boxes, found.scores, found.classes, labels, strict=True
    ):
        ymin, xmin, ymax, xmax = (float(side) for side in box)
        results.append(
            {
                "image_id": image_id,
                "file_name": str(path),
                "category_id": int(category),
                "category_name": label,
                "bbox": [round(side, 3) for side in (xmin, ymin, xmax - xmin, ymax - ymin)],
                "score": round(float(score), 6),
            }
        )
    return results


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value
