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
from odapi.convert import preprocessing
from odapi.convert.plan import Plan, Probe, Unused, Weight, leaves
from odapi.convert.reading.text import one_line
from odapi.convert.source import Classifier

_Found = TypeVar("_Found")

FIRST_STAGE_STRIDE = 16
"""Of the first stage of Faster R-CNN, in pixels: arXiv:1506.01497, section 3.3."""
SSD_STRIDES = (8, 16, 32)
"""Of the features that SSD takes from the classifier; `ssd_keras_classifier` has the same."""


class AdaptedClassifier:
    """A classifier whose trunk was rebuilt for a detector.

    Attributes:
        backbone: its layers, rebuilt, with its weights.
        preprocessing: of its images, as the detector does it.
    """

    def __init__(
        self, classifier: Classifier, user_choice: str | None, cut_layer: str | None
    ) -> None:
        """Rebuilds a classifier's trunk.

        Args:
            classifier: the classifier.
            user_choice: what the user says of the preprocessing, or None.
            cut_layer: with which the first stage ends, or None for the recommended one.

        Raises:
            UserError: it cannot be taken apart, or its preprocessing is not known.
        """
        self._classifier = classifier
        self.backbone = rebuild(classifier, cut_layer)
        self.preprocessing, self._reference = preprocessing.decide(
            user_choice, classifier, self.backbone.trunk.layers
        )
        for name, layer in self.backbone.layers.items():
            values = classifier_backbone.variables_of(self.backbone.origins[name])
            for key, variable in classifier_backbone.variables_of(layer).items():
                variable.assign(tf.cast(values[key], variable.dtype))

    def write(self, folder: Path) -> None:
        """Writes backbone.json, which with the checkpoint is the artefact.

        Raises:
            UserError: no file may name one of its layers.
        """
        description = classifier_backbone.BackboneDescription(
            self.backbone.trunk, self.preprocessing, self.backbone.description.cut_layer
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
            lambda: self.backbone.first_stage_cut(FIRST_STAGE_STRIDE),
            "--list_cuts shows where it can be cut, and --cut_layer chooses",
        )

    def plan(self, ssd: bool) -> Plan:
        """What goes into the detector, SSD or else Faster R-CNN.

        Raises:
            UserError: the classifier has no cuts where the detector needs them.
        """
        if ssd:
            cuts = self._find(
                lambda: self.backbone.map_cuts(SSD_STRIDES),
                "SSD needs cuts at strides 8, 16 and 32; --list_cuts shows those there are",
            )
            used = {layer.name for layer in self.backbone.maps(SSD_STRIDES).layers}
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
            preprocessing=self._reference,
            unused=self._unused({id(origins[name]) for name in used & origins.keys()}),
            notes=self._notes(cuts),
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

    def _notes(self, cuts: list[Cut]) -> tuple[str, ...]:
        notes = [
            "features: " + ", ".join(f"{cut.name} (stride {cut.stride})" for cut in cuts),
            f"preprocessing: {self.preprocessing.mode}, {self.preprocessing.channels}, "
            f"by {self._reference.description}",
        ]
        origins = self.backbone.origins
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
