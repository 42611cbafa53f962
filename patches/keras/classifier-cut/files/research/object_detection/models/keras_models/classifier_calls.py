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
"""The calls that a Keras model is made of, nested models unfolded."""

import dataclasses

import tensorflow as tf

# Products gate or scale one path by another, within a block or an activation.
_PRODUCTS = ('Multiply', '__operators__.mul', 'math.multiply')
# What stands between a merge and the next block and belongs to the former.
_FINISHES = ('Activation', 'BatchNormalization', 'Dropout', 'ELU',
             'LayerNormalization', 'LeakyReLU', 'PReLU', 'ReLU',
             'SpatialDropout2D')
# Make probabilities of the scores of classes.
_PROBABILITIES = ('sigmoid', 'softmax')
_CONVOLUTIONS = ('Conv2D', 'SeparableConv2D')


class CutError(ValueError):
  """A classifier that cannot be cut; the message says where it resists."""


@dataclasses.dataclass(frozen=True)
class Call:
  """One call of a layer. `stride` is None without height and width."""
  layer: tf.keras.layers.Layer
  args: tuple
  kwargs: dict
  inputs: list
  outputs: object
  output: object
  stride: int

  @property
  def kind(self):
    return type(self.layer).__name__

  @property
  def has_weights(self):
    return bool(self.layer.weights)

  @property
  def is_convolution(self):
    return self.kind in _CONVOLUTIONS

  @property
  def is_linear(self):
    return self._activation == 'linear'

  @property
  def makes_probabilities(self):
    names = {self._activation, self.kind.lower(),
             getattr(self.layer, 'symbol', '').rpartition('.')[2]}
    return bool(names.intersection(_PROBABILITIES))

  @property
  def _activation(self):
    activation = getattr(self.layer, 'activation', None)
    return getattr(activation, '__name__', None)

  @property
  def merges(self):
    several = len({id(tensor) for tensor in self.inputs}) > 1
    return several and not {
        self.kind, getattr(self.layer, 'symbol', None)}.intersection(_PRODUCTS)

  @property
  def finishes(self):
    return len(self.inputs) == 1 and (self.kind in _FINISHES or
                                      self.kind == 'TFOpLambda')


class _Endless:
  """A list that `Node.map_arguments` can take the same tensor from for ever."""

  def __init__(self, tensor):
    self._tensor = tensor

  def pop(self):
    return self._tensor


def replay(model, inputs, call):
  """Makes all calls of a model again, and those of the models in it.

  Args:
    model: A functional or sequential `tf.keras.Model`.
    inputs: Keras tensors to take the place of its inputs.
    call: Takes a layer, arguments and keyword arguments, and returns what the
      layer makes of them.

  Returns:
    What takes the place of the model's outputs, a list.
  """
  tensors = {str(id(old)): new for old, new in zip(model.inputs, inputs)}
  for depth in sorted(model._nodes_by_depth, reverse=True):  # pylint: disable=protected-access
    for node in model._nodes_by_depth[depth]:  # pylint: disable=protected-access
      if node.is_input:
        continue
      args, kwargs = node.map_arguments(
          {key: _Endless(tensors[key]) for key in map(str, node.flat_input_ids)})
      if isinstance(node.layer, tf.keras.Model):
        if not hasattr(node.layer, '_nodes_by_depth'):
          raise CutError('Layer %r is a subclassed model, whose graph only its '
                         'code knows.' % node.layer.name)
        outputs = replay(node.layer, tf.nest.flatten(args), call)
      else:
        outputs = tf.nest.flatten(call(node.layer, args, kwargs))
      tensors.update(zip(map(str, node.flat_output_ids), outputs))
  return [tensors[str(id(tensor))] for tensor in model.outputs]


def stride_after(layer, strides, output):
  """Returns the stride of a layer's output, or None if it has no extent."""
  kind = type(layer).__name__
  # What has no extent, as the weights of squeeze and excitation, is broadcast.
  strides = [stride for stride in strides if stride]
  if len(output.shape) != 4 or not strides or kind.startswith('Global'):
    return None
  stride = max(strides)
  step = getattr(layer, 'strides', None)
  if kind.startswith('UpSampling'):
    return stride // layer.size[0]
  if step is None:
    return stride
  step = step[0] if isinstance(step, (tuple, list)) else step
  return stride // step if kind.endswith('Transpose') else stride * step


def live_tensors(calls, images, outputs):
  """Returns for each call the ids of the tensors that are still waited for."""
  last_use = {id(tensor): place for place, call in enumerate(calls)
              for tensor in call.inputs}
  last_use.update((id(tensor), len(calls)) for tensor in outputs)
  waited_for = [id(images)]
  live = []
  for place, call in enumerate(calls):
    candidates = [*waited_for, id(call.output)]
    waited_for = [key for key in candidates if last_use.get(key, -1) > place]
    live.append(waited_for)
  return live


def count_parameters(calls):
  """Returns how many parameters the layers of some calls have, each once."""
  layers = {id(call.layer): call.layer for call in calls}
  return sum(layer.count_params() for layer in layers.values())
