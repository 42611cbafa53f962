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

from object_detection.models.keras_models import classifier_calls

CutError = classifier_calls.CutError

_HEADS = ('Flatten', 'GlobalAveragePooling2D', 'GlobalMaxPooling2D', 'Reshape')
# Random changes to the image. They do nothing at inference, and in a detector
# they would move the objects away from their boxes.
_AUGMENTATIONS = ('RandomBrightness', 'RandomContrast', 'RandomFlip',
                  'RandomRotation', 'RandomTranslation', 'RandomZoom')
# Give images a size of their own, which is for the detector to do.
_FIXED_SIZES = ('CenterCrop', 'RandomCrop', 'RandomHeight', 'RandomWidth',
                'Resizing')
# Of the first stage of Faster R-CNN: arXiv:1506.01497, section 3.3.
_FIRST_STAGE_STRIDE = 16
# Of the maps that SSD takes from a classifier: VGG-16's conv4_3 has 8, and
# arXiv:1708.02002, section 3, begins its pyramid with the same.
_MAP_STRIDES = (8, 16, 32)


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

  @property
  def divides_weights(self):
    return self.parameters_before > 0 and self.parameters_after > 0


class LayerGraph:
  """The calls of a classifier's layers, each made again, nested models unfolded.

  The layers are the classifier's own, and so are their weights, unless they are
  made anew. Layers that change images at random in training are left out, and
  so are those in front that change their size.

  Attributes:
    images: The Keras tensor that the classifier takes,
      [batch, height, width, channels].
    cuts: All cuts of the trunk, from the first to the trunk's end. The trunk
      is what comes before the classification head: the pooling or flattening,
      and with it a convolution before that has a channel for each class.
    left_out: The layers of images that were left out, in order.
    resizers: Those of them that gave all images a size.
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
    self.left_out = []
    self.resizers = []
    self._calls = []
    self._strides = {id(self.images): 1}
    outputs = classifier_calls.replay(model, [self.images], self._call)
    live = classifier_calls.live_tensors(self._calls, self.images, outputs)
    self.cuts = self._find_cuts(live, outputs)
    if not self.cuts:
      raise CutError('No tensor of the model has every path through it.')
    self._live = live
    self.origins = {call.layer.name: call.layer for call in self._calls}
    if make_layer is not None:
      self._rebuild(make_layer)

  def first_stage_stride(self):
    """Returns the stride at which Faster R-CNN cuts.

    It is 16 where the classifier has tensors of that. Else, or where no layer
    with weights would be left for the second stage, the deepest cut before
    counts, and in a classifier whose strides are all larger the first.

    Raises:
      CutError: If tensors of stride 16 skip over each other.
    """
    if _FIRST_STAGE_STRIDE in self._trunk_strides:
      self.best_cut(_FIRST_STAGE_STRIDE, weighted_tail=False)
    strides = {cut.stride for cut in self.cuts if cut.divides_weights}
    strides = strides or {self.cuts[-1].stride}
    return min(strides, key=lambda stride: (
        stride > _FIRST_STAGE_STRIDE, abs(stride - _FIRST_STAGE_STRIDE)))

  def map_strides(self):
    """Returns the strides of the maps that SSD takes, in ascending order.

    They are those of 8, 16 and 32 that the classifier comes to. One that comes
    to none of them gives its deepest map alone.
    """
    found = sorted(self._trunk_strides.intersection(_MAP_STRIDES))
    if found:
      return found
    strides = {cut.stride for cut in self.cuts}
    return [max((stride for stride in strides if stride < max(_MAP_STRIDES)),
                default=min(strides))]

  def best_cut(self, stride, weighted_tail):
    """Returns the last good cut of a stride.

    Where paths merge, the last merge counts, with the normalization and the
    activation after it: not the padding or the expansion that opens the next
    block. A classifier without branches is cut where its stride changes, and
    the last stride of all ends with the trunk.

    Args:
      stride: Pixels of the image for one step of the cut.
      weighted_tail: Whether layers with weights have to follow in the trunk,
        if any cut has some on both sides.

    Returns:
      A `Cut`.

    Raises:
      CutError: If there is none; names the layers that straddle the stride.
    """
    weighted_tail &= any(cut.divides_weights for cut in self.cuts)
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
      self.left_out.append(layer)
      return inputs[0]
    if kind in _FIXED_SIZES:
      if any(call.has_weights for call in self._calls):
        raise CutError(
            'Layer %r (%s) gives features a size of its own, whatever the size '
            'of the image.' % (layer.name, kind))
      self.left_out.append(layer)
      self.resizers.append(layer)
    # Whether to train is for the detector to say, and not for the classifier.
    kwargs = {key: kwargs[key] for key in kwargs if key != 'training'}
    outputs = layer(*args, **kwargs)
    for output in tf.nest.flatten(outputs):
      stride = classifier_calls.stride_after(layer, [self._strides[id(t)] for t in inputs],
                             output)
      self._strides[id(output)] = stride
      self._calls.append(
          classifier_calls.Call(layer, args, kwargs, inputs, outputs, output, stride))
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
      if call.layer in self.resizers:
        tensors[id(call.output)] = tensors[id(call.inputs[0])]
        continue
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
      outputs = _call_at_any_size(new_layers[id(call.layer)], args, kwargs)
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

  def _find_cuts(self, live, outputs):
    """Returns the cuts of the trunk."""
    end = self._head(live, outputs)
    places = [place for place in range(end)
              if len(live[place]) == 1 and
              self._calls[place].layer not in self.resizers]
    while places and self._calls[places[-1]].output.shape[1] == 1:
      places.pop()  # Pooled to one point: it belongs to the head.
    if not places:
      return []
    trunk = self._calls[:places[-1] + 1]
    self._trunk_strides = {call.stride for call in trunk}
    total = classifier_calls.count_parameters(trunk)
    ends = self._block_ends(places)
    cuts = []
    for place in places:
      call = self._calls[place]
      before = classifier_calls.count_parameters(trunk[:place + 1])
      cuts.append(Cut(
          call.layer.name, call.stride, call.output.shape[-1], before,
          total - before, place in ends,
          sum(earlier.layer is call.layer for earlier in trunk[:place]),
          call.output))
    return cuts

  def _head(self, live, outputs):
    """Returns the place of the first call of the classification head."""
    pooling = next(
        (place for place, call in enumerate(self._calls)
         if len(live[place]) == 1 and
         (call.stride is None or call.kind in _HEADS)), len(self._calls))
    after = self._calls[pooling:]
    if len(outputs) > 1 or not after or not after[0].kind.startswith('Global'):
      return pooling
    if any(call.has_weights for call in after):
      return pooling
    # Nothing with weights follows, so what comes before may make the classes.
    for place in reversed(range(pooling)):
      call = self._calls[place]
      if len(live[place]) != 1 or not (call.finishes or call.is_convolution):
        break
      if call.is_convolution:
        return place if self._makes_classes(place, pooling, outputs[0]) else pooling
    return pooling

  def _makes_classes(self, place, pooling, output):
    """Returns whether a convolution before the pooling makes the classes.

    A network without its head may end with the pooling of as many channels, so
    that their number alone is no sign: they are scores where probabilities are
    made of them, or where nothing but the pooling follows.
    """
    call = self._calls[place]
    return (call.output.shape[-1] == output.shape[-1] and
            any(earlier.has_weights for earlier in self._calls[:place]) and
            (any(later.makes_probabilities for later in self._calls[place:]) or
             call.is_linear and pooling == place + 1))

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


def _call_at_any_size(layer, args, kwargs):
  """Calls a layer on tensors whose height and width are open.

  Raises:
    CutError: If the layer needs them; names it.
  """
  try:
    return layer(*args, **kwargs)
  except (TypeError, ValueError) as error:
    raise CutError(
        'Layer %r (%s) works at one image size only: %s' %
        (layer.name, type(layer).__name__,
         ' '.join(str(error).split())[:300])) from error
