"""What the input pipeline of a training holds in memory, and how to hold it to a limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from odapi.console.errors import UserError

READ_BUFFER = 8_000_000
"""Bytes that one reader of a file reads ahead; upstream's builders/dataset_builder.py, `build`."""
ITERATORS_PER_READER = 3
"""`tf.data.experimental.parallel_interleave` opens twice as many files as it reads, ahead."""
BATCHES_UNDER_WAY = 2
"""The one in training and the one that is being put together, beside those prefetched."""
FLOAT = 4
"""Bytes."""


@dataclass(frozen=True)
class InputMemory:
    """Sizes of the parts of an input pipeline.

    Attributes:
        shuffled: records that the shuffle buffer holds, undecoded; 0 without shuffling.
        record: bytes of an average record.
        readers: files read at a time.
        reader: bytes that each of them may hold.
        prefetched: batches that wait for the train step.
        batch: bytes of a batch of decoded images and masks.
    """

    shuffled: int
    record: int
    readers: int
    reader: int
    prefetched: int
    batch: int

    @property
    def total(self) -> int:
        """Bytes; decoding takes some of its own, for an image on each core."""
        return self.shuffled * self.record + self._readers_bytes + self._batches_bytes

    @property
    def _readers_bytes(self) -> int:
        return self.readers * self.reader

    @property
    def _batches_bytes(self) -> int:
        return (self.prefetched + BATCHES_UNDER_WAY) * self.batch

    def within(self, limit: int, batch_size: int) -> InputMemory:
        """The same with fewer readers, prefetched batches and shuffled records, as far as needed.

        Args:
            limit: bytes.
            batch_size: the least number of records to shuffle.

        Raises:
            UserError: the limit is too small.
        """
        if self.total <= limit:
            return self
        one_batch = min(self.prefetched, 1)
        fewest = replace(
            self, readers=1, prefetched=one_batch, shuffled=min(self.shuffled, 2 * batch_size)
        )
        if fewest.total > limit:
            raise UserError(
                f"training cannot read its records within {megabytes(limit)}",
                at="--max_input_memory",
                hint=f"it takes {megabytes(fewest.total)} at least: {fewest}",
            )
        fitting = replace(self, readers=min(self.readers, max(1, limit // 4 // self.reader)))
        if fitting._batches_bytes > limit // 2:
            fitting = replace(fitting, prefetched=one_batch)
        left = limit - fitting._readers_bytes - fitting._batches_bytes
        if left < fewest.shuffled * self.record:
            fitting, left = fewest, limit - fewest._readers_bytes - fewest._batches_bytes
        return replace(fitting, shuffled=min(self.shuffled, left // self.record))

    def apply_to(self, reader: Any) -> None:
        """Makes the pipeline of an `input_reader_pb2.InputReader` have these sizes."""
        if self.shuffled:
            reader.shuffle_buffer_size = self.shuffled
        reader.num_readers = self.readers
        reader.num_prefetch_batches = self.prefetched

    def __str__(self) -> str:
        shuffled = f"{self.shuffled:,} records of {megabytes(self.record)} to shuffle, "
        return (
            f"{shuffled if self.shuffled else ''}"
            f"{self.prefetched + BATCHES_UNDER_WAY} batches of {megabytes(self.batch)}, "
            f"{self.readers} {'reader' if self.readers == 1 else 'readers'} with up to "
            f"{megabytes(self.reader)}"
        )


def estimate(config: Any, files: Sequence[str], records: int) -> InputMemory:
    """What a config asks for.

    Args:
        config: a `pipeline_pb2.TrainEvalPipelineConfig`.
        files: its training record files.
        records: the number of records in them.
    """
    import tensorflow as tf

    reader = config.train_input_reader
    sizes = [tf.io.gfile.stat(file).length for file in files]
    return InputMemory(
        # The buffer takes records of the next epochs where one epoch does not fill it.
        shuffled=reader.shuffle_buffer_size if reader.shuffle else 0,
        record=max(1, math.ceil(sum(sizes) / max(1, records))),
        readers=max(1, min(reader.num_readers, len(files))),
        reader=ITERATORS_PER_READER * min(READ_BUFFER, max(sizes)),
        prefetched=reader.num_prefetch_batches,
        batch=config.train_config.batch_size * _example(config, files),
    )


def _example(config: Any, files: Sequence[str]) -> int:
    """Bytes of a decoded image with its masks, at the size that the model takes."""
    height, width = _image_size(config, files)
    planes = 3 + (3 if config.train_config.retain_original_images else 0)
    reader = config.train_input_reader
    if reader.load_instance_masks:
        planes += reader.max_number_of_boxes
    return height * width * planes * FLOAT


def _image_size(config: Any, files: Sequence[str]) -> tuple[int, int]:
    from object_detection.utils import config_util

    from odapi.records import contents as records

    resizer = config_util.get_image_resizer_config(config.model)
    kind = resizer.WhichOneof("image_resizer_oneof")
    if kind == "fixed_shape_resizer":
        return resizer.fixed_shape_resizer.height, resizer.fixed_shape_resizer.width
    if kind == "keep_aspect_ratio_resizer":
        sides = resizer.keep_aspect_ratio_resizer
        shorter = sides.max_dimension if sides.pad_to_max_dimension else sides.min_dimension
        return shorter, sides.max_dimension
    # Whatever size images have: that of the first stands for all.
    for record in records.read(files, names=None):
        return record.height, record.width
    raise UserError("there are no records in the files", at=files[0])


def megabytes(size: int) -> str:
    """A size as people say it: `0.3 MB`, `12 MB`, `1,500 MB`."""
    number = size / 1e6
    return f"{number:,.0f} MB" if number >= 10 else f"{number:.2g} MB"
