"""From what a format's reader found to a folder of records, a label map and a report."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import shutil
import signal
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from odapi.console.errors import UserError, op_reason
from odapi.console.files import replacing_folder, write_text
from odapi.console.progress import Progress
from odapi.console.terminal import is_unicode, say, shown_lines, shown_name
from odapi.data.annotations import LabelledImage, Object, Problem, ProblemLog, Source
from odapi.data.examples import EncodedExample, encode_example
from odapi.pipeline.label_map import LABEL_MAP_NAME, load_label_map

REPORT_NAME = "import_report.json"
IMAGES_PER_SHARD = 1000
IMAGES_PER_WORKER = 100
"""Starting a process takes as long as encoding about so many."""


@dataclass(frozen=True)
class Request:
    """How a source is written.

    Attributes:
        output: the folder that is made.
        name: of the set of records.
        splits: name to share, of sets that are taken from it.
        seed: of the choice of their images.
        shards: files in each set; None: one for every IMAGES_PER_SHARD images.
        label_map: an existing one to use; None: one is made.
        masks: write masks where the source has them.
        strict: fail where anything is left out.
        workers: processes; None: as many as there are processors, for enough images.
    """

    output: Path
    name: str = "train"
    splits: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    shards: int | None = None
    label_map: Path | None = None
    masks: bool = True
    strict: bool = False
    workers: int | None = None


@dataclass
class WrittenSet:
    """What was written under one name.

    Attributes:
        files: names of the record files.
        images: number of records.
        images_without_boxes: how many of them show no object.
        boxes: number of boxes by class.
        masks: number of masks.
    """

    files: list[str]
    images: int = 0
    images_without_boxes: int = 0
    boxes: Counter[str] = field(default_factory=Counter)
    masks: int = 0

    def add(self, encoded: EncodedExample) -> None:
        """Counts a record."""
        self.images += 1
        self.images_without_boxes += not encoded.labels
        self.boxes.update(encoded.labels)
        self.masks += encoded.masks


def check_output(output: Path, overwrite: bool, inputs: Iterable[Path]) -> None:
    """Checks that records may be written to `output`.

    Args:
        output: the folder to be.
        overwrite: it may hold an earlier import.
        inputs: what is read; it must not go with the earlier import.

    Raises:
        UserError: there is something that must not be replaced.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    at = f"--output {output}"
    if not (output / REPORT_NAME).is_file():
        raise UserError(
            "the output is there already, and is not the folder of an import",
            at=at,
            hint="choose a folder that does not exist",
        )
    if not overwrite:
        raise UserError(
            "the output holds an earlier import",
            at=at,
            hint="choose another folder, or replace it with --overwrite",
        )
    written = _names(output)
    others = sorted(path.name for path in output.iterdir() if path.name not in written)
    if others:
        raise UserError(
            f"replacing the output would remove {', '.join(others[:3])}, which no import wrote",
            at=at,
            hint="choose another folder, or move them",
        )
    for path in inputs:
        if path.resolve().is_relative_to(output.resolve()):
            raise UserError(f"replacing the output would remove {path}", at=at)


def _names(output: Path) -> set[str]:
    """The names of the files that an import wrote into a folder."""
    try:
        sets = json.loads((output / REPORT_NAME).read_text(encoding="utf-8"))["sets"]
        records = {Path(name).name for written in sets.values() for name in written["files"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            "this is not the report of an import", at=f"{output / REPORT_NAME}"
        ) from None
    return records | {REPORT_NAME, LABEL_MAP_NAME}


def write(
    source: Source, problems: ProblemLog, request: Request, about: dict[str, Any]
) -> dict[str, WrittenSet]:
    """Writes the records, the label map and the report, and prints a summary.

    `request.output` appears complete or not at all. The same source gives the same bytes, whatever
    the number of workers.

    Args:
        source: the images.
        problems: what its reader met; gets what encoding meets.
        request: how to write.
        about: goes into the report.

    Returns:
        Name of the set to what was written.

    Raises:
        UserError: there is no box, only some objects have masks, a class is not in the label map,
            or, in strict mode, something is left out.
    """
    if not any(image.objects for image in source.images):
        raise _nothing(f"no box was found for any of the {len(source.images)} images", problems)
    for name in source.classes:
        if not is_unicode(name):
            raise UserError("a class name is no Unicode text", at=name, hint="rename the class")
    class_ids = number_classes(source, request.label_map)
    with_masks = request.masks and _have_masks(source.images)
    sets = split(source.images, request.name, request.splits, request.seed)
    with replacing_folder(request.output) as folder:
        written = _write_sets(sets, folder, class_ids, with_masks, request, problems)
        for name, records in written.items():
            if not records.boxes:
                raise _nothing(f"no box is left for {name}", problems)
        losses = problems.entries(losses=True)
        if request.strict and losses:
            raise UserError(
                "something would be left out; nothing was written",
                at=_lines(losses),
                hint="mend the source, or leave out --strict",
                exit_code=1,
            )
        label_map = folder / LABEL_MAP_NAME
        if request.label_map:
            shutil.copyfile(request.label_map, label_map)
        else:
            write_text(label_map, _label_map(class_ids))
        write_text(folder / REPORT_NAME, _report(written, problems, class_ids, about))
        num_classes = max(load_label_map(str(label_map), "--output"))
    _print_summary(written, problems, request.output, num_classes)
    return written


def number_classes(source: Source, label_map: Path | None) -> dict[str, int]:
    """Class name to id: from 1 in the order of the source, or as a label map says.

    Raises:
        UserError: the label map cannot be used, or lacks a class that an object has.
    """
    if label_map is None:
        return {name: number for number, name in enumerate(source.classes, start=1)}
    from object_detection.utils import label_map_util

    load_label_map(str(label_map), "--label_map")
    # An object's class may be given by either name, as in upstream's decoder.
    known = {
        name: number
        for display in (True, False)
        for name, number in label_map_util.get_label_map_dict(
            str(label_map), use_display_name=display
        ).items()
    }
    counts = Counter(instance.label for image in source.images for instance in image.objects)
    unknown = sorted(set(counts) - set(known))
    if unknown:
        lines = []
        for name in unknown:
            nearest = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
            meant = f"; nearest: {', '.join(nearest)}" if nearest else ""
            lines.append(f"{name!r} ({counts[name]} boxes){meant}")
        raise UserError(
            f"the label map lacks {len(unknown)} classes of the source",
            at=[str(label_map), *lines],
            hint="add them, rename them in the source, or leave out --label_map to make a new one",
        )
    return {name: known[name] for name in counts}


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


def _write_sets(
    sets: Mapping[str, list[LabelledImage]],
    folder: Path,
    class_ids: dict[str, int],
    with_masks: bool,
    request: Request,
    problems: ProblemLog,
) -> dict[str, WrittenSet]:
    import tensorflow as tf

    total = sum(map(len, sets.values()))
    workers = request.workers or min(_processors(), 1 + total // IMAGES_PER_WORKER)
    progress, done = Progress(total), 0
    written = {}
    images = [image for chosen in sets.values() for image in chosen]
    task = partial(encode_example, class_ids=class_ids, with_masks=with_masks)
    with closing(_map_in_order(task, images, workers)) as results:
        for name, chosen in sets.items():
            shards = min(request.shards or math.ceil(len(chosen) / IMAGES_PER_SHARD), len(chosen))
            # As upstream's tf_record_creation_util names shards, and deals records out to them.
            files = [f"{name}.record-{shard:05}-of-{shards:05}" for shard in range(shards)]
            written[name] = records = WrittenSet(files)
            with ExitStack() as stack:
                writers = [
                    stack.enter_context(tf.io.TFRecordWriter(str(folder / file))) for file in files
                ]
                for encoded in itertools.islice(results, len(chosen)):
                    encoded = _checked(encoded)
                    problems.extend(encoded.problems)
                    if encoded.features is not None:
                        writers[records.images % shards].write(_serialize(encoded.features))
                        records.add(encoded)
                    done += 1
                    progress.show_images(done, decimals=0)
    return written


def _map_in_order(
    task: Any, images: Sequence[LabelledImage], workers: int
) -> Iterator[EncodedExample]:
    """What `task` makes of the images, in their order, with few results waiting in memory.

    Raises:
        UserError: a worker process died.
    """
    if workers == 1:
        yield from map(task, images)
        return
    # A forked child of a process that has TensorFlow's threads may hang; a fresh one does not.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    try:
        waiting: deque = deque()
        for image in images:
            waiting.append(pool.submit(task, image))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process died, perhaps for lack of memory",
            at=f"--workers {workers}",
            hint="try --workers 1",
            exit_code=1,
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C goes to all processes of the terminal; the parent is the one to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked(encoded: EncodedExample) -> EncodedExample:
    """Leaves an image out that TensorFlow cannot decode, which would end a training run.

    PIL forgives more: a PNG without its end, or with a wrong checksum.
    """
    import tensorflow as tf

    if encoded.features is None:
        return encoded
    features = encoded.features
    try:
        image = tf.io.decode_image(features["image/encoded"][0], channels=3)
        if image.shape[:2] == (features["image/height"][0], features["image/width"][0]):
            return encoded
        reason = f"its shape is {image.shape}"
    except tf.errors.InvalidArgumentError as error:
        reason = op_reason(error)
    name = features["image/filename"][0].decode(errors="replace")
    return EncodedExample(problems=[(Problem.IMAGE_UNREADABLE, f"{name}: in TensorFlow: {reason}")])


def _serialize(features: Mapping[str, list]) -> bytes:
    """The bytes of a tf.train.Example, the same for the same features."""
    import tensorflow as tf

    example = tf.train.Example()
    for key, values in features.items():
        feature = example.features.feature[key]
        if key in _FLOATS:
            feature.float_list.value.extend(values)
        elif key in _INTEGERS:
            feature.int64_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(values)
    return example.SerializeToString(deterministic=True)


_FLOATS = {
    "image/object/area",
    *(f"image/object/bbox/{side}" for side in ("xmin", "ymin", "xmax", "ymax")),
}
_INTEGERS = {
    "image/height",
    "image/width",
    "image/object/class/label",
    *(f"image/object/{flag}" for flag in ("is_crowd", "difficult", "truncated")),
}
"""By key, because an image without boxes has no values from which to tell."""


def _have_masks(images: Sequence[LabelledImage]) -> bool:
    """Whether objects have masks.

    Raises:
        UserError: some do, and some do not: training would pair masks with the wrong boxes.
    """
    without: list[Object] = []
    masks = 0
    for image in images:
        for instance in image.objects:
            masks += instance.mask is not None
            if instance.mask is None:
                without.append(instance)
    if masks and without:
        raise UserError(
            f"{len(without)} of {masks + len(without)} objects have no mask, the others have",
            at=f"{without[0].place}, a {without[0].label}, is the first without",
            hint="--no_masks imports the boxes alone",
        )
    return masks > 0


def _label_map(class_ids: Mapping[str, int]) -> str:
    from google.protobuf import text_format
    from object_detection.protos import string_int_label_map_pb2

    label_map = string_int_label_map_pb2.StringIntLabelMap()
    for name, number in class_ids.items():
        label_map.item.add(id=number, name=name)
    return text_format.MessageToString(label_map, as_utf8=True)


def _report(
    written: Mapping[str, WrittenSet],
    problems: ProblemLog,
    class_ids: Mapping[str, int],
    about: dict[str, Any],
) -> str:
    def found(losses: bool) -> dict[str, Any]:
        return {
            problem.name.lower(): {"what": problem.value, "count": count, "first": places}
            for problem, count, places in problems.entries(losses)
        }

    sets = {
        name: {
            "images": records.images,
            "images_without_boxes": records.images_without_boxes,
            "boxes": records.boxes.total(),
            "masks": records.masks,
            "boxes_per_class": dict(sorted(records.boxes.items())),
            "files": records.files,
        }
        for name, records in written.items()
    }
    report = {
        **about,
        "classes": dict(class_ids),
        "sets": sets,
        "left_out": found(True),
        "noted": found(False),
    }
    # A file name that is no UTF-8 has lone surrogates in it, which UTF-8 cannot write: escaped as
    # JSON does, they are the same name.
    return shown_lines(json.dumps(report, indent=1, ensure_ascii=False)) + "\n"


def _print_summary(
    written: Mapping[str, WrittenSet], problems: ProblemLog, output: Path, num_classes: int
) -> None:
    classes = sorted({label for records in written.values() for label in records.boxes})
    width = max(5, *(len(shown_name(name)) for name in (*classes, "images")))
    say(f"{'':{width}}" + "".join(f"  {name:>9}" for name in written))

    def row(name: str, values: Iterable[int]) -> None:
        say(f"{shown_name(name):{width}}" + "".join(f"  {value:>9}" for value in values))

    row("images", (records.images for records in written.values()))
    row("boxes", (records.boxes.total() for records in written.values()))
    if any(records.masks for records in written.values()):
        row("masks", (records.masks for records in written.values()))
    for label in classes:
        row(label, (records.boxes[label] for records in written.values()))
    for title, losses in (("noted", False), ("LEFT OUT", True)):
        entries = problems.entries(losses)
        if entries:
            say(f"{title}:")
            say(*(f"  {line}" for line in _lines(entries)))
    for name, records in written.items():
        wildcard = records.files[0] if len(records.files) == 1 else f"{name}.record-*"
        say(f"{name}: {output / wildcard}")
    say(f"label map: {output / LABEL_MAP_NAME}, num_classes: {num_classes}")
    say(f"report: {output / REPORT_NAME}")


def _lines(entries: Iterable[tuple[Any, int, list[str]]]) -> list[str]:
    lines = []
    for problem, count, places in entries:
        lines.append(f"{count:6} {problem.value}")
        lines += [f"{'':9}{place}" for place in places]
        if count > len(places):
            lines.append(f"{'':9}... and {count - len(places)} more")
    return lines


def _nothing(what: str, problems: ProblemLog) -> UserError:
    losses = _lines(problems.entries(losses=True))
    return UserError(
        f"{what}: nothing is written",
        at=losses,
        hint="are SOURCE, --format and --images what was meant?",
    )
