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
"""Finds where a Keras image classifier can be cut into backbone and head.

A classifier can be cut at a tensor through which every path from its input to
its output passes. In the graph of its layers these are the articulation points:
between the blocks of a ResNet there is one, within NASNet's cells there is none.
"""

import dataclasses

import tensorflow as tf

# Products gate or scale one path by another, within a block or an activation.
_PRODUCTS = ('Multiply', '__operators__.mul', 'math.multiply')
# What stands between a merge and the next block and belongs to the former.
_FINISHES = ('Activation', 'BatchNormalization', 'Dropout', 'ELU',
             'LayerNormalization', 'LeakyReLU', 'PReLU', 'ReLU',
             'SpatialDropout2D')
_HEADS = ('Flatten', 'GlobalAveragePooling2D', 'GlobalMaxPooling2D', 'Reshape')
# Random changes to the image. They do nothing at inference, and in a detector
# they would move the objects away from their boxes.
_AUGMENTATIONS = ('RandomBrightness', 'RandomContrast', 'RandomFlip',
                  'RandomRotation', 'RandomTranslation', 'RandomZoom')
_FIXED_SIZES = ('CenterCrop', 'RandomCrop', 'RandomHeight', 'RandomWidth',
                'Resizing')


class CutError(ValueError):
  """A classifier that cannot be cut; the message says where it resists."""


@dataclasses.dataclass(frozen=True)
class Cut:
  """A tensor through which every path from the images to the classes passes.

  Attributes:
    name: The layer whose output it is.
    stride: Pixels of the image for one step of the tensor.
    channels: Depth of the tensor.
    parameters_before: Parameters of the layers up to here.
    parameters_after: Parameters of the layers from here to the trunk's end.
    ends_block: Whether a block of the classifier ends here.
    occurrence: How many calls of this layer came before.
    tensor: The Keras tensor, float [batch, height, width, channels].
  """
  name: str
  stride: int
  channels: int
  parameters_before: int
  parameters_after: int
  ends_block: bool
  occurrence: int
  tensor: object = dataclasses.field(compare=False, repr=False)


class LayerGraph:
  """The calls of a classifier's layers, each made again, nested models unfolded.

  The layers are the classifier's own, and so are their weights, unless they are
  made anew. Layers that change images at random in training are left out.

  Attributes:
    images: The Keras tensor that the classifier takes,
      [batch, height, width, channels].
    cuts: All cuts of the trunk, from the first to the trunk's end. The trunk
      is what comes before the pooling or flattening of the classification head.
  """

  def __init__(self, model, make_layer=None):
    """Calls every layer of a classifier.

    Args:
      model: A functional or sequential `tf.keras.Model`.
      make_layer: Takes a layer and a name, and returns the layer of this name
        to call in its place; or None, to call the layer itself. With other
        layers the trunk alone is called, on `images` that are float32 and of
        any height and width.

    Raises:
      CutError: If the model does not classify images, gives them a size of its
        own, or has no cuts.
    """
    if len(model.inputs or ()) != 1 or len(model.inputs[0].shape) != 4:
      raise CutError('The model does not take one batch of images.')
    given = model.inputs[0]
    self.images = tf.keras.Input(given.shape[1:], dtype=given.dtype)
    self._calls = []
    self._strides = {id(self.images): 1}
    outputs = _replay(model, [self.images], self._call)
    live = _live_tensors(self._calls, self.images, outputs)
    self.cuts = self._find_cuts(live)
    if not self.cuts:
      raise CutError('No tensor of the model has every path through it.')
    self._live = live
    self.origins = {call.layer.name: call.layer for call in self._calls}
    if make_layer is not None:
      self._rebuild(make_layer)

  def best_cut(self, stride, weighted_tail):
    """Returns the last good cut of a stride.

    Where paths merge, the last merge counts, with the normalization and the
    activation after it: not the padding or the expansion that opens the next
    block. A classifier without branches is cut where its stride changes, and
    the last stride of all ends with the trunk.

    Args:
      stride: Pixels of the image for one step of the cut.
      weighted_tail: Whether layers with weights have to follow in the trunk.

    Returns:
      A `Cut`.

    Raises:
      CutError: If there is none; names the layers that straddle the stride.
    """
    if not weighted_tail and self.cuts[-1].stride == stride:
      return self.cuts[-1]
    cuts = [cut for cut in self.cuts if cut.stride == stride and
            (cut.parameters_after or not weighted_tail)]
    if not cuts:
      raise CutError(self._why_no_cut(stride, weighted_tail))
    good = [cut for cut in cuts if cut.ends_block]
    return (good or cuts)[-1]

  def cut_after(self, name):
    """Returns the cut after a layer.

    Raises:
      CutError: If there is none; says what straddles it.
    """
    for cut in self.cuts:
      if cut.name == name:
        return cut
    names = [call.layer.name for call in self._calls]
    if name not in names:
      raise CutError('The model has no layer %r.' % name)
    index = names.index(name)
    raise CutError('The model cannot be cut after layer %r: %s.' %
                   (name, self._parallel_outputs(index)))

  def _call(self, layer, args, kwargs):
    """Calls a layer once more and takes note."""
    kind = type(layer).__name__
    inputs = [value for value in tf.nest.flatten((args, kwargs))
              if isinstance(value, type(self.images))]
    if kind in _AUGMENTATIONS:
      return inputs[0]
    if kind in _FIXED_SIZES:
      raise CutError('Layer %r (%s) gives images a size of its own, which a '
                     'detector does itself.' % (layer.name, kind))
    # Whether to train is for the detector to say, and not for the classifier.
    kwargs = {key: kwargs[key] for key in kwargs if key != 'training'}
    outputs = layer(*args, **kwargs)
    for output in tf.nest.flatten(outputs):
      stride = _stride_after(layer, [self._strides[id(t)] for t in inputs],
                             output)
      self._strides[id(output)] = stride
      self._calls.append(
          _Call(layer, args, kwargs, inputs, outputs, output, stride))
    return outputs

  def _rebuild(self, make_layer):
    """Calls the trunk once more, with other layers and images of any size."""
    images = tf.keras.Input((None, None, self.images.shape[-1]))
    tensors = {id(self.images): images}
    new_layers = {}
    self.origins = {}
    for call in self._calls:
      if id(call.output) in tensors:
        continue  # Another output of a layer that has been called.
      if id(call.layer) not in new_layers:
        name = call.layer.name
        # Two models within the classifier may both have a layer of this name.
        while name in self.origins:
          name += '_again'
        new_layers[id(call.layer)] = make_layer(call.layer, name)
        self.origins[name] = call.layer
      args, kwargs = tf.nest.map_structure(
          lambda value: tensors.get(id(value), value),
          (call.args, call.kwargs))
      outputs = new_layers[id(call.layer)](*args, **kwargs)
      tensors.update(zip(map(id, tf.nest.flatten(call.outputs)),
                         tf.nest.flatten(outputs)))
      if call.output is self.cuts[-1].tensor:
        break
    names = {id(origin): name for name, origin in self.origins.items()}
    producers = {id(call.output): call.layer for call in self._calls}
    self.images = images
    self.cuts = [
        dataclasses.replace(cut, name=names[id(producers[id(cut.tensor)])],
                            tensor=tensors[id(cut.tensor)])
        for cut in self.cuts]

  def _find_cuts(self, live):
    """Returns the cuts of the trunk."""
    places = []
    for place, call in enumerate(self._calls):
      if len(live[place]) == 1:
        if call.stride is None or call.kind in _HEADS:
          break
        places.append(place)
    while places and self._calls[places[-1]].output.shape[1] == 1:
      places.pop()  # Pooled to one point: it belongs to the head.
    if not places:
      return []
    trunk = self._calls[:places[-1] + 1]
    ends = self._block_ends(places)
    return [
        Cut(call.layer.name, call.stride, call.output.shape[-1],
            _parameters(trunk[:place + 1]),
            _parameters(trunk) - _parameters(trunk[:place + 1]), place in ends,
            sum(earlier.layer is call.layer for earlier in trunk[:place]),
            call.output)
        for place, call in ((place, self._calls[place]) for place in places)
    ]

  def _block_ends(self, places):
    """Returns those of some cuts at which a block ends."""
    merged = set()
    changes = set()
    for place in places:
      call = self._calls[place]
      if call.merges or (call.finishes and place - 1 in merged):
        merged.discard(place - 1)
        merged.add(place)
      following = [later for later in self._calls[place + 1:]
                   if later.stride != call.stride or later.has_weights]
      if not call.kind.startswith('ZeroPadding') and (
          not following or following[0].stride != call.stride):
        changes.add(place)
      if not call.has_weights and place and (
          self._calls[place - 1].stride != call.stride):
        changes.add(place)
    by_stride = {self._calls[place].stride for place in merged}
    return merged | {place for place in changes
                     if self._calls[place].stride not in by_stride}

  def _why_no_cut(self, stride, weighted_tail):
    places = [place for place, call in enumerate(self._calls)
              if call.stride == stride]
    if not places:
      strides = sorted({call.stride for call in self._calls if call.stride})
      return 'The model has no tensor of stride %d, only of %s.' % (
          stride, ', '.join(map(str, strides)))
    if weighted_tail and any(cut.stride == stride for cut in self.cuts):
      return 'No layer with weights follows in the trunk after stride %d.' % (
          stride)
    return 'The model cannot be cut at stride %d: %s.' % (
        stride, self._parallel_outputs(places[-1]))

  def _parallel_outputs(self, place):
    """Says which layers' outputs have to get past a place side by side."""
    producers = {id(call.output): call.layer.name for call in self._calls}
    if len(self._live[place]) < 2:
      return 'it belongs to the classification head'
    names = [producers.get(tensor, 'the input') for tensor in self._live[place]]
    return 'the outputs of %s skip over each other' % ' and '.join(
        map(repr, names[:4]))


@dataclasses.dataclass(frozen=True)
class _Call:
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


def _replay(model, inputs, call):
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
        outputs = _replay(node.layer, tf.nest.flatten(args), call)
      else:
        outputs = tf.nest.flatten(call(node.layer, args, kwargs))
      tensors.update(zip(map(str, node.flat_output_ids), outputs))
  return [tensors[str(id(tensor))] for tensor in model.outputs]


def _stride_after(layer, strides, output):
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


def _live_tensors(calls, images, outputs):
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


def _parameters(calls):
  """Returns how many parameters the layers of some calls have, each once."""
  layers = {id(call.layer): call.layer for call in calls}
  return sum(layer.count_params() for layer in layers.values())
