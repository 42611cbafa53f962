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
"""Tests for classifier_cut."""

import unittest

from absl.testing import parameterized
import numpy as np
import tensorflow as tf

from object_detection.models.keras_models import classifier_cut
from object_detection.utils import tf_version

layers = tf.keras.layers


def _conv(filters, strides=1, **kwargs):
  return layers.Conv2D(filters, 3, strides=strides, padding='same', **kwargs)


def _chain():
  """A classifier without branches, in the way of VGG-16."""
  return tf.keras.Sequential([
      layers.Conv2D(4, 3, padding='same', activation='relu', name='conv1',
                    input_shape=(64, 64, 3)),
      layers.MaxPooling2D(name='pool1'),
      _conv(4, activation='relu', name='conv2'),
      layers.MaxPooling2D(name='pool2'),
      _conv(4, activation='relu', name='conv3'),
      _conv(4, activation='relu', name='conv4'),
      layers.MaxPooling2D(name='pool3'),
      layers.Flatten(name='flatten'),
      layers.Dense(5, name='classes'),
  ])


def _residual():
  """Two residual blocks, the second with a strided shortcut."""
  images = tf.keras.Input((64, 64, 3))
  x = _conv(4, strides=2, name='stem')(images)
  y = _conv(4, name='block1_conv1')(x)
  y = _conv(4, name='block1_conv2')(y)
  x = layers.Add(name='block1_add')([x, y])
  x = layers.BatchNormalization(name='block1_bn')(x)
  x = layers.ReLU(name='block1_relu')(x)
  y = layers.ZeroPadding2D(1, name='block2_pad')(x)
  y = layers.Conv2D(8, 3, strides=2, name='block2_conv')(y)
  x = layers.Conv2D(8, 1, strides=2, name='block2_shortcut')(x)
  x = layers.Add(name='block2_add')([x, y])
  x = layers.GlobalAveragePooling2D(name='pool')(x)
  return tf.keras.Model(images, layers.Dense(5, name='classes')(x))


def _nested():
  """The residual network as a layer, behind what people put in front."""
  base = _residual()
  base = tf.keras.Model(base.input, base.get_layer('block2_add').output,
                        name='base')
  images = tf.keras.Input((64, 64, 3))
  x = tf.keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)],
                          name='augmentation')(images)
  x = layers.Rescaling(1 / 127.5, offset=-1, name='rescaling')(x)
  x = base(x, training=False)
  x = layers.GlobalAveragePooling2D()(x)
  return tf.keras.Model(images, layers.Dense(5)(x))


def _excited():
  """A block that squeezes, excites, and adds."""
  images = tf.keras.Input((64, 64, 3))
  x = _conv(4, strides=2, name='stem')(images)
  s = layers.GlobalAveragePooling2D(keepdims=True)(x)
  s = layers.Conv2D(4, 1, activation='sigmoid', name='excite')(s)
  y = layers.Multiply(name='scale')([x, s])
  x = layers.Add(name='add')([x, y])
  x = _conv(8, strides=2, name='last')(x)
  return tf.keras.Model(
      images, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))


def _woven():
  """Two paths of stride 2 that never meet before the stride changes."""
  images = tf.keras.Input((64, 64, 3))
  stem = _conv(4, name='stem')(images)
  left = _conv(4, strides=2, name='left')(stem)
  right = _conv(4, strides=2, name='right')(stem)
  left = _conv(4, strides=2, name='left2')(left)
  right = _conv(4, strides=2, name='right2')(right)
  x = layers.Concatenate(name='join')([left, right])
  return tf.keras.Model(
      images, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))


@unittest.skipIf(tf_version.is_tf1(), 'Keras models are for TF2 behaviour.')
class ClassifierCutTest(parameterized.TestCase, tf.test.TestCase):

  @parameterized.parameters(
      (_chain, ['conv1', 'pool1', 'conv2', 'pool2', 'conv3', 'conv4',
                'pool3']),
      (_residual, ['stem', 'block1_add', 'block1_bn', 'block1_relu',
                   'block2_add']),
      (_nested, ['rescaling', 'stem', 'block1_add', 'block1_bn', 'block1_relu',
                 'block2_add']),
      (_excited, ['stem', 'add', 'last']),
      (_woven, ['stem', 'join']),
  )
  def test_cuts_are_where_all_paths_meet(self, build, expected):
    graph = classifier_cut.LayerGraph(build())
    self.assertEqual([cut.name for cut in graph.cuts], expected)

  @parameterized.parameters(
      (_chain, 2, True, 'conv2'), (_chain, 4, True, 'pool2'),
      (_chain, 8, False, 'pool3'), (_residual, 2, True, 'block1_relu'),
      (_nested, 2, True, 'block1_relu'), (_nested, 4, False, 'block2_add'),
      (_excited, 2, True, 'add'),
  )
  def test_chooses_the_end_of_a_block(self, build, stride, tail, expected):
    cut = classifier_cut.LayerGraph(build()).best_cut(stride, tail)
    self.assertEqual((cut.name, cut.stride), (expected, stride))

  @parameterized.parameters(_chain, _residual, _nested, _excited)
  def test_both_sides_of_every_cut_make_the_classifier(self, build):
    model = build()
    images = np.random.RandomState(0).uniform(0, 255, (2, 64, 64, 3))
    graph = classifier_cut.LayerGraph(model)
    whole = tf.keras.Model(graph.images, graph.cuts[-1].tensor)
    expected = whole(images).numpy()
    self.assertGreater(np.ptp(expected), 0)
    for cut in graph.cuts[:-1]:
      before = tf.keras.Model(graph.images, cut.tensor)
      after = tf.keras.Model(cut.tensor, graph.cuts[-1].tensor)
      self.assertAllClose(after(before(images)), expected, atol=1e-5, rtol=1e-5)
      self.assertEqual(cut.parameters_before, before.count_params())
      self.assertEqual(cut.parameters_after, after.count_params())
      self.assertEqual(before.output_shape[1] * cut.stride, 64)

  def test_a_model_without_a_head_ends_with_its_trunk(self):
    model = _residual()
    base = tf.keras.Model(model.input, model.get_layer('block2_add').output)
    graph = classifier_cut.LayerGraph(base)
    self.assertEqual(graph.cuts[-1].name, 'block2_add')
    self.assertEqual(graph.best_cut(4, weighted_tail=False).name, 'block2_add')

  def test_layers_stay_the_classifiers_own(self):
    model = _nested()
    graph = classifier_cut.LayerGraph(model)
    before = tf.keras.Model(graph.images, graph.cuts[1].tensor)
    kernel = model.get_layer('base').get_layer('stem').kernel
    self.assertIs(before.get_layer('stem').kernel, kernel)

  @parameterized.parameters(
      (_woven, 2, "'right' and 'left' skip over each other"),
      (_woven, 3, 'no tensor of stride 3, only of 1, 2, 4'),
      (_chain, 8, 'No layer with weights follows'),
  )
  def test_says_why_there_is_no_cut(self, build, stride, expected):
    with self.assertRaisesRegex(classifier_cut.CutError, expected):
      classifier_cut.LayerGraph(build()).best_cut(stride, weighted_tail=True)

  def test_a_cut_can_be_named(self):
    graph = classifier_cut.LayerGraph(_residual())
    self.assertEqual(graph.cut_after('stem').stride, 2)
    with self.assertRaisesRegex(classifier_cut.CutError, "skip over each"):
      graph.cut_after('block1_conv1')
    with self.assertRaisesRegex(classifier_cut.CutError, "no layer 'other'"):
      graph.cut_after('other')
    with self.assertRaisesRegex(classifier_cut.CutError, 'the classification'):
      graph.cut_after('pool')

  def test_refuses_what_is_no_image_classifier(self):
    vector = tf.keras.Sequential([layers.Dense(3, input_shape=(4,))])
    with self.assertRaisesRegex(classifier_cut.CutError, 'batch of images'):
      classifier_cut.LayerGraph(vector)
    resizing = tf.keras.Sequential(
        [_conv(3, input_shape=(64, 64, 3)), layers.Resizing(32, 32), _conv(3),
         layers.Flatten(), layers.Dense(2)])
    with self.assertRaisesRegex(classifier_cut.CutError, 'size of its own'):
      classifier_cut.LayerGraph(resizing)

    class Subclassed(tf.keras.Model):

      def __init__(self):
        super().__init__(name='subclassed')
        self.conv = _conv(3)

      def call(self, inputs):
        return self.conv(inputs)

    images = tf.keras.Input((64, 64, 3))
    x = layers.Flatten()(Subclassed()(images))
    with self.assertRaisesRegex(classifier_cut.CutError, 'subclassed'):
      classifier_cut.LayerGraph(tf.keras.Model(images, layers.Dense(2)(x)))
    with self.assertRaisesRegex(classifier_cut.CutError, 'batch of images'):
      classifier_cut.LayerGraph(Subclassed())


if __name__ == '__main__':
  tf.test.main()
