"""`odapi data`: its sub-commands and their flags."""

from __future__ import annotations

import argparse
import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

from odapi.console.arguments import add_flag, add_output_dir, positive, require_folder
from odapi.console.errors import UserError
from odapi.console.terminal import say
from odapi.pipeline.label_map import load_label_map
from odapi.records import framing


class Format(StrEnum):
    """What labels are written in."""

    COCO = "coco"
    VOC = "voc"
    YOLO = "yolo"
    CSV = "csv"


_FOLDERS = (Format.VOC, Format.YOLO)
LEFT_OUT_LINES = 20
"""So much of what `odapi data show` could not draw is named; the rest is counted."""
_NAME = re.compile(r"[\w.-]*\w")

_IMPORT = """\
Writes NAME.record-00000-of-0000N, label_map.pbtxt and import_report.json into a new folder. Images
are copied byte for byte unless TensorFlow cannot decode them as they are. What is left out, or not
as it should be, is counted and named. docs/data.md has the details of every format.

SOURCE is
  coco   the JSON file of instances; polygons and run lengths become masks
  voc    the folder of XML files
  yolo   the folder of label files; polygons become masks
  csv    a file with the columns filename, class, xmin, ymin, xmax, ymax, and perhaps width, height
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares import, stats and show."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    parsers = {}
    for name, summary in (
        ("import", "COCO, Pascal VOC, YOLO or CSV labels to records and a label map"),
        ("stats", "what records hold: classes, and sizes of boxes and images"),
        ("show", "draw records with their boxes, masks and classes"),
    ):
        parsers[name] = actions.add_parser(
            name,
            help=summary,
            description=_IMPORT if name == "import" else summary[0].upper() + summary[1:] + ".",
            epilog=parser.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parsers[name].add_argument(
            "--verbose",
            action="store_true",
            default=argparse.SUPPRESS,  # else it would undo one that stands before the action
            help="show TensorFlow's own log lines and warnings",
        )
    _add_import(parsers["import"])
    for name in ("stats", "show"):
        parsers[name].add_argument(
            "records", nargs="+", metavar="RECORD", help="TFRecord files, or patterns of them"
        )
        add_flag(
            parsers[name],
            "--label_map",
            metavar="FILE",
            help="names of classes that are recorded by number",
        )
    parsers["stats"].add_argument("--json", action="store_true", help="print JSON, not tables")
    add_flag(parsers["show"], "--output_dir", required=True, metavar="DIR", help="gets the PNGs")
    parsers["show"].add_argument(
        "--number",
        type=positive,
        default=12,
        metavar="N",
        help="how many, at equal distances in the records (default 12)",
    )


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=Path, help="the labels")
    parser.add_argument("--format", required=True, choices=[str(one) for one in Format])
    parser.add_argument(
        "--images", required=True, type=Path, metavar="DIR", help="the folder with the images"
    )
    add_output_dir(
        parser,
        help="the folder to make",
    )
    parser.add_argument(
        "--name", default="train", type=_name, help="of the set of records (default: train)"
    )
    parser.add_argument(
        "--split",
        action="append",
        default=[],
        type=_split,
        metavar="NAME=SHARE",
        help="take a share of the images, by chance, into a set of its own: --split val=0.1; "
        "may be given again",
    )
    parser.add_argument("--seed", type=int, default=0, help="of that chance (default 0)")
    parser.add_argument(
        "--shards",
        type=positive,
        metavar="N",
        help="files in each set, at most one for each image (default: one for every 1000 images)",
    )
    add_flag(
        parser,
        "--label_map",
        type=Path,
        metavar="FILE",
        help="use the ids of this label map; a class that it lacks is an error (default: ids from "
        "1 in the order of COCO's ids or YOLO's names, for VOC and CSV of the alphabet)",
    )
    _add_reading(parser)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """What of the labels is taken, and how."""
    parser.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="yolo: data.yaml, or a text file with a class name on each line (default: data.yaml "
        "or classes.txt in SOURCE or the two folders around it)",
    )
    parser.add_argument(
        "--normalized",
        action="store_true",
        help="csv: coordinates are shares of width and height, not pixels",
    )
    parser.add_argument("--no_masks", action="store_true", help="import the boxes alone")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="write nothing and exit with 1 where an image or a box would be left out",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="processes (default: as many as processors, fewer for few images)",
    )
    add_flag(parser, "--force", action="store_true", help="replace an earlier import")


def check_paths(args: argparse.Namespace) -> None:
    """Raises UserError where flags contradict each other, or a path is wrong at first sight."""
    if args.action != "import":
        from odapi.records.contents import find_files

        find_files(args.records)
        if args.action == "show":
            require_folder(Path(args.output_dir), "--output_dir")
        return
    for flag, given, meant in (
        ("--names", args.names, Format.YOLO),
        ("--normalized", args.normalized, Format.CSV),
    ):
        if given and args.format != meant:
            raise UserError(f"{flag} is for --format {meant} only", hint=f"leave out {flag}")
    folder = args.format in _FOLDERS
    if not (args.source.is_dir() if folder else args.source.is_file()):
        what = "a folder" if folder else "a file"
        there = "something else" if args.source.exists() else "nothing there"
        raise UserError(f"SOURCE of --format {args.format} is {what}", at=f"{args.source}: {there}")
    if not args.images.is_dir():
        raise UserError(f"there is no folder of images {args.images}", at="--images")
    for flag, path in (("--label_map", args.label_map), ("--names", args.names)):
        if path is not None and not path.is_file():
            raise UserError(f"there is no file {path}", at=flag)
    names = [args.name, *(name for name, _ in args.split)]
    if len(set(names)) < len(names):
        raise UserError("two sets have the same name", at=f"--name, --split: {', '.join(names)}")
    if sum(share for _, share in args.split) >= 1:
        raise UserError(f"the splits leave nothing for {args.name}", at="--split")
    _check_output(args)


def _check_output(args: argparse.Namespace) -> None:
    from odapi.data.import_folder import check_output

    inputs = [args.source, args.images, *filter(None, (args.label_map, args.names))]
    check_output(args.output_dir, args.force, inputs)


def run(args: argparse.Namespace) -> int:
    """The command."""
    return {"import": _run_import, "stats": _run_stats, "show": _run_show}[args.action](args)


def _run_import(args: argparse.Namespace) -> int:
    from odapi.data import coco, importing, table, voc, yolo
    from odapi.data.annotations import ImageFolder, ProblemLog

    problems = ProblemLog()
    folder = ImageFolder(args.images)
    match args.format:
        case Format.COCO:
            source = coco.read(args.source, folder, problems)
        case Format.VOC:
            source = voc.read(args.source, folder, problems)
        case Format.YOLO:
            source = yolo.read(args.source, folder, problems, args.names)
        case Format.CSV:
            source = table.read(args.source, folder, problems, args.normalized)
    request = importing.Request(
        output=args.output_dir,
        name=args.name,
        splits=dict(args.split),
        seed=args.seed,
        shards=args.shards,
        label_map=args.label_map,
        masks=not args.no_masks,
        strict=args.strict,
        workers=args.workers,
    )
    about: dict[str, Any] = {
        "format": args.format,
        "source": str(args.source),
        "images": str(args.images),
    }
    importing.write(source, problems, request, about)
    return 0


def _names(args: argparse.Namespace) -> dict[int, str] | None:
    return load_label_map(args.label_map, "--label_map") if args.label_map else None


def _run_stats(args: argparse.Namespace) -> int:
    from odapi.data import stats
    from odapi.records import contents

    names = _names(args)
    found = stats.collect(contents.read(contents.find_files(args.records), names), names)
    if args.json:
        # Not `say`: JSON has lines, and escapes what is obeyed.
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        stats.print_table(found)
    return 0


def _run_show(args: argparse.Namespace) -> int:
    from odapi.data import show
    from odapi.records import contents

    files = contents.find_files(args.records)
    total = sum(framing.count_records(file) for file in files)
    if not total:
        raise UserError("the files hold no record", at=", ".join(files))
    number = min(args.number, total)
    chosen = [index * total // number for index in range(number)]
    left_out: list[str] = []

    def leave_out(error: UserError) -> None:
        left_out.append(f"{error.at}: {error.message}")

    found = contents.read(files, _names(args), set(chosen), leave_out)
    written = show.save(found, Path(args.output_dir), leave_out)
    if not written:
        raise UserError("no record could be drawn", at=left_out[:LEFT_OUT_LINES])
    say(f"{len(written)} of {total} records drawn: {args.output_dir}")
    if left_out:
        more = len(left_out) - LEFT_OUT_LINES
        lines = left_out[:LEFT_OUT_LINES] + ([f"... and {more:,} more"] if more > 0 else [])
        say("LEFT OUT:", *(f"  {line}" for line in lines))
    return 0


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of letters, digits, '-' and '.'")
    return text


def _split(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    try:
        value = float(share)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SHARE with a share between 0 and 1")
    return _name(name), value
