"""Adapts any classifier as a backbone: the layers that a detector takes, and their artefact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import object_detection  # noqa: F401  (settles Keras 2, before the first use of tf.keras)
import tensorflow as tf
from object_detection.models.keras_models import (
    classifier_backbone,
    classifier_preprocessing,
    keras_graph,
)
from object_detection.models.keras_models.classifier_cut import Cut, CutError

from odapi.console.errors import UserError
from odapi.convert import preprocessing, stages
from odapi.convert.plan import Plan, Probe, Unused, Weight, leaves
from odapi.convert.reading.text import one_line
from odapi.convert.request import Request
from odapi.convert.source import Classifier

_Found = TypeVar("_Found")

_CROPS = (7, 14, 28)
"""Height and width of a proposal for the second stage, in points: 7 as in arXiv:1506.01497 for
VGG-16, and more for layers without padding that would leave nothing of it."""


class AdaptedClassifier:
    """A classifier whose trunk was rebuilt for a detector.

    Attributes:
        backbone: its layers, rebuilt, with its weights.
        preprocessing: of its images.
    """

    def __init__(self, classifier: Classifier, request: Request, assumed: str | None) -> None:
        """Rebuilds a classifier's trunk.

        Args:
            classifier: the classifier.
            request: says what the user knows of the preprocessing, and where to cut.
            assumed: the mode of preprocessing where neither the user nor the classifier tells.

        Raises:
            UserError: it cannot be taken apart, or its preprocessing is not known.
        """
        self._classifier = classifier
        self.backbone = rebuild(classifier, request.cut_layer)
        for name, layer in self.backbone.layers.items():
            values = classifier_backbone.variables_of(self.backbone.origins[name])
            for key, variable in classifier_backbone.variables_of(layer).items():
                variable.assign(tf.cast(values[key], variable.dtype))
        classifier_backbone.finalize_states(self.backbone.trunk)
        self.preprocessing = preprocessing.decide(
            request.preprocessing,
            classifier,
            self.backbone.trunk,
            in_front=request.preprocessing_in_front,
            assumed=assumed,
        )

    def write(self, folder: Path) -> None:
        """Writes backbone.json, which with the checkpoint is the artefact.

        Raises:
            UserError: no file may name one of its layers.
        """
        description = classifier_backbone.BackboneDescription(
            self.backbone.trunk, self.preprocessing.detector, self.backbone.description.cut_layer
        )
        try:
            description.write(folder)
        except keras_graph.Refusal as refusal:
            raise UserError(
                refusal.reason,
                at=f"{self._classifier.origin}, layer {refusal.layer!r}",
                hint="write it as a class of its own, derived from tf.keras.layers.Layer",
            ) from None

    def first_stage_cut(self) -> Cut:
        """Where Faster R-CNN cuts.

        Raises:
            UserError: nowhere.
        """
        return self._find(
            self.backbone.first_stage_cut,
            "--list_cuts shows where it can be cut, and --cut_layer chooses",
        )

    def map_cuts(self) -> list[Cut]:
        """Where SSD takes its maps, by ascending stride.

        Raises:
            UserError: nowhere.
        """
        return self._find(
            self.backbone.map_cuts,
            "SSD needs a cut at stride 8, 16 or 32; --list_cuts shows those there are",
        )

    def crop_size(self) -> int:
        """Height and width of the crops that the second stage takes, in points.

        Raises:
            UserError: it leaves nothing of the largest.
        """
        cut = self.first_stage_cut()
        _, second_stage = self.backbone.stages(cut.stride)
        for side in _CROPS:
            try:
                output = second_stage(tf.keras.Input((side, side, cut.channels)))
            except ValueError:  # a kernel larger than what is left
                continue
            if min(output.shape[1:3]) > 0:
                return side
        raise UserError(
            f"the layers after {cut.name!r} leave nothing of {side}x{side} points",
            at=self._classifier.origin,
            hint="--list_cuts shows where else it can be cut, and --cut_layer chooses",
        )

    def plan(self, ssd: bool) -> Plan:
        """What goes into the detector, SSD or else Faster R-CNN.

        Raises:
            UserError: the classifier has no cuts where the detector needs them.
        """
        if ssd:
            cuts = self.map_cuts()
            used = {layer.name for layer in self.backbone.maps().layers}
        else:
            cuts = [self.first_stage_cut(), self.backbone.cuts[-1]]
            used = set(self.backbone.layers)
        origins = self.backbone.origins
        weights = tuple(
            Weight(
                layer=name,
                variable=key,
                shape=tuple(variable.shape),
                value=np.asarray(variable, np.float32),
                source=f"{origins[name].name}/{key}",
                matched_by="name",
            )
            for name in self.backbone.layers
            if name in used
            for key, variable in classifier_backbone.variables_of(origins[name]).items()
        )
        return Plan(
            weights=weights,
            probes=tuple(Probe(cut.name, origins[cut.name], cut.occurrence) for cut in cuts),
            preprocessing=self.preprocessing.reference,
            unused=self._unused({id(origins[name]) for name in used & origins.keys()}),
            stages=stages.of_cuts(self.backbone.cuts, cuts, ssd),
            preprocessing_note=self.preprocessing.note,
            notes=self._notes(),
            resizers=tuple(self.backbone.resizers),
        )

    def _unused(self, used: set[int]) -> tuple[Unused, ...]:
        trunk = {id(layer) for layer in self.backbone.origins.values()}
        return tuple(
            Unused(
                layer.name,
                type(layer).__name__,
                layer.count_params(),
                "after the last features that the detector takes"
                if id(layer) in trunk
                else "head of the classifier; the detector has its own",
            )
            for layer in leaves(self._classifier.model)
            if layer.weights and id(layer) not in used
        )

    def _notes(self) -> tuple[str, ...]:
        origins = self.backbone.origins
        notes = [
            f"layer {layer.name!r} ({type(layer).__name__}) was left out: the detector gives "
            "images their size, and augments them as the config says"
            for layer in self.backbone.left_out
        ]
        frozen = [name for name in self.backbone.layers if not origins[name].trainable]
        if frozen:
            notes.append(
                f"{len(frozen)} layers were frozen in the classifier; the detector trains them"
            )
        return tuple(notes)

    def _find(self, find: Callable[[], _Found], hint: str) -> _Found:
        try:
            return find()
        except CutError as error:
            raise UserError(str(error), at=self._classifier.origin, hint=hint) from None


def rebuild(classifier: Classifier, cut_layer: str | None = None) -> classifier_backbone.Backbone:
    """A classifier's trunk, its layers rebuilt with fresh weights.

    Raises:
        UserError: the model cannot be taken apart, or is not for images of 1 or 3 channels.
    """
    preprocessing.is_gray(classifier)
    placeholder = classifier_preprocessing.of_mode("none")
    try:
        return classifier_backbone.Backbone(
            classifier_backbone.BackboneDescription(classifier.model, placeholder, cut_layer)
        )
    except CutError as error:
        raise UserError(str(error), at=classifier.origin) from None
    except ValueError as error:  # a layer that works for images of the classifier's size alone
        raise UserError(
            f"the classifier cannot be built for images of any size: {one_line(error)}",
            at=classifier.origin,
            hint="replace the layer whose weights depend on the size of the image",
        ) from None
