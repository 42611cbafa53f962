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
"""Tests for classifier_backbone."""

import json
import os
import sys
import unittest

from absl.testing import parameterized
import numpy as np
import tensorflow as tf

from object_detection.core import freezable_batch_norm
from object_detection.models.keras_models import classifier_backbone
from object_detection.models.keras_models import classifier_preprocessing
from object_detection.utils import tf_version

layers = tf.keras.layers


def _conv(filters, strides=1, **kwargs):
  return layers.Conv2D(
      filters, 3, strides=strides, padding='same', use_bias=False, **kwargs)


def _classifier(size=(64, 64, 3)):
  """Strides 8, 16 and 32, and a layer of each kind that is made differently."""
  images = tf.keras.Input(size)
  x = layers.Rescaling(1 / 255, name='rescaling')(images)
  for stage in range(5):
    x = _conv(4, 2, name='conv%d' % stage, kernel_regularizer='l1')(x)
    x = layers.BatchNormalization(name='bn%d' % stage)(x)
    y = layers.SeparableConv2D(4, 3, padding='same', name='sep%d' % stage)(x)
    x = layers.Add(name='add%d' % stage)([x, y])
  x = layers.GlobalAveragePooling2D(name='pool')(x)
  return tf.keras.Model(images, layers.Dense(5, name='classes')(x))


def _description(model, cut_layer=None):
  return classifier_backbone.BackboneDescription(
      model, classifier_preprocessing.of_mode('none'), cut_layer)


@unittest.skipIf(tf_version.is_tf1(), 'Keras models are for TF2 behaviour.')
class ClassifierBackboneTest(parameterized.TestCase, tf.test.TestCase):

  @parameterized.parameters(
      'VGG16', 'ResNet50', 'ResNet50V2', 'InceptionV3', 'InceptionResNetV2',
      'Xception', 'MobileNet', 'MobileNetV2', 'MobileNetV3Small', 'NASNetMobile',
      'DenseNet121', 'EfficientNetB0', 'EfficientNetV2B0', 'ConvNeXtTiny',
      'RegNetX002', 'ResNetRS50')
  def test_preprocesses_as_keras_does(self, name):
    build = getattr(tf.keras.applications, name)
    images = np.random.RandomState(0).uniform(0, 255, (2, 5, 7, 3))
    expected = sys.modules[build.__module__].preprocess_input(images.copy())
    found = classifier_preprocessing.of_application(name)(images)
    self.assertAllClose(found, expected, atol=1e-4)

  def test_all_applications_have_a_preprocessing(self):
    for name in classifier_backbone.applications():
      classifier_preprocessing.of_application(name)

  def test_gray_is_what_image_libraries_make_of_colours(self):
    images = np.random.RandomState(0).uniform(0, 255, (1, 4, 6, 3))
    gray = classifier_preprocessing.of_mode('tf', gray=True)(images)
    expected = images @ [0.299, 0.587, 0.114] / 127.5 - 1
    self.assertAllClose(gray[..., 0], expected, atol=1e-5)
    self.assertEqual(gray.shape, (1, 4, 6, 1))

  @parameterized.parameters(
      ('custom', 'rgb', (1.0,) * 2, (0.0,) * 3, 'takes 3 factors'),
      ('custom', 'hsv', (1.0,) * 3, (0.0,) * 3, 'rgb, bgr or gray'),
      ('custom', 'gray', (0.0,), (0.0,), 'not 0'),
      ('custom', 'gray', (float('nan'),), (0.0,), 'finite'),
  )
  def test_refuses_impossible_preprocessing(self, *args):
    with self.assertRaisesRegex(ValueError, args[-1]):
      classifier_preprocessing.Preprocessing(*args[:-1])

  def test_applications_have_the_same_names_in_any_process(self):
    first = classifier_backbone.application(
        'MobileNetV3Small', weights=None, include_top=False)
    second = classifier_backbone.application(
        'MobileNetV3Small', weights=None, include_top=False)
    names = [layer.name for layer in first.layers if 'input' not in layer.name]
    self.assertEqual(names, [
        layer.name for layer in second.layers if 'input' not in layer.name])
    self.assertContainsSubset(['multiply', 'multiply_1', 're_lu'], names)

  def test_layers_are_made_anew_for_any_size(self):
    model = _classifier((64, 64, 3))
    backbone = classifier_backbone.Backbone(
        _description(model), False, tf.keras.regularizers.l2(0.5))
    self.assertEqual(backbone.trunk(tf.zeros((1, 96, 160, 3))).shape,
                     (1, 3, 5, 4))
    self.assertEqual(backbone.layers.keys(), {
        layer.name for layer in model.layers[:-1] if layer.weights})
    self.assertIsNot(backbone.layers['conv0'], model.get_layer('conv0'))
    self.assertIs(backbone.origins['conv0'], model.get_layer('conv0'))
    self.assertIsInstance(backbone.layers['bn0'],
                          freezable_batch_norm.FreezableBatchNorm)
    # A kernel of each convolution, two of each separable one.
    self.assertLen(backbone.trunk.losses, 15)
    kernel = backbone.layers['conv0'].kernel
    self.assertAllClose(backbone.trunk.losses[0],
                        0.5 * tf.reduce_sum(kernel ** 2))

  def test_frozen_statistics_stay_and_others_move(self):
    for training in (False, True):
      backbone = classifier_backbone.Backbone(
          _description(_classifier()), training)
      before = backbone.layers['bn0'].moving_mean.numpy()
      backbone.trunk(tf.random.uniform((2, 64, 64, 3)) * 255, training=True)
      moved = np.any(backbone.layers['bn0'].moving_mean.numpy() != before)
      self.assertEqual(moved, training)

  def test_restored_statistics_of_the_images_count(self):
    images = tf.keras.Input((64, 64, 3))
    x = layers.Normalization(name='normalization')(images)
    x = layers.GlobalAveragePooling2D()(_conv(4, 2)(x))
    model = tf.keras.Model(images, layers.Dense(2)(x))
    backbone = classifier_backbone.Backbone(_description(model), False)
    layer = backbone.layers['normalization']
    batch = np.random.RandomState(0).uniform(0, 255, (1, 8, 8, 3))
    features = tf.function(tf.keras.Model(backbone.trunk.input, layer.output))
    for mean, variance in (([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]),
                           ([7.0, 8.0, 9.0], [16.0, 25.0, 36.0])):
      layer.adapt_mean.assign(mean)
      layer.adapt_variance.assign(variance)
      self.assertAllClose(features(batch), (batch - mean) / np.sqrt(variance),
                          atol=1e-4)

  def test_frozen_16_bit_layers_are_trained_in_float32(self):
    tf.keras.mixed_precision.set_global_policy('mixed_bfloat16')
    try:
      model = _classifier()
    finally:
      tf.keras.mixed_precision.set_global_policy('float32')
    model.trainable = False
    backbone = classifier_backbone.Backbone(_description(model), False)
    self.assertEqual({layer.compute_dtype for layer in backbone.trunk.layers},
                     {'float32'})
    self.assertLen(backbone.trunk.trainable_variables, 5 * (1 + 2 + 3))

  def test_two_stages_make_the_trunk(self):
    backbone = classifier_backbone.Backbone(_description(_classifier()), False)
    first, second = backbone.stages(16)
    images = np.random.RandomState(0).uniform(0, 255, (1, 96, 64, 3))
    features = first(images)
    self.assertEqual(features.shape, (1, 6, 4, 4))
    self.assertAllEqual(second(features), backbone.trunk(images))
    self.assertEqual([tuple(features.shape[1:3])
                      for features in backbone.maps([8, 16, 32])(images)],
                     [(12, 8), (6, 4), (3, 2)])

  def test_a_named_layer_ends_the_first_stage(self):
    backbone = classifier_backbone.Backbone(
        _description(_classifier(), 'add2'), False)
    first, second = backbone.stages(8)
    self.assertEqual(first.layers[-1].name, 'add2')
    self.assertContainsSubset({'conv3', 'conv4'},
                              {layer.name for layer in second.layers})
    with self.assertRaisesRegex(ValueError, "'add2' has stride 8"):
      backbone.stages(16)
    with self.assertRaisesRegex(ValueError, 'No layer is left'):
      classifier_backbone.Backbone(
          _description(_classifier(), 'add4'), False).stages(32)

  def test_layers_of_one_name_are_kept_apart(self):
    def part():
      return tf.keras.Sequential([_conv(4, 2, name='conv')])
    model = tf.keras.Sequential([
        tf.keras.Input((64, 64, 3)), part(), part(), layers.Flatten(),
        layers.Dense(2)])
    backbone = classifier_backbone.Backbone(_description(model), False)
    self.assertEqual(list(backbone.layers), ['conv', 'conv_again'])

  def test_a_written_classifier_reads_back(self):
    folder = self.create_tempdir().full_path
    written = classifier_backbone.BackboneDescription(
        _classifier(), classifier_preprocessing.of_mode('caffe'), 'add2')
    written.write(folder)
    found = classifier_backbone.BackboneDescription.read(folder)
    self.assertEqual(found.model.get_config(), written.model.get_config())
    self.assertEqual(found.preprocessing, written.preprocessing)
    self.assertEqual(found.cut_layer, 'add2')

  def test_a_written_network_with_layers_of_its_own_reads_back(self):
    folder = self.create_tempdir().full_path
    network = classifier_backbone.BackboneDescription.read('ConvNeXtTiny')
    trunk = classifier_backbone.Backbone(network).trunk
    _description(trunk).write(folder)
    found = classifier_backbone.BackboneDescription.read(folder).model
    self.assertEqual([type(layer) for layer in found.layers],
                     [type(layer) for layer in trunk.layers])
    self.assertContainsSubset(
        {'LayerScale'}, {type(layer).__name__ for layer in found.layers})

  def test_a_name_reads_as_its_network(self):
    found = classifier_backbone.BackboneDescription.read('MobileNet')
    self.assertEqual(found.preprocessing.mode, 'tf')
    self.assertEqual(found.model.input_shape, (None, None, None, 3))

  def test_says_what_is_wrong_with_a_source(self):
    with self.assertRaisesRegex(ValueError, 'did you mean ResNet50'):
      classifier_backbone.BackboneDescription.read('Resnet50')
    folder = self.create_tempdir().full_path
    for content, expected in ((b'{', 'does not describe a backbone'),
                              (b'\xff', 'does not describe a backbone'),
                              (b'[]', 'does not describe a backbone'),
                              (json.dumps({'format': 9}).encode(), 'format 9')):
      with open(os.path.join(folder, 'backbone.json'), 'wb') as file:
        file.write(content)
      with self.assertRaisesRegex(ValueError, expected):
        classifier_backbone.BackboneDescription.read(folder)


if __name__ == '__main__':
  tf.test.main()
