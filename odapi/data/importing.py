"""From what a format's reader found to a folder of records, a label map and a report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from odapi.console import output_folder
from odapi.console.errors import UserError
from odapi.console.files import write_text
from odapi.console.terminal import is_unicode
from odapi.data.annotations import LabelledImage, Object, ProblemLog, Source
from odapi.data.class_ids import label_map_text, number_classes
from odapi.data.examples import encode_example
from odapi.data.import_folder import REPORT_NAME
from odapi.data.shards import WrittenSet, write_sets
from odapi.data.splitting import split
from odapi.data.summary import nothing_written, print_summary, problem_lines, report_text
from odapi.pipeline.label_map import LABEL_MAP_NAME, load_label_map


@dataclass(frozen=True)
class Request:
    """How a source is written.

    Attributes:
        output: the folder that is made.
        name: of the set of records.
        splits: name to share, of sets that are taken from it.
        seed: of the choice of their images.
        shards: files in each set; None: one for every `shards.IMAGES_PER_SHARD` images.
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
        raise nothing_written(
            f"no box was found for any of the {len(source.images)} images", problems
        )
    for name in source.classes:
        if not is_unicode(name):
            raise UserError("a class name is no Unicode text", at=name, hint="rename the class")
    class_ids = number_classes(source, request.label_map)
    with_masks = request.masks and _have_masks(source.images)
    encode = partial(encode_example, class_ids=class_ids, with_masks=with_masks)
    sets = split(source.images, request.name, request.splits, request.seed)
    with output_folder.replacing(request.output) as folder:
        written = write_sets(
            sets, folder, encode, problems, shards=request.shards, workers=request.workers
        )
        for name, records in written.items():
            if not records.boxes:
                raise nothing_written(f"no box is left for {name}", problems)
        losses = problems.entries(losses=True)
        if request.strict and losses:
            raise UserError(
                "something would be left out; nothing was written",
                at=problem_lines(losses),
                hint="mend the source, or leave out --strict",
                exit_code=1,
            )
        label_map = folder / LABEL_MAP_NAME
        if request.label_map:
            shutil.copyfile(request.label_map, label_map)
        else:
            write_text(label_map, label_map_text(class_ids))
        write_text(folder / REPORT_NAME, report_text(written, problems, class_ids, about))
        num_classes = max(load_label_map(str(label_map), "--output_dir"))
    print_summary(written, problems, request.output, num_classes)
    return written


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
