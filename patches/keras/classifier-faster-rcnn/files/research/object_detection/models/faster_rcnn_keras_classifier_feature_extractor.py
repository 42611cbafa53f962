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
"""Any Keras image classifier as the feature extractor of Faster R-CNN.

The classifier is cut where every path from its input to its output passes (see
`classifier_cut`): what comes before is the first stage, and what follows, up to
the pooling or flattening of the classification head, the second.
"""
import tensorflow.compat.v1 as tf

from object_detection.meta_architectures import faster_rcnn_meta_arch
from object_detection.models.keras_models import classifier_backbone


class FasterRCNNKerasClassifierFeatureExtractor(
    faster_rcnn_meta_arch.FasterRCNNKerasFeatureExtractor):
  """Faster R-CNN on a Keras image classifier."""

  def __init__(self,
               source,
               is_training,
               first_stage_features_stride=16,
               batch_norm_trainable=False,
               weight_decay=0.0,
               conv_hyperparams=None,
               override_base_feature_extractor_hyperparams=False):
    """Constructor.

    Args:
      source: A network of tf.keras.applications, or a folder that holds
        `backbone.json`.
      is_training: See base class.
      first_stage_features_stride: See base class.
      batch_norm_trainable: See base class.
      weight_decay: See base class. The penalty is half the squared norm of
        each kernel, times this.
      conv_hyperparams: A `hyperparams_builder.KerasLayerHyperparams` whose
        regularizer applies to every kernel, in place of `weight_decay`, or
        None.
      override_base_feature_extractor_hyperparams: Not supported: the
        classifier's weights fix what its layers are.

    Raises:
      ValueError: If the classifier cannot be read, or not be cut at
        `first_stage_features_stride`.
    """
    if override_base_feature_extractor_hyperparams:
      raise ValueError(
          '`override_base_feature_extractor_hyperparams` is not supported for '
          'a Keras classifier; only the regularizer of `conv_hyperparams` is '
          'used.')
    super(FasterRCNNKerasClassifierFeatureExtractor, self).__init__(
        is_training, first_stage_features_stride, batch_norm_trainable,
        weight_decay)
    regularizer = None
    if conv_hyperparams is not None:
      regularizer = conv_hyperparams.params()['kernel_regularizer']
    elif weight_decay:
      regularizer = tf.keras.regularizers.l2(weight_decay * 0.5)
    self._backbone = classifier_backbone.Backbone(
        classifier_backbone.BackboneDescription.read(source),
        self._train_batch_norm, regularizer)
    self._first_stage, self._second_stage = self._backbone.stages(
        first_stage_features_stride)

  @property
  def classification_backbone(self):
    """The layers that a classification checkpoint holds, keyed by name."""
    return self._backbone.checkpoint()

  def preprocess(self, resized_inputs):
    """Preprocesses as the classifier's images were.

    Args:
      resized_inputs: RGB in 0..255, float32 [batch, height, width, 3].

    Returns:
      Float32 [batch, height, width, channels].
    """
    return self._backbone.description.preprocessing(resized_inputs)

  def get_proposal_feature_extractor_model(self, name=None):
    """Returns a model that extracts first stage RPN features.

    Args:
      name: Unused; the layers keep the classifier's names.

    Returns:
      A Keras model that maps preprocessed images, float32 of shape
      [batch, height, width, channels], to the RPN feature map, float32 of shape
      [batch, height / stride, width / stride, depth].
    """
    return self._first_stage

  def get_box_classifier_feature_extractor_model(self, name=None):
    """Returns a model that extracts second stage box classifier features.

    Args:
      name: Unused; the layers keep the classifier's names.

    Returns:
      A Keras model that maps cropped proposals, float32 of shape
      [batch * max_num_proposals, crop_height, crop_width, depth], to box
      classifier features, float32 of shape
      [batch * max_num_proposals, height, width, second_stage_depth].
    """
    return self._second_stage
