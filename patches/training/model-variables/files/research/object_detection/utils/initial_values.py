"""Initial values of large variables, computed in the memory that they stay in.

Random numbers are drawn, then scaled, then shifted. Eagerly each of these is
another tensor, all of them live at once, and TensorFlow's allocator keeps what
they took: for VGG-16's first fully connected layer two times 411 MB.
"""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import contextlib

import tensorflow.compat.v2 as tf

from tensorflow.python.trackable import base as trackable

# Values of a variable from which on it is worth making a function.
LARGE = 2**20


@contextlib.contextmanager
def computed_in_place():
  """Has variables that are created in this context compute large values so.

  Within a tf.function an operation takes over the memory of an input that
  nothing else reads.
  """
  optimizer = tf.config.optimizer
  without_grappler = 'disable_meta_optimizer'
  former = optimizer.get_experimental_options().get(without_grappler, False)

  def in_function(function):
    # Grappler would take the numbers for constants, because their seed is one,
    # compute them on one core and keep them with the graph.
    optimizer.set_experimental_options({without_grappler: True})
    try:
      return tf.function(function, autograph=False)()
    finally:
      optimizer.set_experimental_options({without_grappler: former})

  def creator(next_creator, **kwargs):
    value, shape = kwargs.get('initial_value'), kwargs.get('shape')
    if callable(value) and not _is_restored(value) and (
        tf.TensorShape(shape).num_elements() or 0) >= LARGE:
      kwargs['initial_value'] = lambda: in_function(value)
    return next_creator(**kwargs)

  with tf.variable_creator_scope(creator):
    yield


def _is_restored(value):
  """Whether an initial value comes from a checkpoint that was restored before."""
  # Keras layers bind shape and dtype to it.
  return isinstance(getattr(value, 'func', value),
                    trackable.CheckpointInitialValueCallable)
