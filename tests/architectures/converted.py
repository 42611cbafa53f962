"""The detectors that `odapi convert` writes, shrunk to few proposals and detections."""

from __future__ import annotations

from pathlib import Path

from odapi.convert.request import Architecture as Kind
from tests.architectures.catalogue import MAX_DETECTIONS, Architecture

# So that only the gradient of a loss can change a weight of the classifier.
NO_DECAY = "conv_hyperparams { regularizer { l2_regularizer { weight: 0.0 } } }"
# Weights here are random, and with statistics of nothing the features of a deep network vanish:
# batch normalisation has to be trained.
FASTER_RCNN = f"""
model {{ faster_rcnn {{
  feature_extractor {{ batch_norm_trainable: true {NO_DECAY} }}
  first_stage_minibatch_size: 32
  first_stage_max_proposals: 8
  second_stage_batch_size: 8
  second_stage_post_processing {{ batch_non_max_suppression {{
    max_detections_per_class: {MAX_DETECTIONS} max_total_detections: {MAX_DETECTIONS}
  }} }}
}} }}
train_config {{ batch_size: 2 }}
"""
SSD = f"""
model {{ ssd {{
  freeze_batchnorm: false
  feature_extractor {{ {NO_DECAY} }}
  post_processing {{ batch_non_max_suppression {{
    max_detections_per_class: {MAX_DETECTIONS} max_total_detections: {MAX_DETECTIONS}
  }} }}
}} }}
train_config {{ batch_size: 2 }}
"""
MASKS = """
model { faster_rcnn { second_stage_box_predictor { mask_rcnn_box_predictor {
  mask_prediction_conv_depth: 16
} } } }
"""


def shrunk(folder: Path, name: str, kind: Kind, *more: str) -> Architecture:
    """What `folder/converted/pipeline.config` says, as an architecture to train.

    Args:
        folder: with records, and the result of a conversion.
        name: of the classifier, for reports.
        kind: of the detector.
        *more: pipeline configs as text, merged over it.
    """
    written = (folder / "converted" / "pipeline.config").read_text()
    masks = kind is Kind.MASK_RCNN
    pieces = (written, SSD if kind.is_ssd else FASTER_RCNN, *([MASKS] if masks else []), *more)
    return Architecture(kind.value, f"keras:{name}", pieces, masks=(14, 14) if masks else None)
