"""Writes sets of images to record files, several to a set."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from odapi.console.errors import op_reason
from odapi.console.progress import Progress
from odapi.data.annotations import LabelledImage, Problem, ProblemLog
from odapi.data.examples import EncodedExample
from odapi.data.parallel import default_workers, map_in_order

IMAGES_PER_SHARD = 1000


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


def write_sets(
    sets: Mapping[str, list[LabelledImage]],
    folder: Path,
    encode: Callable[[LabelledImage], EncodedExample],
    problems: ProblemLog,
    *,
    shards: int | None,
    workers: int | None,
) -> dict[str, WrittenSet]:
    """Encodes images and writes them to record files, and shows how far it is.

    Args:
        sets: name to images.
        folder: where the files go.
        encode: makes the features of an image's record; can be pickled.
        problems: gets what encoding meets.
        shards: files in each set; None: one for every IMAGES_PER_SHARD images.
        workers: processes; None: as many as there are processors, for enough images.

    Returns:
        Name of the set to what was written.

    Raises:
        UserError: a worker process died.
    """
    import tensorflow as tf

    total = sum(map(len, sets.values()))
    progress, done = Progress(total), 0
    written = {}
    images = [image for chosen in sets.values() for image in chosen]
    with closing(map_in_order(encode, images, workers or default_workers(total))) as results:
        for name, chosen in sets.items():
            written[name] = records = WrittenSet(_file_names(name, len(chosen), shards))
            with ExitStack() as stack:
                writers = [
                    stack.enter_context(tf.io.TFRecordWriter(str(folder / file)))
                    for file in records.files
                ]
                for encoded in itertools.islice(results, len(chosen)):
                    encoded = _checked_in_tensorflow(encoded)
                    problems.extend(encoded.problems)
                    if encoded.features is not None:
                        writers[records.images % len(writers)].write(_serialize(encoded.features))
                        records.add(encoded)
                    done += 1
                    progress.show_images(done, decimals=0)
    return written


def _file_names(name: str, images: int, shards: int | None) -> list[str]:
    # As upstream's tf_record_creation_util names shards, and deals records out to them.
    shards = min(shards or math.ceil(images / IMAGES_PER_SHARD), images)
    return [f"{name}.record-{shard:05}-of-{shards:05}" for shard in range(shards)]


def _checked_in_tensorflow(encoded: EncodedExample) -> EncodedExample:
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
