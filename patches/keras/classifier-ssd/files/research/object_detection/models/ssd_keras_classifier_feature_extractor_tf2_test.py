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
"""Tests for ssd_keras_classifier_feature_extractor."""

import unittest

from absl.testing import parameterized
from google.protobuf import text_format
import numpy as np
import tensorflow.compat.v1 as tf

from object_detection.builders import hyperparams_builder
from object_detection.models import ssd_keras_classifier_feature_extractor as extractor_lib
from object_detection.protos import hyperparams_pb2
from object_detection.utils import tf_version


def _build(kind=extractor_lib.SSDKerasClassifierFeatureExtractor,
           source='MobileNet', **kwargs):
  hyperparams = hyperparams_pb2.Hyperparams()
  text_format.Merge(
      'regularizer { l2_regularizer { weight: 0.002 } }'
      'initializer { truncated_normal_initializer {} }'
      'batch_norm {}', hyperparams)
  arguments = {
      'is_training': False,
      'depth_multiplier': 1.0,
      'min_depth': 16,
      'pad_to_multiple': 1,
      'conv_hyperparams': hyperparams_builder.KerasLayerHyperparams(
          hyperparams),
      'freeze_batchnorm': False,
      'inplace_batchnorm_update': False,
  }
  return kind(source, **{**arguments, **kwargs})


_FPN = extractor_lib.SSDKerasClassifierFpnFeatureExtractor


def _shapes(extractor, height, width):
  images = tf.random.uniform((1, height, width, 3), maxval=255.0)
  return [tuple(maps.shape)[1:]
          for maps in extractor(extractor.preprocess(images))]


@unittest.skipIf(tf_version.is_tf1(), 'Keras models are for TF2 behaviour.')
class SSDKerasClassifierFeatureExtractorTest(parameterized.TestCase,
                                             tf.test.TestCase):

  def test_maps_halve_from_stride_8_on(self):
    self.assertEqual(
        _shapes(_build(), 128, 192),
        [(16, 24, 256), (8, 12, 512), (4, 6, 1024), (2, 3, 512), (1, 2, 256),
         (1, 1, 256)])
    self.assertLen(_shapes(_build(num_layers=4), 128, 192), 4)
    self.assertLen(_shapes(_build(num_layers=2), 128, 192), 2)

  @parameterized.parameters('MobileNet', 'InceptionV3')
  def test_the_levels_of_a_pyramid_halve(self, source):
    extractor = _build(_FPN, source, additional_layer_depth=32)
    self.assertEqual(
        _shapes(extractor, 256, 128),
        [(32, 16, 32), (16, 8, 32), (8, 4, 32), (4, 2, 32), (2, 1, 32)])

  def test_a_pyramid_has_the_levels_of_the_config(self):
    extractor = _build(_FPN, fpn_min_level=4, fpn_max_level=6,
                       depth_multiplier=0.5)
    self.assertEqual(_shapes(extractor, 128, 128),
                     [(8, 8, 128), (4, 4, 128), (2, 2, 128)])

  @parameterized.parameters(extractor_lib.SSDKerasClassifierFeatureExtractor,
                            _FPN)
  def test_the_checkpoint_has_the_classifiers_layers(self, kind):
    extractor = _build(kind)
    _shapes(extractor, 128, 128)
    checkpoint = extractor.classification_backbone
    network = tf.keras.applications.MobileNet(weights=None, include_top=False)
    names = {layer.name for layer in network.layers if layer.weights}
    self.assertEqual(names & set(vars(checkpoint)), names)
    self.assertIs(checkpoint.conv1, extractor.backbone.get_layer('conv1'))

  @parameterized.parameters(False, True)
  def test_the_backbone_is_regularized_on_request(self, override):
    extractor = _build(override_base_feature_extractor_hyperparams=override)
    self.assertEqual(bool(extractor.backbone.losses), override)

  @parameterized.parameters(False, True)
  def test_batch_norm_follows_the_config(self, frozen):
    extractor = _build(is_training=True, freeze_batchnorm=frozen)
    mean = extractor.backbone.get_layer('conv1_bn').moving_mean
    before = mean.numpy()
    extractor.backbone(tf.random.uniform((1, 64, 64, 3)), training=True)
    self.assertEqual(np.any(mean.numpy() != before), not frozen)

  def test_refuses_impossible_layers(self):
    with self.assertRaisesRegex(ValueError, 'from 1 to 7'):
      _build(num_layers=8)
    with self.assertRaisesRegex(ValueError, 'from level 2 .* 8, 16, 32'):
      _build(_FPN, fpn_min_level=2)
    with self.assertRaisesRegex(ValueError, 'skip over each other'):
      _build(source='NASNetMobile')


if __name__ == '__main__':
  tf.test.main()
