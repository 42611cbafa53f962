"""What of a detector follows from the strides of its classifier: image size, anchors, numbers.

Recipes are for networks that come to stride 16 and 32, as those trained on ImageNet do. A network
for small images ends at 4 or 8. The detector's images are then smaller in the same proportion: its
objects have about the size that the classifier has seen, and its feature maps the usual number of
points. 600x1000 pixels at stride 1 would have 7 million anchors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import object_detection  # noqa: F401  (settles Keras 2, before the protos load TensorFlow)
from object_detection.protos import faster_rcnn_pb2, ssd_pb2

_STRIDE = 16
"""Of the first stage of Faster R-CNN; arXiv:1506.01497, section 3.3, as the sizes below."""
_SHORTER, _LONGER = 600, 1000
_ANCHOR = 256
"""Side of the anchor of scale 1, in pixels, at that stride: `grid_anchor_generator.proto`."""
_FEWER_PROPOSALS = 100
"""In training and use: a small image holds fewer objects than 300 proposals are for."""
_SMALLER_BATCH = 64
"""Proposals a step for the second stage, of these."""
_PREDICTOR_DEPTH = 256
"""Of the region proposal network, as for the smaller network ZF: arXiv:1506.01497, section 3.1."""

_SSD_SIDE, _PYRAMID_SIDE = 320, 640
_FIRST_MAP = 8
"""Stride of SSD's first map that goes with these sides."""
_LEVELS = 5
"""Of a pyramid: 3 to 7, arXiv:1708.02002, section 4."""
_LAST_LEVEL = 7


def faster_rcnn_image_size(stride: int = _STRIDE) -> tuple[int, int]:
    """Pixels of the shorter side, and the most that the longer may have."""
    share = min(1.0, stride / _STRIDE)
    return math.ceil(_SHORTER * share), math.ceil(_LONGER * share)


def ssd_image_size(strides: Sequence[int], pyramid: bool) -> tuple[int, int]:
    """Height and width.

    Args:
        strides: of the classifier's maps, in ascending order.
        pyramid: whether a pyramid is built on them.
    """
    share = min(1.0, strides[0] / _FIRST_MAP)
    side = round((_PYRAMID_SIDE if pyramid else _SSD_SIDE) * share)
    return side, side


def fit_faster_rcnn(model: faster_rcnn_pb2.FasterRcnn, stride: int, crop: int) -> None:
    """Fits the recipe's anchors and numbers to a first stage, and its crops to the second.

    Args:
        model: what `recipes.faster_rcnn` made for this stride.
        stride: of the first stage.
        crop: height and width of what the second stage is given of each proposal, in points.
    """
    if model.initial_crop_size // model.maxpool_stride < crop:
        model.initial_crop_size = crop
        model.maxpool_kernel_size = model.maxpool_stride = 1
    if stride >= _STRIDE:
        return
    grid = model.first_stage_anchor_generator.grid_anchor_generator
    grid.height = grid.width = _ANCHOR * stride // _STRIDE
    model.first_stage_max_proposals = _FEWER_PROPOSALS
    model.second_stage_batch_size = _SMALLER_BATCH
    model.first_stage_box_predictor_depth = _PREDICTOR_DEPTH


def pyramid_levels(strides: Sequence[int]) -> tuple[int, int]:
    """First and last level of a pyramid whose first map has the classifier's first stride."""
    first = strides[0].bit_length() - 1
    return first, max(first, min(_LAST_LEVEL, first + _LEVELS - 1))


def fit_ssd(model: ssd_pb2.Ssd, strides: Sequence[int], channels: int) -> None:
    """Fits the recipe's pyramid, if it has one, and the depth of the layers that are added.

    Args:
        model: what `recipes.ssd` made.
        strides: of the classifier's maps, in ascending order.
        channels: of the last of them.
    """
    extractor = model.feature_extractor
    if strides[-1] < _FIRST_MAP:
        # Layers of 512 channels on a network of 64 would be nearly all of the detector.
        extractor.depth_multiplier = min(1.0, max(0.125, channels / 512))
        extractor.min_depth = 16
    if extractor.HasField("fpn"):
        first, last = pyramid_levels(strides)
        anchors = model.anchor_generator.multiscale_anchor_generator
        for holder in (extractor.fpn, anchors):
            holder.min_level, holder.max_level = first, last
