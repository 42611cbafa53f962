# Copyright 2026 The odapi-keras Authors. All Rights Reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
# ==============================================================================
"""Any Keras image classifier as the feature extractor of SSD.

The classifier is cut at those of the strides 8, 16 and 32 that it has, or else
at its deepest, where every path from its input to its output passes (see
`classifier_cut`). Further layers of halving size follow, or a feature pyramid is
built on these.
"""
import abc

import tensorflow.compat.v1 as tf

from object_detection.meta_architectures import ssd_meta_arch
from object_detection.models import feature_map_generators
from object_detection.models.keras_models import classifier_backbone
from object_detection.utils import ops
from object_detection.utils import shape_utils

# Depths of the layers after the classifier's: Liu et al., "SSD: Single Shot
# MultiBox Detector" (arXiv:1512.02325), section 3.1.
_EXTRA_DEPTHS = (512, 256, 256, 256)
# As many as with three maps of the classifier.
MOST_LAYERS = 7
# The last level of a pyramid that is the classifier's: stride 32.
_LAST_LEVEL = 5


class _SSDKerasClassifierFeatureExtractor(
    ssd_meta_arch.SSDKerasFeatureExtractor):
  """What the extractors with and without a pyramid have in common."""

  def __init__(self, source, choose, **kwargs):
    """Constructor.

    Args:
      source: A network of tf.keras.applications, or a folder that holds
        `backbone.json`.
      choose: Takes the strides of the classifier's maps, in ascending order, and
        returns those to use.
      **kwargs: See base class. `depth_multiplier`, `min_depth`,
        `use_explicit_padding`, `use_depthwise` and `conv_hyperparams` apply to
        the layers that are added; with
        `override_base_feature_extractor_hyperparams` the regularizer of the
        latter also applies to the kernels of the classifier.

    Raises:
      ValueError: If the classifier cannot be read.
    """
    super(_SSDKerasClassifierFeatureExtractor, self).__init__(**kwargs)
    regularizer = None
    if self._override_base_feature_extractor_hyperparams:
      regularizer = self._conv_hyperparams.params()['kernel_regularizer']
    backbone = classifier_backbone.Backbone(
        classifier_backbone.BackboneDescription.read(source),
        self._is_training and not self._freeze_batchnorm, regularizer)
    self._preprocessing = backbone.description.preprocessing
    self._strides = choose([cut.stride for cut in backbone.map_cuts()])
    self.backbone = backbone.maps(self._strides)

  @property
  def classification_backbone(self):
    """The layers that a classification checkpoint holds, keyed by name."""
    return tf.train.Checkpoint(**{
        layer.name: layer for layer in self.backbone.layers if layer.weights})

  def preprocess(self, resized_inputs):
    """Preprocesses as the classifier's images were.

    Args:
      resized_inputs: RGB in 0..255, float32 [batch, height, width, 3].

    Returns:
      Float32 [batch, height, width, channels].
    """
    return self._preprocessing(resized_inputs)

  def _extract_features(self, preprocessed_inputs):
    """Extracts features from preprocessed inputs.

    Args:
      preprocessed_inputs: Float32 [batch, height, width, channels].

    Returns:
      A list of tensors, the i-th of shape [batch, height_i, width_i, depth_i].
    """
    images = ops.pad_to_multiple(
        shape_utils.check_min_image_dim(33, preprocessed_inputs),
        self._pad_to_multiple)
    maps = self.backbone(images)
    maps = maps if isinstance(maps, list) else [maps]
    return self._pyramid(maps, shape_utils.combined_static_and_dynamic_shape(
        images)[1:3])

  @abc.abstractmethod
  def _pyramid(self, maps, size):
    """Returns the feature maps of all sizes.

    Args:
      maps: The classifier's, float32 [batch, height_i, width_i, depth_i].
      size: Height and width of the images.
    """


class SSDKerasClassifierFeatureExtractor(_SSDKerasClassifierFeatureExtractor):
  """SSD on the features of a Keras image classifier."""

  def __init__(self, source, num_layers=6, **kwargs):
    """Constructor.

    Args:
      source: See base class.
      num_layers: Feature maps in all, up to 3 of which are the classifier's.
      **kwargs: See base class.

    Raises:
      ValueError: See base class; or if there are too few or too many layers.
    """
    super(SSDKerasClassifierFeatureExtractor, self).__init__(
        source, lambda strides: strides[:num_layers], num_layers=num_layers,
        **kwargs)
    extra = num_layers - len(self._strides)
    if not 1 <= num_layers <= MOST_LAYERS:
      raise ValueError('`num_layers` must be from 1 to %d.' % MOST_LAYERS)
    depths = _EXTRA_DEPTHS[:1] * (extra - len(_EXTRA_DEPTHS)) + _EXTRA_DEPTHS
    self._names = ['stride_%d' % stride for stride in self._strides]
    self._generator = feature_map_generators.KerasMultiResolutionFeatureMaps(
        feature_map_layout={
            'from_layer': self._names + [''] * extra,
            'layer_depth': [-1] * len(self._strides) + list(depths[:extra]),
            'use_depthwise': self._use_depthwise,
            'use_explicit_padding': self._use_explicit_padding,
        },
        depth_multiplier=self._depth_multiplier,
        min_depth=self._min_depth,
        insert_1x1_conv=True,
        is_training=self._is_training,
        conv_hyperparams=self._conv_hyperparams,
        freeze_batchnorm=self._freeze_batchnorm,
        name='FeatureMaps')

  def _pyramid(self, maps, size):
    return list(self._generator(dict(zip(self._names, maps))).values())


class SSDKerasClassifierFpnFeatureExtractor(
    _SSDKerasClassifierFeatureExtractor):
  """SSD on a feature pyramid over a Keras image classifier."""

  def __init__(self,
               source,
               fpn_min_level=3,
               fpn_max_level=7,
               additional_layer_depth=256,
               **kwargs):
    """Constructor.

    Args:
      source: See base class.
      fpn_min_level: First level of the pyramid, 2 to which is a stride of the
        classifier's maps.
      fpn_max_level: Last level. From 6 on, and before where the classifier ends,
        each is convolved from the one before.
      additional_layer_depth: Depth of the pyramid.
      **kwargs: See base class.

    Raises:
      ValueError: See base class; or if the levels are not as above.
    """

    def choose(strides):
      levels = []
      for level in range(fpn_min_level, min(fpn_max_level, _LAST_LEVEL) + 1):
        if 2 ** level not in strides:
          break
        levels.append(level)
      if not levels:
        raise ValueError(
            'The pyramid is to go from level %d to %d, and the first has to be '
            'a stride of the classifier: %s.' % (
                fpn_min_level, fpn_max_level,
                ', '.join('%d' % stride for stride in strides)))
      return [2 ** level for level in levels]

    super(SSDKerasClassifierFpnFeatureExtractor, self).__init__(
        source, choose, **kwargs)
    levels = [stride.bit_length() - 1 for stride in self._strides]
    depth = max(int(additional_layer_depth * self._depth_multiplier),
                self._min_depth)
    self._names = ['level_%d' % level for level in levels]
    self._generator = feature_map_generators.KerasFpnTopDownFeatureMaps(
        num_levels=len(levels),
        depth=depth,
        use_depthwise=self._use_depthwise,
        use_explicit_padding=self._use_explicit_padding,
        is_training=self._is_training,
        conv_hyperparams=self._conv_hyperparams,
        freeze_batchnorm=self._freeze_batchnorm,
        name='FeatureMaps')
    self._coarse_layers = [
        feature_map_generators.create_conv_block(
            self._use_depthwise, 3, 'SAME', 2, 'level_%d' % level,
            self._conv_hyperparams, self._is_training, self._freeze_batchnorm,
            depth) for level in range(levels[-1] + 1, fpn_max_level + 1)]

  def _pyramid(self, maps, size):
    # Convolutions without padding make maps that are a little too small, and
    # those of the pyramid have to double from level to level.
    whole = [tf.image.resize_with_crop_or_pad(
        features, -(-size[0] // stride), -(-size[1] // stride))
             for features, stride in zip(maps, self._strides)]
    results = list(self._generator(list(zip(self._names, whole))).values())
    for coarse_layers in self._coarse_layers:
      coarser = results[-1]
      for layer in coarse_layers:
        coarser = layer(coarser)
      results.append(coarser)
    return results
