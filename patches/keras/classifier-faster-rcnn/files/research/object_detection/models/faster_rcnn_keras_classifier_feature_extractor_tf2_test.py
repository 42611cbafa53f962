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
"""Tests for faster_rcnn_keras_classifier_feature_extractor."""

import unittest

from google.protobuf import text_format
import numpy as np
import tensorflow.compat.v1 as tf

from object_detection.builders import hyperparams_builder
from object_detection.models import faster_rcnn_keras_classifier_feature_extractor as extractor_lib
from object_detection.protos import hyperparams_pb2
from object_detection.utils import tf_version


def _build(is_training=False, **kwargs):
  return extractor_lib.FasterRCNNKerasClassifierFeatureExtractor(
      'MobileNet', is_training, **kwargs)


@unittest.skipIf(tf_version.is_tf1(), 'Keras models are for TF2 behaviour.')
class FasterRCNNKerasClassifierFeatureExtractorTest(tf.test.TestCase):

  def test_features_have_the_sizes_of_the_two_stages(self):
    extractor = _build()
    images = tf.random.uniform((1, 96, 160, 3), maxval=255.0)
    first_stage = extractor.get_proposal_feature_extractor_model('First')
    features = first_stage(extractor.preprocess(images))
    self.assertAllEqual(features.shape, [1, 6, 10, 512])
    second_stage = extractor.get_box_classifier_feature_extractor_model('Second')
    self.assertAllEqual(second_stage(tf.zeros((3, 7, 7, 512))).shape,
                        [3, 3, 3, 1024])

  def test_the_checkpoint_has_every_layer_of_both_stages(self):
    extractor = _build()
    checkpoint = extractor.classification_backbone
    kernel = checkpoint.conv1.kernel
    self.assertIs(
        kernel, extractor.get_proposal_feature_extractor_model().get_layer(
            'conv1').kernel)
    network = tf.keras.applications.MobileNet(weights=None, include_top=False)
    stages = (extractor.get_proposal_feature_extractor_model(),
              extractor.get_box_classifier_feature_extractor_model())
    self.assertEqual(sum(stage.count_params() for stage in stages),
                     network.count_params())
    path = checkpoint.save(self.create_tempdir().full_path + '/ckpt')
    other = _build()
    other.classification_backbone.restore(path).assert_existing_objects_matched()
    self.assertAllEqual(other.classification_backbone.conv1.kernel, kernel)
    self.assertGreater(np.ptp(kernel), 0)

  def test_the_regularizer_of_the_config_is_used(self):
    hyperparams = hyperparams_pb2.Hyperparams()
    text_format.Merge(
        'regularizer { l2_regularizer { weight: 0.002 } }'
        'initializer { truncated_normal_initializer {} }', hyperparams)
    hyperparams = hyperparams_builder.KerasLayerHyperparams(hyperparams)
    for kwargs in ({'conv_hyperparams': hyperparams}, {'weight_decay': 0.002}):
      model = _build(**kwargs).get_proposal_feature_extractor_model()
      kernel = model.get_layer('conv1').kernel
      self.assertAllClose(model.losses[0], 0.001 * tf.reduce_sum(kernel ** 2))
    self.assertEmpty(_build().get_proposal_feature_extractor_model().losses)

  def test_batch_norm_follows_the_config(self):
    images = tf.random.uniform((1, 64, 64, 3))
    for trainable in (False, True):
      model = _build(
          is_training=True,
          batch_norm_trainable=trainable).get_proposal_feature_extractor_model()
      mean = model.get_layer('conv1_bn').moving_mean
      before = mean.numpy()
      model(images, training=True)
      self.assertEqual(np.any(mean.numpy() != before), trainable)

  def test_refuses_what_the_classifier_cannot_be(self):
    with self.assertRaisesRegex(ValueError, 'no tensor of stride 12'):
      _build(first_stage_features_stride=12)
    with self.assertRaisesRegex(ValueError, 'not supported'):
      _build(override_base_feature_extractor_hyperparams=True)


if __name__ == '__main__':
  tf.test.main()
