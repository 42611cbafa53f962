"""The pipeline config of the detector that is made from a classifier."""

from __future__ import annotations

from pathlib import Path

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from google.protobuf.message import DecodeError
from object_detection.models.keras_models import classifier_backbone
from object_detection.protos import pipeline_pb2
from object_detection.utils import label_map_util

from odapi.console.errors import UserError
from odapi.convert import checkpoint, recipes, scale
from odapi.convert.backbone import AdaptedClassifier
from odapi.convert.request import Architecture, Request

_COCO_CLASSES = 90


def on_any_classifier(
    request: Request, output: Path, settings: recipes.TrainingSettings, adapted: AdaptedClassifier
) -> pipeline_pb2.TrainEvalPipelineConfig:
    """The config of a detector on any classifier.

    Raises:
        UserError: the image size does not go with its pyramid.
    """
    extractor = f"{classifier_backbone.TYPE_PREFIX}{output}"
    if request.architecture.is_ssd:
        return _ssd(request, settings, extractor, adapted)
    stride = adapted.first_stage_cut().stride
    masks = request.architecture is Architecture.MASK_RCNN
    config = recipes.faster_rcnn(
        settings,
        extractor=extractor,
        stride=stride,
        masks=masks,
        image_size=request.image_size or scale.faster_rcnn_image_size(stride),
    )
    scale.fit_faster_rcnn(config.model.faster_rcnn, stride, adapted.crop_size())
    return config


def _ssd(
    request: Request,
    settings: recipes.TrainingSettings,
    extractor: str,
    adapted: AdaptedClassifier,
) -> pipeline_pb2.TrainEvalPipelineConfig:
    cuts = adapted.map_cuts()
    strides = [cut.stride for cut in cuts]
    pyramid = request.architecture is Architecture.SSD_FPN
    size = request.image_size or scale.ssd_image_size(strides, pyramid)
    if pyramid:
        last = 2 ** scale.pyramid_levels(strides)[1]
        if any(side % last for side in size):
            raise UserError(
                f"--image_size of ssd_fpn has to be multiples of {last}, the stride of its last "
                "level",
                at=" ".join(map(str, size)),
            )
    config = recipes.ssd(settings, extractor=extractor, fpn=pyramid, image_size=size)
    scale.fit_ssd(config.model.ssd, strides, cuts[-1].channels)
    return config


def training_settings(
    request: Request, output: Path, model: tf.keras.Model
) -> tuple[recipes.TrainingSettings, list[str]]:
    """What the config says of the data, and what the user should check of it."""
    num_classes, to_fill_in = _num_classes(request, model)
    settings = recipes.TrainingSettings(
        num_classes,
        fine_tune_checkpoint=str(output / checkpoint.NAME),
        train_records=_absolute(request.train_records) or recipes.TRAIN_RECORDS,
        eval_records=_absolute(request.eval_records) or recipes.EVAL_RECORDS,
        label_map=_absolute(request.label_map) or recipes.LABEL_MAP,
    )
    to_fill_in += [
        field
        for field, given in (
            ("label_map_path, twice", request.label_map),
            ("train_input_reader's input_path", request.train_records),
            ("eval_input_reader's input_path", request.eval_records),
        )
        if not given
    ]
    return settings, to_fill_in


def _num_classes(request: Request, model: tf.keras.Model) -> tuple[int, list[str]]:
    """Classes of the detector, and what the user should check of them."""
    in_map = _classes_of_label_map(request.label_map) if request.label_map else None
    if in_map is not None:
        if request.num_classes not in (None, in_map):
            raise UserError(
                f"--num_classes is {request.num_classes}, and the label map goes up to {in_map}",
                at=str(request.label_map),
                hint="leave out --num_classes",
            )
        return in_map, []
    if request.num_classes is not None:
        return request.num_classes, []
    shape = model.output_shape
    if isinstance(shape, tuple) and len(shape) == 2:
        classes = shape[-1]
        if classes == 1:
            return 2, ["num_classes (2: the classifier has one score, for either of two)"]
        return classes, [f"num_classes ({classes}, as in the classifier)"]
    return _COCO_CLASSES, [f"num_classes ({_COCO_CLASSES}, as in COCO)"]


def _classes_of_label_map(path: str) -> int:
    try:
        return label_map_util.get_max_label_map_index(label_map_util.load_labelmap(path))
    except (ValueError, TypeError, DecodeError, OSError, tf.errors.OpError) as error:
        # Text that does not parse is tried as a binary label map, hence the two in the middle.
        raise UserError(
            f"the label map cannot be read: {str(error).splitlines()[0]}",
            at=path,
            hint="it has an item { id: 1 name: '...' } for each class, from 1 on",
        ) from error


def _absolute(path: str | None) -> str | None:
    """A path that holds wherever training is started from; URLs stay as they are."""
    return path if path is None or "://" in path else str(Path(path).absolute())
