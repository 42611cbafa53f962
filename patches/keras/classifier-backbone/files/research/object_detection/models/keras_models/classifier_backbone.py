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
"""A Keras image classifier as the backbone of a detector.

`type: 'keras:SOURCE'` in a pipeline config names one: SOURCE is a network of
tf.keras.applications, or a folder that holds `backbone.json`, which tells of a
classifier what its weights do not: the layers, how images are preprocessed, and
where it is cut. The weights come from the checkpoint that training starts from.
"""

import dataclasses
import difflib
import json
import os
import re
import sys

import tensorflow as tf

from object_detection.core import freezable_batch_norm
from object_detection.models.keras_models import classifier_cut
from object_detection.models.keras_models import classifier_preprocessing
from object_detection.models.keras_models import keras_config
from object_detection.models.keras_models import keras_sizes

# Begins the `type` of a feature extractor that is made from a classifier.
TYPE_PREFIX = 'keras:'
# The file within SOURCE's folder.
FILE_NAME = 'backbone.json'
_FORMAT = 1
# More than any description of layers takes: tf.keras.applications' largest has
# 3 MB.
_MAX_BYTES = 64 * 2 ** 20

# Layers that tf.keras.applications has of its own, and does not export.
CUSTOM_OBJECTS = {
    name: getattr(sys.modules[tf.keras.applications.ConvNeXtTiny.__module__],
                  name) for name in ('LayerScale', 'StochasticDepth')}

# Layers of the process' own code, which `allow_layers` lets `backbone.json` name.
_ALLOWED = {}

_BATCH_NORMALIZATIONS = (tf.keras.layers.BatchNormalization,
                         tf.keras.layers.experimental.SyncBatchNormalization)
_REGULARIZERS = ('kernel_regularizer', 'depthwise_regularizer',
                 'pointwise_regularizer')


def applications():
  """Returns the names of the networks of tf.keras.applications."""
  return sorted(name for name in dir(tf.keras.applications)
                if name[:1].isupper())


def application(name, **kwargs):
  """Builds a network of tf.keras.applications, its layers always named alike.

  Keras numbers layers without a name of their own through the whole process.
  Here they are numbered within the network, so that a checkpoint that goes by
  layer names fits in any process.

  Args:
    name: One of `applications()`.
    **kwargs: The network's own arguments.

  Returns:
    A `tf.keras.Model`.
  """
  model = getattr(tf.keras.applications, name)(**kwargs)
  names = _numbered_within(model)

  def rename(layer):
    config = layer.get_config()
    config['name'] = names[layer.name]
    return type(layer).from_config(config)

  renamed = tf.keras.models.clone_model(model, clone_function=rename)
  renamed.set_weights(model.get_weights())
  finalize_states(renamed)
  return renamed


def allow_layers(*classes):
  """Lets descriptions of backbones in this process name layers of its own.

  Nothing that a file says can do this: the code is the caller's.

  Args:
    *classes: Subclasses of `tf.keras.layers.Layer`, known by their names.
  """
  _ALLOWED.update((layer.__name__, layer) for layer in classes)


def custom_objects():
  """Returns name to class of all that Keras does not find by itself."""
  return {**CUSTOM_OBJECTS, **_ALLOWED}


@dataclasses.dataclass(frozen=True)
class BackboneDescription:
  """What a detector is made from, and `backbone.json` holds.

  Attributes:
    model: A functional or sequential `tf.keras.Model`; a detector takes its
      layers and not its weights.
    preprocessing: The `classifier_preprocessing.Preprocessing` of its images.
    cut_layer: The layer with which the first stage of Faster R-CNN ends; None
      for what `classifier_cut.LayerGraph.best_cut` says.
  """
  model: tf.keras.Model
  preprocessing: classifier_preprocessing.Preprocessing
  cut_layer: str = None

  def write(self, folder):
    """Writes `backbone.json`.

    Raises:
      keras_graph.Refusal: If `read` would refuse a layer of it.
    """
    content = {
        'format': _FORMAT,
        'preprocessing': dataclasses.asdict(self.preprocessing),
        'cut_layer': self.cut_layer,
        'model': keras_config.checked(
            json.loads(self.model.to_json()), custom=_ALLOWED),
    }
    with open(os.path.join(folder, FILE_NAME), 'w') as file:
      json.dump(content, file, indent=1)

  @classmethod
  def read(cls, source):
    """Reads a description.

    Args:
      source: What follows `keras:` in a config.

    Raises:
      ValueError: If there is no such network or folder, or it is damaged.
    """
    if source in applications():
      channels = (None, None, 3)
      model = application(
          source, weights=None, include_top=False, input_shape=channels)
      return cls(model, classifier_preprocessing.of_application(source))
    path = os.path.join(source, FILE_NAME)
    if not os.path.isfile(path):
      raise ValueError(
          '%s%s: there is no file %s, and no such network in '
          'tf.keras.applications%s.' % (TYPE_PREFIX, source, path,
                                        _nearest(source)))
    try:
      if os.path.getsize(path) > _MAX_BYTES:
        raise ValueError('it has %d bytes' % os.path.getsize(path))
      with open(path) as file:
        return cls._from_json(json.load(file))
    except keras_config.Refusal as refusal:
      raise keras_config.Refusal(
          '%s: %s' % (path, refusal.reason), refusal.layer, refusal.subject
      ) from None
    except RecursionError:
      raise ValueError('%s does not describe a backbone: lists within lists '
                       'without end' % path) from None
    except Exception as error:  # pylint: disable=broad-except
      # Whatever an edited file provokes in Keras, division by zero included.
      raise ValueError('%s does not describe a backbone: %s' %
                       (path, error)) from error

  @classmethod
  def _from_json(cls, content):
    """Makes one of what `write` wrote, which anyone may have edited."""
    if content['format'] != _FORMAT:
      raise ValueError('it has format %r, not %r' % (content['format'],
                                                     _FORMAT))
    config = keras_config.checked(content['model'], custom=_ALLOWED)
    fields = content['preprocessing']
    preprocessing = classifier_preprocessing.Preprocessing(
        fields['mode'], fields['channels'], tuple(fields['scale']),
        tuple(fields['offset']))
    cut_layer = content['cut_layer']
    if not isinstance(cut_layer, (str, type(None))):
      raise ValueError('its cut_layer is no name')
    with keras_sizes.limited_variables(keras_sizes.MAX_PARAMETERS, 'a backbone may have'):
      model = tf.keras.models.model_from_json(
          json.dumps(config), custom_objects=custom_objects())
    keras_sizes.check(model)
    return cls(model, preprocessing, cut_layer)


class Backbone:
  """A classifier's trunk, its layers made anew for a detector.

  The layers have the classifier's names, and initial values of their own until
  a checkpoint is restored. They compute in float32, are all trained, and take
  images of any size.

  Attributes:
    description: The `BackboneDescription` it is made from.
    trunk: The Keras model of all of them.
    layers: Layer name to layer, those with weights.
    origins: Name of each layer of the trunk to the classifier's layer.
    cuts: The trunk's `classifier_cut.Cut`s.
    left_out: The classifier's layers of images that were left out.
    resizers: Those of them that gave all images a size.
  """

  def __init__(self, description, batchnorm_training=None,
               kernel_regularizer=None):
    """Makes the layers.

    Args:
      description: A `BackboneDescription`.
      batchnorm_training: Whether batch normalization uses and updates the
        statistics of the batch in training; if False, those of the classifier.
        None is for a backbone that is not run: its layers are plain Keras'.
      kernel_regularizer: In place of the classifier's own regularizers, or None.

    Raises:
      ValueError: If the classifier cannot be cut anywhere.
    """

    def make(layer, name):
      return _rebuilt_layer(layer, name, batchnorm_training, kernel_regularizer)

    self.description = description
    self._graph = classifier_cut.LayerGraph(description.model, make)
    self._end = self._graph.cuts[-1]
    self.trunk = tf.keras.Model(self._graph.images, self._end.tensor)
    self.layers = {
        layer.name: layer for layer in self.trunk.layers if layer.weights}
    self.origins = {
        layer.name: self._graph.origins[layer.name]
        for layer in self.trunk.layers if layer.name in self._graph.origins}
    self.cuts = self._graph.cuts
    self.left_out = self._graph.left_out
    self.resizers = self._graph.resizers

  def first_stage_cut(self, stride=None):
    """Returns the `Cut` with which the first stage of Faster R-CNN ends.

    Args:
      stride: Its stride, unless the description names a layer to cut at; None
        for `classifier_cut.LayerGraph.first_stage_stride`.

    Raises:
      ValueError: If there is none, or nothing is left for the second stage.
    """
    if self.description.cut_layer is None:
      if stride is None:
        stride = self._graph.first_stage_stride()
      return self._graph.best_cut(stride, weighted_tail=True)
    cut = self._graph.cut_after(self.description.cut_layer)
    if cut is self._end:
      raise classifier_cut.CutError(
          'No layer is left for the second stage after %r.' % cut.name)
    return cut

  def stages(self, stride):
    """Returns the two stages of Faster R-CNN, a Keras model each.

    Args:
      stride: Pixels of the image for one step of the first stage's features.

    Returns:
      The first stage, which maps preprocessed images, float32 [batch, height,
      width, channels], to features, and the second, which maps crops of these
      to features of each crop. A classifier without two convolutions in a row
      is all first stage, and the second returns its crops.

    Raises:
      ValueError: If the classifier cannot be cut at this stride.
    """
    cut = self.first_stage_cut(stride)
    if cut.stride != stride:
      raise ValueError(
          '`first_stage_features_stride` is %d, and layer %r has stride %d.' %
          (stride, cut.name, cut.stride))
    first = tf.keras.Model(self._graph.images, cut.tensor)
    if cut is self._end:
      crops = tf.keras.Input((None, None, cut.channels))
      return first, tf.keras.Model(crops, tf.keras.layers.Activation('linear')(crops))
    return first, tf.keras.Model(cut.tensor, self._end.tensor)

  def map_cuts(self, strides=None):
    """Returns the last good `Cut` of each of some strides.

    Args:
      strides: In pixels; None for `classifier_cut.LayerGraph.map_strides`.

    Raises:
      ValueError: If the classifier cannot be cut at one of them.
    """
    return [self._graph.best_cut(stride, weighted_tail=False)
            for stride in strides or self._graph.map_strides()]

  def maps(self, strides=None):
    """Returns a Keras model whose outputs are the features at `map_cuts`."""
    return tf.keras.Model(self._graph.images,
                          [cut.tensor for cut in self.map_cuts(strides)])

  def checkpoint(self):
    """Returns the layers as a classification checkpoint holds them."""
    # The train loop takes only this of TensorFlow's two Checkpoint classes.
    return tf.compat.v1.train.Checkpoint(**self.layers)


class _LiveNormalization(tf.keras.layers.Normalization):
  """Normalizes by the statistics that its variables hold.

  Keras' own layer copies them when it is built, and would go on with those that
  it had before a checkpoint was restored.
  """

  def call(self, inputs):
    self.finalize_state()
    return super().call(inputs)


def finalize_states(model):
  """Lets a model's layers take note that their variables were assigned."""
  for layer in model._flatten_layers():  # pylint: disable=protected-access
    layer.finalize_state()


def variables_of(layer):
  """Returns the variables of a layer, keyed by their own names, as `kernel`."""
  names = [variable.name.split(':')[0].split('/') for variable in layer.weights]
  own = [parts[-1] for parts in names]
  if len(set(own)) < len(own):  # A layer of layers, as attention is.
    own = ['/'.join(parts[-2:]) for parts in names]
  return dict(zip(own, layer.weights))


def _rebuilt_layer(layer, name, batchnorm_training, kernel_regularizer):
  """Returns a layer of the same configuration, for a detector to train."""
  config = layer.get_config()
  config.update(name=name, trainable=True)
  if 'dtype' in config:
    config['dtype'] = 'float32'
  for key in config:
    if key in _REGULARIZERS:
      config[key] = kernel_regularizer
    elif key.endswith(('_regularizer', '_constraint')):
      config[key] = None
  if batchnorm_training is None:
    return type(layer).from_config(config)
  if isinstance(layer, tf.keras.layers.Normalization):
    return _LiveNormalization.from_config(config)
  if isinstance(layer, _BATCH_NORMALIZATIONS):
    config.pop('synchronized', None)
    return freezable_batch_norm.FreezableBatchNorm(
        training=batchnorm_training, **config)
  return type(layer).from_config(config)


def _numbered_within(model):
  """Returns layer name to the name it has if the model is the first one built.

  Keras' own weights files have these names, so the order has to be Keras' own.
  """
  names = {layer.name: layer.name for layer in model.layers}
  generated = {}
  for layer in model.layers:
    kind = type(layer).__name__
    base = 'tf.' + layer.symbol if hasattr(layer, 'symbol') else re.sub(
        r'(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])', '_', kind).lower()
    match = re.fullmatch(re.escape(base) + r'(?:_(\d+))?', layer.name)
    if match:
      generated.setdefault(base, []).append((int(match[1] or 0), layer.name))
  for base, numbered in generated.items():
    for number, (_, name) in enumerate(sorted(numbered)):
      names[name] = '%s_%d' % (base, number) if number else base
  return names


def _nearest(source):
  near = difflib.get_close_matches(source, applications(), n=1, cutoff=0.6)
  return '; did you mean %s?' % near[0] if near else ''
