"""`odapi convert`: the command line of `transfer`."""

from __future__ import annotations

import argparse
from pathlib import Path

from odapi.arguments import positive
from odapi.errors import UserError

DESCRIPTION = """\
Turns a Keras classifier that is built on VGG-16 into what a detector trains from: a checkpoint,
a pipeline.config, and transfer_report.json, which proves that the weights arrived. The checkpoint
is read back as training reads it; every weight is compared by hash, and the features of both
models on the same images. If anything is missing, nothing is written.

SOURCE is one of
  model.json              the architecture (model.to_json()), with --weights weights.h5
  model.h5, model.keras   a whole model
  saved_model/            a folder that model.save() of Keras 2 wrote
  VGG16                   keras.applications' model, with --weights

Files of Keras 2 (tf_keras) and of Keras 3 will do. A model of Keras 3 is made anew of Keras 2's
layers, and both are compared on an image; a layer that Keras 2 does not have is named.

The thirteen convolutions are found by their order in the model, whatever their names, the input
size and the head. fc1 and fc2 come along if the model has VGG-16's own; otherwise they start
from fresh values. Any other head stays behind, and the report lists it.

With --list_cuts SOURCE may be any image classifier, and any name of keras.applications: a table
of the tensors at which it can be cut into backbone and head is printed, and nothing is written.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `odapi convert`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", metavar="SOURCE", help="the classifier: see above")
    parser.add_argument(
        "--output_dir", type=Path, metavar="DIR", help="folder to write; needed to convert"
    )
    parser.add_argument(
        "--list_cuts", action="store_true", help="only list where the classifier can be cut"
    )
    parser.add_argument(
        "--weights",
        metavar="PATH|imagenet|none",
        help="weights of model.json, or of VGG16 (default for a name: imagenet, a download; "
        "none: random values)",
    )
    parser.add_argument(
        "--format",
        choices=("tf2", "tf1"),
        default="tf2",
        help="checkpoint for TF2 behaviour (default), or by variable name for TF1 behaviour",
    )
    parser.add_argument("--label_map", metavar="PATH", help="label map, for pipeline.config")
    parser.add_argument("--train_records", metavar="GLOB", help="TFRecords to train on")
    parser.add_argument("--eval_records", metavar="GLOB", help="TFRecords to evaluate on")
    parser.add_argument(
        "--num_classes",
        type=positive,
        metavar="N",
        help="classes of the detector (default: those of the label map, or of the classifier)",
    )
    parser.add_argument(
        "--image_size",
        type=positive,
        nargs=2,
        default=(600, 1000),
        metavar=("SHORTER", "LONGER"),
        help="pixels to which images are resized: the shorter side, and the most that the longer "
        "may have (default: 600 1000)",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace what an earlier convert wrote to DIR"
    )


def run(args: argparse.Namespace) -> int:
    """Converts, or lists cuts, and returns 0; what fails raises UserError."""
    if args.list_cuts:
        from odapi.convert import cuts
        from odapi.convert.source import load_classifier

        print(cuts.table(load_classifier(args.source, args.weights)))
        return 0
    if args.output_dir is None:
        raise UserError("there is nowhere to write to", hint="add --output_dir DIR")
    from odapi.convert.transfer import Request, convert

    convert(
        Request(
            source=args.source,
            output_dir=args.output_dir,
            weights=args.weights,
            format=args.format,
            label_map=args.label_map,
            train_records=args.train_records,
            eval_records=args.eval_records,
            num_classes=args.num_classes,
            image_size=(args.image_size[0], args.image_size[1]),
            force=args.force,
        )
    )
    return 0
