"""Training whose layers compute in 16 bits.

Variables, and so checkpoints, are float32, as are losses, box coding and
non-maximum suppression.
"""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import contextlib

import tensorflow.compat.v2 as tf

POLICIES = ('mixed_bfloat16', 'mixed_float16')
INITIAL_LOSS_SCALE = 2.0**15  # That of Keras. The first steps may halve it.


class UnsupportedError(Exception):
  """A model that cannot be trained under the policy in force.

  It has no constructor of its own: AutoGraph makes another of the same type,
  whose last line is this one's message.
  """


@contextlib.contextmanager
def policy(name):
  """Makes Keras layers under a policy; afterwards the former one is in force.

  Args:
    name: 'float32' or one of POLICIES. With None nothing changes.
  """
  former = tf.keras.mixed_precision.global_policy()
  try:
    if name is not None:
      tf.keras.mixed_precision.set_global_policy(name)
    yield
  finally:
    tf.keras.mixed_precision.set_global_policy(former)


def check_model_config(model_config):
  """Looks for architectures which the policy in force is nothing for.

  Args:
    model_config: A model_pb2.DetectionModel.

  Raises:
    UnsupportedError: if it is one.
  """
  name = tf.keras.mixed_precision.global_policy().name
  if name in POLICIES and model_config.center_net.HasField(
      'deepmac_mask_estimation'):
    raise UnsupportedError(
        "DeepMAC's mask head joins float32 and 16 bits, and trains in float32 "
        'only')
  if name == 'mixed_float16' and model_config.faster_rcnn.HasField(
      'context_config'):
    raise UnsupportedError(
        "the attention of Context R-CNN masks with -100000, which is beyond "
        'float16; mixed_bfloat16 reaches as far as float32')


def scale_losses(optimizer):
  """Makes an optimizer scale losses where the policy in force needs it.

  Gradients below 6e-8 are zero in float16, so the loss is multiplied by a
  number that is halved where gradients overflow and doubled after 2000 steps
  without.

  Args:
    optimizer: A Keras optimizer.

  Returns:
    The optimizer, or a LossScaleOptimizer. Checkpoints of the two differ in
    the scale only.

  Raises:
    UnsupportedError: if the optimizer keeps moving averages, which nothing can
      wrap.
  """
  if tf.keras.mixed_precision.global_policy().name != 'mixed_float16':
    return optimizer
  if hasattr(optimizer, 'shadow_copy'):
    raise UnsupportedError(
        'train_config.optimizer.use_moving_average, which is true by default, '
        'does not go with the loss scale of mixed_float16; mixed_bfloat16 has '
        'none')
  return tf.keras.mixed_precision.LossScaleOptimizer(
      optimizer, initial_scale=INITIAL_LOSS_SCALE)


def scaled_loss(optimizer, loss):
  """Returns the loss to compute gradients of; inside of the gradient tape."""
  if _scales(optimizer):
    return optimizer.get_scaled_loss(loss)
  return loss


def unscaled_gradients(optimizer, gradients):
  """Returns the gradients of the loss itself, given those of scaled_loss."""
  if _scales(optimizer):
    return optimizer.get_unscaled_gradients(gradients)
  return gradients


def finite_or_overflow(optimizer, gradients_are_finite):
  """Returns a bool tensor: whether the optimizer may be given gradients.

  With a loss scale it leaves out gradients that are not finite, and halves the
  scale. At 1 it is not the scale that made them so.

  Args:
    optimizer: What scale_losses returned.
    gradients_are_finite: A bool tensor.
  """
  if _scales(optimizer):
    return tf.logical_or(gradients_are_finite, optimizer.loss_scale > 1)
  return gradients_are_finite


def check_filter_gradients():
  """Looks for gradients which TensorFlow gets wrong in the graph being built.

  Where a map is smaller than the stride in both directions, as 1x1 is with a
  stride of 2, oneDNN's bfloat16 kernels leave the part of the filter's gradient
  unwritten that only touches padding: it is what was in memory before,
  sometimes NaN (TensorFlow 2.21; float32 and float16 are right).

  Raises:
    UnsupportedError: if there are such convolutions, and no GPU.
  """
  if tf.executing_eagerly() or tf.config.list_physical_devices('GPU'):
    return
  for operation in tf.compat.v1.get_default_graph().get_operations():
    if operation.type not in ('Conv2DBackpropFilter',
                              'DepthwiseConv2dNativeBackpropFilter'):
      continue
    if operation.get_attr('T') != tf.bfloat16:
      continue
    sides = operation.inputs[0].shape[1:3]  # NHWC, the one layout of the CPU.
    strides = operation.get_attr('strides')[1:3]
    if all(side is not None and side < stride
           for side, stride in zip(sides, strides)):
      raise UnsupportedError(
          'a convolution of stride {} takes a map of {}x{} pixels, and '
          "TensorFlow's gradient of that is wrong in bfloat16 on a CPU; "
          'mixed_float16 has another'.format(
              strides[0], *sides))


def _scales(optimizer):
  return isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
