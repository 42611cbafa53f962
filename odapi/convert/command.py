"""`odapi convert`: the command line of `transfer`."""

from __future__ import annotations

import argparse
from pathlib import Path

from odapi.console.arguments import add_flag, positive
from odapi.console.errors import UserError

DESCRIPTION = """\
Turns a Keras image classifier into what a detector trains from: a checkpoint, a pipeline.config,
and transfer_report.json, which proves that the weights arrived. The checkpoint is read back as
training reads it; every weight is compared by hash, and the features of both models on the same
photographs. If anything is missing, nothing is written. transfer_report.html shows all of it, with
the cut and the features; --verbose prints the table of all variables as well.

SOURCE is one of
  model.json              the architecture (model.to_json()), with --weights weights.h5
  model.h5, model.keras   a whole model
  saved_model/            a folder that model.save() of Keras 2 wrote
  ResNet50, VGG16, ...    a network of keras.applications, with --weights

Files of Keras 2 (tf_keras) and of Keras 3 will do. A model of Keras 3 is made anew of Keras 2's
layers, and each is compared on images; a layer that Keras 2 does not have is named.

The classifier is cut where all paths through it meet: for Faster R-CNN and Mask R-CNN at stride 16,
what follows becoming the second stage; for SSD at strides 8, 16 and 32. Its head stays behind, and
the report lists it. --list_cuts shows the places.

VGG-16 becomes the Faster R-CNN of the paper: its thirteen convolutions are found by their order,
whatever their names, the input size and the head, and fc1 and fc2 are the second stage. They come
along if the model has VGG-16's own; otherwise they start from fresh values. --tail conv takes
block5 for the second stage instead.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `odapi convert`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", metavar="SOURCE", help="the classifier: see above")
    add_flag(
        parser,
        "--output_dir",
        type=Path,
        metavar="DIR",
        help="folder to write; needed to convert",
    )
    parser.add_argument(
        "--list_cuts", action="store_true", help="only list where the classifier can be cut"
    )
    _add_conversion(parser)
    _add_data(parser)
    add_flag(
        parser,
        "--force",
        action="store_true",
        help="replace what an earlier convert wrote to DIR",
    )


def _add_conversion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        metavar="PATH|imagenet|none",
        help="weights of model.json, or of a name (default for a name: imagenet, a download; "
        "none: random values)",
    )
    parser.add_argument(
        "--architecture",
        choices=("faster_rcnn", "mask_rcnn", "ssd", "ssd_fpn"),
        default="faster_rcnn",
        help="the detector of pipeline.config (default: faster_rcnn); the checkpoint serves all, "
        "but for the one with fc1 and fc2",
    )
    parser.add_argument(
        "--preprocessing",
        metavar="MODE",
        help="how the classifier's images were preprocessed: caffe, tf, torch or none as in "
        "keras.applications, unit (divided by 255), or 'scale=S,S,S offset=O,O,O channels=rgb|bgr' "
        "(default: known for names and VGG-16, or found in the model; else an error that asks)",
    )
    parser.add_argument(
        "--preprocessing_in_front",
        action="store_true",
        help="the classifier preprocesses by itself, and its images had gone through "
        "--preprocessing before: do both",
    )
    parser.add_argument(
        "--drop_layer",
        metavar="LAYER",
        help="leave out this leading layer, unread: a Lambda, or a class of your own, which only "
        "your code can make. Say with --preprocessing what it did to images",
    )
    parser.add_argument(
        "--cut_layer", metavar="LAYER", help="end the first stage after this layer of --list_cuts"
    )
    parser.add_argument(
        "--tail",
        choices=("fc", "conv"),
        help="second stage of Faster R-CNN on VGG-16: fc1 and fc2 (default), or block5's layers",
    )
    parser.add_argument(
        "--format",
        choices=("tf2", "tf1"),
        default="tf2",
        help="checkpoint for TF2 behaviour (default), or by variable name for TF1 behaviour",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--label_map", metavar="PATH", help="label map, for pipeline.config")
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
        metavar=("SHORTER", "LONGER"),
        help="pixels to which images are resized: the shorter side, and the most that the longer "
        "may have (default: 600 1000); of ssd height and width (default: 320 320, ssd_fpn 640 640)",
    )


def run(args: argparse.Namespace) -> int:
    """Converts, or lists cuts, and returns 0; what fails raises UserError."""
    if args.list_cuts:
        from odapi.convert import cuts
        from odapi.convert.source import load_classifier

        print(cuts.table(load_classifier(args.source, args.weights, args.drop_layer)))
        return 0
    if args.output_dir is None:
        raise UserError("there is nowhere to write to", hint="add --output_dir DIR")
    from odapi.convert.request import Architecture, Request, Tail
    from odapi.convert.transfer import convert

    convert(
        Request(
            source=args.source,
            output_dir=args.output_dir,
            weights=args.weights,
            drop_layer=args.drop_layer,
            architecture=Architecture(args.architecture),
            preprocessing=args.preprocessing,
            preprocessing_in_front=args.preprocessing_in_front,
            cut_layer=args.cut_layer,
            tail=Tail(args.tail) if args.tail else None,
            format=args.format,
            label_map=args.label_map,
            train_records=args.train_records,
            eval_records=args.eval_records,
            num_classes=args.num_classes,
            image_size=tuple(args.image_size) if args.image_size else None,
            force=args.force,
            verbose=args.verbose,
        )
    )
    return 0
