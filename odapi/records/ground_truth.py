"""Evaluation records, decoded one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from odapi.console.errors import UserError, op_reason
from odapi.pipeline.inputs import EvalRecords
from odapi.records import framing


@dataclass(frozen=True)
class GroundTruth:
    """The annotated objects of one image.

    Attributes:
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax in pixels.
        classes: int64 [N], ids of the label map.
        crowd: int64 [N], 1 where a box stands for a group: finding it is neither right nor wrong.
        areas: float32 [N] in pixels, or None where the record has none.
        masks: uint8 [N, H, W] of 0 and 1; None where the record does not have one for every box,
            or the reader does not load them.
        source_id: `image/source_id`, may be empty.
        filename: `image/filename`, may be empty.
    """

    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray | None = None
    masks: np.ndarray | None = None
    source_id: str = ""
    filename: str = ""


def read_examples(records: EvalRecords, every: int = 1) -> Iterator[tuple[np.ndarray, GroundTruth]]:
    """Decodes records as ODAPI does, in order and at their own size.

    Yields:
        The image, uint8 [H, W, 3] RGB, and what is in it.

    Raises:
        UserError: a record cannot be decoded, or holds a class that the label map lacks.
    """
    import tensorflow as tf
    from object_detection.builders import decoder_builder
    from object_detection.core.standard_fields import InputDataFields as Fields

    files, names = records.files, records.names
    framing.check(files)
    decoder = decoder_builder.build(records.reader)
    dataset = tf.data.TFRecordDataset(files).shard(every, 0).map(decoder.decode).prefetch(2)
    options = tf.data.Options()
    # Its thread is not always told of the end, and then lets it wait for up to a minute: 20 s of an
    # evaluation of 25 (TensorFlow 2.21). And there is nothing to tune.
    options.autotune.enabled = False
    examples = iter(dataset.with_options(options))
    index = -1
    while True:
        index += 1
        at = f"{', '.join(files)}: record {index * every + 1}"
        try:
            example = next(examples)
        except StopIteration:
            return
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            raise UserError(
                f"a record cannot be decoded: {op_reason(error).splitlines()[0]}",
                at=at,
                hint="write the record again, or leave it out",
            ) from None
        except UnicodeDecodeError:
            # TensorFlow quotes the record in its message, which is then no text.
            raise UserError(
                "a record cannot be decoded: it is not a tf.train.Example",
                at=at,
                hint="write the record again, or leave it out",
            ) from None
        image = example[Fields.image].numpy()
        truth = _ground_truth(example, *image.shape[:2])
        unknown = sorted(set(truth.classes.tolist()) - set(names))
        if unknown:
            what = "a class name" if unknown == [-1] else f"class {unknown[0]}"
            raise UserError(
                f"a box has {what} that the label map lacks",
                at=f"{at}, image/object/class; {records.reader.label_map_path}",
                hint=f"the label map has {', '.join(f'{i} {name}' for i, name in names.items())}",
            )
        yield image, truth


def _ground_truth(example: dict[str, Any], height: int, width: int) -> GroundTruth:
    """What a decoded record says of its image. Masks of another shape are none."""
    from object_detection.core.standard_fields import InputDataFields as Fields

    boxes = example[Fields.groundtruth_boxes].numpy() * [height, width, height, width]
    classes = example[Fields.groundtruth_classes].numpy().astype(np.int64)
    crowd = example[Fields.groundtruth_is_crowd].numpy().astype(np.int64)
    areas = example[Fields.groundtruth_area].numpy()
    masks = None
    if Fields.groundtruth_instance_masks in example:
        masks = example[Fields.groundtruth_instance_masks].numpy()
        fits = masks.shape == (len(classes), height, width)
        masks = masks.astype(np.uint8) if fits else None
    return GroundTruth(
        boxes.astype(np.float32).reshape(-1, 4),
        classes,
        crowd if len(crowd) == len(classes) else np.zeros(len(classes), np.int64),
        areas if len(areas) == len(classes) else None,
        masks,
        _text(example.get(Fields.source_id)),
        _text(example.get(Fields.filename)),
    )


def _text(value: Any) -> str:
    return "" if value is None else value.numpy().decode("utf-8", errors="replace")
