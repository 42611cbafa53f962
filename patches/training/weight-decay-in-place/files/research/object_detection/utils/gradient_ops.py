"""Weight decay and clipping of gradients, in the memory of the gradients.

In a large model either is a pass over more memory than the layers before it
read: VGG-16's fully connected layers alone have 120 million weights.
"""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import tensorflow.compat.v2 as tf

from tensorflow.python.eager import context

# Values of a gradient from which on it is worth some more operations.
LARGE = 2**20


def add_weight_decay_in_place(gradients):
  """Adds the gradients of L2 regularization to the others where those are.

  Such a gradient is a variable times a number. TensorFlow computes it when a
  step begins, since it needs nothing else, and holds it until it is added to
  what comes out of the backward pass: another copy of all variables.

  Args:
    gradients: A list of what tf.GradientTape returned, in the graph being
      built. None and tf.IndexedSlices are allowed.

  Returns:
    A list of the same gradients. Those of at least LARGE values that are the
    sum of two terms, of which one is a tensor times a number, are computed in
    the memory of the other.
  """
  strategy = tf.distribute.get_strategy()
  if tf.executing_eagerly() or isinstance(
      strategy,
      (tf.distribute.TPUStrategy, tf.distribute.experimental.TPUStrategy)):
    return gradients  # XLA has no operation in place.
  return [_add_in_place(gradient) for gradient in gradients]


def _add_in_place(gradient):
  """Returns a gradient, computed in place if it is large and a sum for that."""
  if (not isinstance(gradient, tf.Tensor) or not _is_large(gradient) or
      gradient.op.type != 'AddN' or len(gradient.op.inputs) != 2):
    return gradient
  first, second = gradient.op.inputs
  for product, other in ((first, second), (second, first)):
    if product.op.type != 'Mul':
      continue
    for tensor, factor in (product.op.inputs, product.op.inputs[::-1]):
      if factor.shape.rank == 0 and tensor.shape == gradient.shape:
        return _add_product(other, factor, tensor)
  return gradient


def _add_product(tensor, factor, other):
  """Returns tensor + factor * other, in the memory of `tensor`.

  The one operation of TensorFlow that does so is gradient descent. It works on
  a variable, and a variable takes over the memory of a tensor assigned to it if
  nothing else reads that. If something does, it makes a copy.

  Args:
    tensor: A float tensor, which only this function reads.
    factor: A float scalar tensor.
    other: A float tensor of the same shape.
  """
  variable = tf.raw_ops.VarHandleOp(
      dtype=tensor.dtype, shape=tensor.shape,
      shared_name=context.anonymous_name())
  with tf.control_dependencies(
      [tf.raw_ops.AssignVariableOp(resource=variable, value=tensor)]):
    descent = tf.raw_ops.ResourceApplyGradientDescent(
        var=variable, alpha=-factor, delta=other)
  with tf.control_dependencies([descent]):
    total = tf.raw_ops.ReadVariableOp(resource=variable, dtype=tensor.dtype)
  with tf.control_dependencies([total]):
    end = tf.raw_ops.DestroyResourceOp(resource=variable)
  with tf.control_dependencies([end]):
    return tf.identity(total)


def clip_by_global_norm(gradients, clip_norm):
  """As tf.clip_by_global_norm, but large gradients that need not be are left.

  Args:
    gradients: A list of gradients. None and tf.IndexedSlices are allowed.
    clip_norm: A positive number.

  Returns:
    A list of gradients of a global norm of at most `clip_norm`, or of NaN if
    one of them is not finite; and the norm before, a float scalar tensor.
  """
  norm = tf.linalg.global_norm(gradients)
  large = [index for index, gradient in enumerate(gradients)
           if isinstance(gradient, tf.Tensor) and _is_large(gradient)]
  clipped, _ = tf.clip_by_global_norm(
      [None if index in large else gradient
       for index, gradient in enumerate(gradients)], clip_norm, use_norm=norm)
  if large:
    chosen = [gradients[index] for index in large]
    values = tf.cond(
        norm <= clip_norm, lambda: chosen,
        lambda: tf.clip_by_global_norm(chosen, clip_norm, use_norm=norm)[0])
    for index, value in zip(large, values):
      clipped[index] = value
  return clipped, norm


def _is_large(tensor):
  return (tensor.shape.num_elements() or 0) >= LARGE
