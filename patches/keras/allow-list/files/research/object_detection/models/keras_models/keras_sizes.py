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
"""Bounds the memory and the time that a model from outside can ask for.

A configuration of a few hundred bytes can declare a layer of two billion units,
an image of a terabyte, or a loop without end. Keras would make them before
anything compares them with the weights.
"""

import collections
import contextlib
import math

import tensorflow as tf

from object_detection.models.keras_models import keras_graph

# Parameters of a model whose weights are elsewhere: 4 GB. The largest network of
# tf.keras.applications, ConvNeXtXLarge, has 350 million.
MAX_PARAMETERS = 10 ** 9
# Values of one tensor, for one image: 1 GB. VGG-16's largest has 38 million for
# 600x1000 pixels.
MAX_VALUES = 2 ** 28
# Side in pixels of the image for a model that takes any size.
FREE_SIDE = 96
_FREE_SIDES = (FREE_SIDE, 2 * FREE_SIDE, 4 * FREE_SIDE)
# Operations that a layer makes one after the other, a millisecond each.
MAX_STEPS = 2 ** 14

# Layers that make nothing larger than their inputs, outputs and weights.
_PLAIN = frozenset(
    'Activation Add AveragePooling2D BatchNormalization Conv2D Dense '
    'DepthwiseConv2D Dropout Flatten Functional GlobalAveragePooling2D '
    'GlobalMaxPooling2D InputLayer MaxPooling2D Multiply ReLU Rescaling '
    'SeparableConv2D Sequential Concatenate ZeroPadding2D'.split())

# Make tensors larger than their inputs, by numbers that may come from the image.
_GROWING = ('BroadcastTo', 'Fill', 'LinSpace', 'MirrorPad', 'OneHot', 'Pad',
            'PadV2', 'RandomStandardNormal', 'RandomUniform', 'Range',
            'ResizeArea', 'ResizeBicubic', 'ResizeBilinear',
            'ResizeNearestNeighbor', 'ScaleAndTranslate', 'Tile')


@contextlib.contextmanager
def limited_variables(limit, owner):
  """Refuses to make variables of more values than a bound, all taken together.

  Layers of Keras 2 are refused, too, at the first tensor beyond `MAX_VALUES`,
  and the loader of a graph where it goes round in a circle.

  Args:
    limit: The bound.
    owner: What has so many, for the message.

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
    if total > limit:
      raise keras_graph.Refusal(
          'its layers declare more than the %d values that %s' % (limit, owner),
          str(kwargs.get('name') or '') or None)
    return next_creator(**kwargs)

  with tf.variable_creator_scope(create), _limited_calls():
    yield


@contextlib.contextmanager
def limited_tensors(layer_class, on_call=lambda: None):
  """Refuses calls with tensors that are too large, as long as the block takes.

  Args:
    layer_class: Of layers or operations, of either Keras.
    on_call: Is told of each call.

  Yields:
    Nothing.

  Raises:
    keras_graph.Refusal: From a call, where a tensor is larger than `MAX_VALUES`,
      or takes more than `MAX_STEPS` operations to make.
  """
  call = layer_class.__call__

  def checked_call(layer, *args, **kwargs):
    on_call()
    _check_steps(layer, _check_tensors(layer, (args, kwargs)))
    outputs = call(layer, *args, **kwargs)
    _check_tensors(layer, outputs)
    return outputs

  layer_class.__call__ = checked_call
  try:
    yield
  finally:
    layer_class.__call__ = call


@contextlib.contextmanager
def _limited_calls():
  """Limits the tensors of Keras 2's calls, and its loader's tries between them.

  It takes a tensor that a keyword names and that is not there for one that is
  yet to come, the ninth output of a layer with one, and tries again for ever.
  """
  from tf_keras.src.utils import tf_utils  # pylint: disable=g-import-not-at-top

  convert = tf_utils.convert_inner_node_data
  tries = collections.Counter()

  def counted(nested, wrap=False):
    tries[id(nested)] += 1
    if tries[id(nested)] > 3:  # A round from anywhere takes two.
      raise keras_graph.Refusal('it waits for a tensor that is never there')
    return convert(nested, wrap)

  tf_utils.convert_inner_node_data = counted
  try:
    with limited_tensors(tf.keras.layers.Layer, tries.clear):
      yield
  finally:
    tf_utils.convert_inner_node_data = convert


def _check_tensors(layer, values):
  """Returns the shapes of tensors among arguments or outputs, if all are small."""
  shapes = [tuple(value.shape) for value in tf.nest.flatten(values)
            if getattr(getattr(value, 'shape', None), '__len__', None)
            and getattr(value.shape, 'rank', 0) is not None]
  for shape in shapes:
    _check_size(layer.name, shape)
  return shapes


def _check_size(name, shape):
  if math.prod(side for side in shape if side is not None) > MAX_VALUES:
    raise keras_graph.Refusal(
        'the model makes of one image a tensor of %s values, at most %s' % (
            'x'.join('?' if side is None else str(side) for side in shape),
            format(MAX_VALUES, ',')), name)


def _check_steps(layer, shapes):
  """Refuses a layer of Keras 2 that makes an operation for each place."""
  kind = type(layer).__name__
  sides = [side or FREE_SIDE for side in shapes[0][1:]] if shapes else []
  if kind.startswith('LocallyConnected'):
    steps = math.prod(sides) // max(1, math.prod(layer.strides) * sides[-1])
  elif kind in ('UpSampling1D', 'UpSampling3D') and sides:
    size = layer.size if isinstance(layer.size, tuple) else (layer.size,)
    steps = max(sides) * max(size)
  else:
    return
  if steps > MAX_STEPS:
    raise keras_graph.Refusal(
        'it is made of %d operations, at most %d' % (steps, MAX_STEPS),
        layer.name)


def check(model):
  """Refuses a model that makes of one image what memory does not hold.

  Every tensor within the layers is looked at, and none is computed. Where only
  layers that need nothing besides their inputs and outputs stand one after the
  other, in known sizes, a look at each call was enough; see `limited_tensors`.

  Args:
    model: Functional or sequential, of either Keras.

  Raises:
    keras_graph.Refusal: If a tensor is too large, its size depends on what is in
      the image, or the model cannot be run.
  """
  if _is_plain(model):
    return
  graph = _traced(model)
  for operation in graph.get_operations():
    for tensor in operation.outputs:
      if tensor.shape.rank is None or not tensor.dtype.is_numpy_compatible:
        continue
      _check_size(operation.name, tuple(tensor.shape))
      if operation.type in _GROWING and not tensor.shape.is_fully_defined():
        raise keras_graph.Refusal(
            'the size of a tensor depends on what is in the image',
            operation.name)


def _traced(model):
  """Returns the graph of a call; see `check`."""
  function = tf.function(
      lambda *inputs: model(list(inputs) if len(inputs) > 1 else inputs[0]),
      autograph=False)
  free = any(None in tensor.shape[1:] for tensor in model.inputs)
  # Of convolutions without padding, a small image may leave nothing.
  for side in _FREE_SIDES if free else _FREE_SIDES[-1:]:
    specs = [tf.TensorSpec([1, *(known or side for known in tensor.shape[1:])],
                           tensor.dtype) for tensor in model.inputs]
    try:
      return function.get_concrete_function(*specs).graph
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
      # NASNet runs on none, made for images of any size. Of a model that stops
      # half way nobody knows what comes after.
      if side == _FREE_SIDES[-1]:
        raise keras_graph.Refusal(
            'it cannot be run on an image of %s values: %s' %
            ('x'.join(map(str, specs[0].shape[1:])), error)) from error


def _is_plain(model):
  if any(None in tensor.shape[1:] for tensor in model.inputs):
    return False
  parts = list(model._flatten_layers())  # pylint: disable=protected-access
  for part in parts[:]:
    # Those of Keras 3 that are no layers.
    parts.extend(getattr(part, '_operations', ()))
  return all(type(part).__name__ in _PLAIN for part in parts)
