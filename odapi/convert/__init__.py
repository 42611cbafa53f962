"""From a Keras classifier to the checkpoint and config that a detector trains from.

Data flows one way: `reading` is the door for files, `live` for models of this process, and `source`
takes either; `vgg16` finds VGG-16 in it, or `backbone` takes any other one apart, with the
`preprocessing` of its images; either makes a `plan`, and `checkpoint` writes what it holds.
`restore` reads that back as training does, `parity` and `report` compare. `transfer` runs them in
that order into an `artefact`, and `command` is its command line. `brief` prints a report, and
`transfer_page` shows it, with `cut_drawing` of the `stages` that the detector takes.

From Python, the package itself is the function: `odapi.convert(model=model, output_dir=...)`.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from odapi.convert.report import TransferReport


class _Convert(types.ModuleType):
    """This package, which can be called: a function of its name would hide its modules."""

    def __call__(
        self,
        source: str | Path | None = None,
        *,
        output_dir: str | Path,
        model: Any = None,
        architecture: str = "faster_rcnn",
        **options: Any,
    ) -> TransferReport:
        """Converts a classifier, as `odapi convert` does, and prints how it goes.

        Args:
            source: a file, a folder, or a name of keras.applications. Files are data: what only
                code could make is refused.
            output_dir: the folder to write.
            model: a functional or sequential model of Keras 2 or 3 in place of `source`. Its layers
                may be of classes of your own.
            architecture: `faster_rcnn`, `mask_rcnn`, `ssd` or `ssd_fpn`.
            **options: the other fields of `odapi.convert.request.Request`: `preprocessing`,
                `drop_layer`, `label_map`, `train_records`, `num_classes`, `verbose` and so on.

        Returns:
            The transfer report, which is also in `output_dir`.

        Raises:
            odapi.UserError: the classifier will not do, or its weights did not arrive.
        """
        from odapi.convert.request import Architecture, Request
        from odapi.convert.transfer import convert

        return convert(
            Request(
                source=None if source is None else str(source),
                output_dir=Path(output_dir),
                model=model,
                architecture=Architecture(architecture),
                **options,
            )
        )


sys.modules[__name__].__class__ = _Convert
