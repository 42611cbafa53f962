"""Tests for object_detection.utils.mixed_precision."""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import unittest

from absl.testing import parameterized
import numpy as np
import tensorflow.compat.v2 as tf

from google.protobuf import text_format
from object_detection.protos import model_pb2
from object_detection.utils import mixed_precision
from object_detection.utils import nonfinite_steps
from object_detection.utils import ops
from object_detection.utils import spatial_transform_ops
from object_detection.utils import test_case
from object_detection.utils import tf_version


@unittest.skipIf(tf_version.is_tf1(), 'Skipping TF2.X only test.')
class MixedPrecisionTest(test_case.TestCase, parameterized.TestCase):

  def tearDown(self):
    super(MixedPrecisionTest, self).tearDown()
    self.assertEqual(tf.keras.mixed_precision.global_policy().name, 'float32')

  @parameterized.parameters(*mixed_precision.POLICIES)
  def test_layers_compute_in_16_bits_on_float32_variables(self, name):
    with mixed_precision.policy(name):
      layer = tf.keras.layers.Conv2D(2, 3)
      features = layer(tf.ones([1, 4, 4, 1]))
    self.assertEqual(features.dtype.name, name[len('mixed_'):])
    self.assertEqual(layer.kernel.dtype, tf.float32)
    predictions = ops.bfloat16_to_float32_nested({'a': [features]})
    self.assertEqual(predictions['a'][0].dtype, tf.float32)

  def test_the_policy_ends_with_its_context_and_with_an_error(self):
    for name, expected in (('mixed_bfloat16', 'mixed_bfloat16'),
                           (None, '\'float32')):
      with self.assertRaisesRegex(KeyError, expected):
        with mixed_precision.policy(name):
          raise KeyError(tf.keras.mixed_precision.global_policy().name)

  def _step(self, factors, optimizer, variable):
    """One step of a loss whose gradient in float16 is the product of factors."""
    @tf.function
    def step():
      with tf.GradientTape() as tape:
        value = tf.cast(variable, tf.float16)
        for factor in factors:
          value *= tf.constant(factor, tf.float16)
        loss = tf.cast(value, tf.float32)
        scaled = mixed_precision.scaled_loss(optimizer, loss)
      gradients = mixed_precision.unscaled_gradients(
          optimizer, tape.gradient(scaled, [variable]))
      condition = mixed_precision.finite_or_overflow(
          optimizer, nonfinite_steps.are_finite(gradients))
      nonfinite_steps.apply_gradients_if(
          condition, optimizer, gradients, [variable])
      return condition
    return bool(step())

  @parameterized.parameters(False, True)
  def test_small_gradients_survive_with_a_loss_scale(self, scales):
    # 2^-30 is 0 in float16, 2^-15 is not.
    optimizer = tf.keras.optimizers.SGD(2.0**30)
    if scales:
      with mixed_precision.policy('mixed_float16'):
        optimizer = mixed_precision.scale_losses(optimizer)
    variable = tf.Variable(3.0)
    self.assertTrue(self._step([2.0**-15, 2.0**-15], optimizer, variable))
    self.assertAllClose(variable.numpy(), 2.0 if scales else 3.0)

  def test_an_overflow_halves_the_scale_and_leaves_variables_alone(self):
    with mixed_precision.policy('mixed_float16'):
      optimizer = mixed_precision.scale_losses(tf.keras.optimizers.SGD(1.0))
    variable = tf.Variable(3.0)
    scales = []
    while variable.numpy() == 3.0:
      self.assertTrue(self._step([64.0], optimizer, variable))
      scales.append(float(optimizer.loss_scale))
    # 64 * 2^10 is beyond the largest float16, 65504.
    self.assertAllClose(scales, [2.0**n for n in (14, 13, 12, 11, 10, 9, 9)])
    self.assertAllClose(variable.numpy(), 3.0 - 64.0)

  def test_at_scale_1_gradients_that_are_not_finite_are_not_excused(self):
    optimizer = tf.keras.mixed_precision.LossScaleOptimizer(
        tf.keras.optimizers.SGD(1.0), initial_scale=2.0)
    variable = tf.Variable(3.0)
    self.assertTrue(self._step([np.inf], optimizer, variable))
    self.assertFalse(self._step([np.inf], optimizer, variable))
    self.assertAllClose(variable.numpy(), 3.0)

  def test_moving_averages_are_refused_with_a_loss_scale_only(self):
    from official.modeling.optimization import ema_optimizer  # pylint: disable=g-import-not-at-top
    optimizer = ema_optimizer.ExponentialMovingAverage(
        tf.keras.optimizers.SGD(1.0))
    with mixed_precision.policy('mixed_bfloat16'):
      self.assertIs(mixed_precision.scale_losses(optimizer), optimizer)
    with mixed_precision.policy('mixed_float16'):
      with self.assertRaisesRegex(
          mixed_precision.UnsupportedError, 'use_moving_average'):
        mixed_precision.scale_losses(optimizer)

  @parameterized.parameters(
      ('center_net { deepmac_mask_estimation {} }',
       ['mixed_bfloat16', 'mixed_float16']),
      ('faster_rcnn { context_config {} }', ['mixed_float16']),
      ('faster_rcnn { num_classes: 2 }', []), ('ssd { num_classes: 2 }', []))
  def test_models_that_do_not_go_with_a_policy_are_refused(self, text, refused):
    config = text_format.Parse(text, model_pb2.DetectionModel())
    found = []
    for name in ('float32',) + mixed_precision.POLICIES:
      with mixed_precision.policy(name):
        try:
          mixed_precision.check_model_config(config)
        except mixed_precision.UnsupportedError:
          found.append(name)
    self.assertEqual(found, refused)

  @parameterized.parameters(
      (1, 2, tf.bfloat16, True), (2, 2, tf.bfloat16, False),
      (1, 1, tf.bfloat16, False), (2, 3, tf.bfloat16, True),
      (1, 2, tf.float16, False), (1, 2, tf.float32, False))
  def test_gradients_that_are_wrong_are_refused(
      self, side, stride, dtype, is_refused):
    if tf.config.list_physical_devices('GPU'):
      self.skipTest('It is the gradient of the CPU.')
    for convolution in (tf.nn.conv2d, tf.nn.depthwise_conv2d):
      kernel = tf.ones([3, 3, 16, 1])

      @tf.function
      def gradient(dtype):
        with tf.GradientTape() as tape:
          tape.watch(kernel)  # pylint: disable=cell-var-from-loop
          features = convolution(  # pylint: disable=cell-var-from-loop
              tf.ones([4, side, side, 16], dtype), tf.cast(kernel, dtype),  # pylint: disable=cell-var-from-loop
              [1, stride, stride, 1], 'SAME')
        result = tape.gradient(features, kernel)  # pylint: disable=cell-var-from-loop
        mixed_precision.check_filter_gradients()
        return result

      if is_refused:
        with self.assertRaisesRegex(mixed_precision.UnsupportedError,
                                    'a map of {0}x{0} pixels'.format(side)):
          gradient(dtype)
      else:
        self.assertAllClose(gradient(dtype), gradient(tf.float32), rtol=0.01)

  @parameterized.parameters(tf.bfloat16, tf.float16)
  def test_crops_of_16_bit_features_are_float32(self, dtype):
    features = tf.reshape(tf.range(64.0), [1, 8, 8, 1])
    boxes = tf.constant([[[0.0, 0.0, 0.5, 0.5]]])
    crops, expected = [
        spatial_transform_ops.native_crop_and_resize(image, boxes, [4, 4])
        for image in (tf.cast(features, dtype), features)]
    self.assertEqual(crops.dtype, tf.float32)
    self.assertAllClose(crops, expected)


if __name__ == '__main__':
  tf.test.main()
