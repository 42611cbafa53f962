"""`odapi convert --list_cuts`: where a classifier can be cut into backbone and head."""

from __future__ import annotations

import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
from object_detection.models.keras_models.classifier_cut import CutError

from odapi.console.terminal import shown
from odapi.convert.backbone import rebuild
from odapi.convert.source import Classifier


def table(classifier: Classifier) -> str:
    """Returns a row for each cut, `*` marking the ends of blocks, and those that convert chooses.

    Raises:
        UserError: the model cannot be taken apart.
    """
    backbone = rebuild(classifier)
    try:
        ssd = "SSD: " + ", ".join(shown(cut.name) for cut in backbone.map_cuts())
    except CutError as error:
        ssd = f"no SSD: {shown(error)}"
    try:
        cut = backbone.first_stage_cut()
        verdict = f"first stage of Faster R-CNN: up to {shown(cut.name)}"
    except CutError as error:
        verdict = f"no first stage of Faster R-CNN: {shown(error)}"
    rows = [("layer", "stride", "channels", "before", "after", "")]
    rows += [
        (
            shown(cut.name),
            str(cut.stride),
            str(cut.channels),
            f"{cut.parameters_before:,}",
            f"{cut.parameters_after:,}",
            "*" if cut.ends_block else "",
        )
        for cut in backbone.cuts
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
    return "\n".join(
        [
            *lines,
            "before, after: parameters up to the cut, and from there to the classification head",
            "*: a block ends here",
            ssd,
            verdict,
        ]
    )
