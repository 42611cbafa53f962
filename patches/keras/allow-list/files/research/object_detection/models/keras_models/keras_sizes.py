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
"""Bounds the memory that a model from outside can ask for.

A configuration of a few hundred bytes can declare a layer of two billion units.
Keras would allocate and fill it before anything compares it with the weights.
"""

import contextlib
import math

import tensorflow as tf

from object_detection.models.keras_models import keras_graph

# Parameters of a model whose weights are elsewhere: 4 GB. The largest network of
# tf.keras.applications, ConvNeXtXLarge, has 350 million.
MAX_PARAMETERS = 10 ** 9


@contextlib.contextmanager
def bounded(most, what):
  """Refuses to make variables of more values than a bound, all taken together.

  Args:
    most: The bound.
    what: What has so many, for the message.

  Yields:
    Nothing.

  Raises:
    keras_graph.Refusal: At the first variable beyond, before its memory is taken.
  """
  total = 0

  def create(next_creator, **kwargs):
    nonlocal total
    shape = kwargs.get('shape')
    if shape is None and hasattr(kwargs.get('initial_value'), 'shape'):
      shape = kwargs['initial_value'].shape
    if shape is not None and tf.TensorShape(shape).is_fully_defined():
      total += math.prod(tf.TensorShape(shape).as_list())
    if total > most:
      raise keras_graph.Refusal(
          'its layers declare more than the %d values that %s' % (most, what),
          str(kwargs.get('name') or '') or None)
    return next_creator(**kwargs)

  with tf.variable_creator_scope(create):
    yield
