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
"""Checks the configuration of a Keras model from outside: data, never code.

`checked` is the one door. It takes what JSON gave, looks at every object within
it against `keras_allow_list`, and returns a copy that Keras may read. It calls
nothing of Keras or TensorFlow, and costs a fraction of what Keras does with the
result.
"""

import math
import re

from object_detection.models.keras_models import keras_allow_list
from object_detection.models.keras_models import keras_graph

Kind = keras_allow_list.Kind
Refusal = keras_graph.Refusal

# Lists and dictionaries within each other. A layer stands five deep; models in
# models add five each.
MAX_DEPTH = 100
# NASNetLarge and EfficientNetV2L have a thousand layers.
MAX_LAYERS = 10000
# Values of all kinds; those of EfficientNetV2L are 60,000.
MAX_VALUES = 2000000
MAX_TEXT = 1024

# What the layers of a model come to when the models that are called within it
# are counted at each call: a model that calls one twice, which calls one twice,
# and so on, is small to write down.
MAX_CALLS = 50000
# Parts into which an operation may split a tensor, each of which is a tensor.
MAX_PARTS = 4096
# Values of a tensor whose shape a configuration gives: see `keras_sizes`.
MAX_SHAPE = 2 ** 28

# Where Keras 2 and 3 keep classes, in all their versions.
_MODULE = re.compile(
    r'((tf_keras|keras|tensorflow\.(python\.)?keras)(\.[a-z_][a-z0-9_]*)*|'
    r'tensorflow\.python\.ops\.init_ops(_v2)?)')
_OPERATIONS_MODULE = re.compile(r'keras(\.src)?\.ops(\.[a-z_]+)*')
_DTYPE = re.compile(r'(mixed_)?b?float(16|32|64)|u?int(8|16|32|64)|bool')
# What an argument of an operation may say: a mode, a dtype, einsum's equation.
_WORD = re.compile(r'[\w,.> -]{0,64}', re.ASCII)

# Classes that stand for a value: the keys of what they hold.
_VALUE_CLASSES = {
    '__keras_tensor__': 'config', '__tensor__': 'config', '__numpy__': 'config',
    '__slice__': 'config', '__ellipsis__': 'config', '__tuple__': 'items',
    'TensorShape': 'items'}
_KIND_BY_KEY_ENDING = (
    ('initializer', Kind.INITIALIZER), ('regularizer', Kind.REGULARIZER),
    ('constraint', Kind.CONSTRAINT), ('activation', Kind.ACTIVATION),
    ('dtype', Kind.POLICY),
    # Keras 2 makes a layer of a bare name, too.
    ('layer', Kind.LAYER), ('layers', Kind.LAYER), ('cell', Kind.LAYER),
    ('cells', Kind.LAYER))
# What makes the optimizer and the losses again, which are not read.
_IGNORED_KEYS = ('compile_config', 'training_config')
# Name tensors and arguments; what stands within is no setting of a layer.
_GRAPH_KEYS = ('inbound_nodes', 'input_layers', 'output_layers', 'keras_history')
_NAME_KEYS = ('class_name', 'module', 'registered_name')


def checked(config, custom=()):
  """Returns a copy of a model's configuration, of allowed objects alone.

  Args:
    config: What `json` made of a model's configuration.
    custom: Names of layer classes that the process itself has made known to
      Keras: code of the user's, which the configuration may name.

  Raises:
    Refusal: If it holds anything else, and says what and where.
  """
  if not isinstance(config, dict) or not {'class_name', 'config'} <= set(config):
    raise Refusal('it is no configuration of a Keras model')
  if not isinstance(config['class_name'], str) or (
      config['class_name'] not in keras_allow_list.names(Kind.MODEL)):
    raise Refusal('the model is of class %s: subclassed models are not supported'
                  % _shown(config['class_name']))
  copy = _Checker(frozenset(custom), 1).copy_object(config, Kind.LAYER)
  if keras_graph.calls(copy) > MAX_CALLS:
    raise Refusal('its models within models come to more than %d layers' %
                  MAX_CALLS)
  return copy


def check_layer(config, custom=()):
  """Checks one layer's configuration, with class and name, as SavedModels do.

  Raises:
    Refusal: As `checked`.
  """
  _Checker(frozenset(custom), 0).copy_object(config, Kind.LAYER)


class _Checker:
  """One look at all of a configuration."""

  def __init__(self, custom, unnamed):
    """Begins a look.

    Args:
      custom: Names of layer classes that are allowed besides.
      unnamed: How many of the outermost objects messages do not name.
    """
    self._custom = custom
    self._unnamed = unnamed
    self._depth = 0
    self._values = 0
    self._layers = 0
    # The layers around the value that is looked at, outermost first.
    self._path = []

  def copy_object(self, entry, expected):
    """Returns a copy of a serialized object, `expected` being its `Kind`."""
    name = entry['class_name']
    if not isinstance(name, str):
      raise self._refusal('a class has no name but %s' % _shown(name))
    self._check_names(entry)
    if name in _VALUE_CLASSES:
      return self._copy_value_object(entry, _VALUE_CLASSES[name])
    if 'config' not in entry:
      raise self._refusal('%s has no config' % _shown(name))
    if name == 'function':
      return self._copy_function(entry, expected)
    kind = self._allowed_kind(entry, expected)
    if kind is None:
      if expected is Kind.LAYER:
        self._path.append(_layer_name(entry))
      raise self._refusal(*_not_listed(entry, expected))
    config = entry['config']
    if kind is Kind.LAYER or kind is Kind.MODEL:
      return self._copy_layer(entry, kind)
    if kind in (Kind.OPERATION_LAYER, Kind.OPERATION):
      return self._copy_operation(entry, kind)
    if not isinstance(config, dict):
      raise self._refusal('%s has no config but %s' % (name, _shown(config)))
    if kind is Kind.POLICY:
      # Keras 2.3's also had a loss scale, which Keras has left out since.
      config = {key: value for key, value in config.items()
                if key != 'loss_scale'}
      self._check_text(config.get('name'), Kind.POLICY)
    return self._copy_fields({**entry, 'config': config})

  def _check_names(self, entry):
    """Refuses to find in the place of a name an object, which Keras 2 makes.

    It makes them while it reads JSON, wherever they are.
    """
    for key in ('module', 'registered_name'):
      if not isinstance(entry.get(key, ''), (str, type(None))):
        raise self._refusal('the %s of %s is %s' % (
            key, entry['class_name'][:80], _shown(entry[key])))
    if not isinstance(entry.get('inbound_nodes', []), list):
      raise self._refusal('its inputs are %s' % _shown(entry['inbound_nodes']))

  def _copy_fields(self, entry):
    return {key: value if key in _NAME_KEYS else self._copy_value(key, value)
            for key, value in entry.items() if key not in _IGNORED_KEYS}

  def _allowed_kind(self, entry, expected):
    """Returns the `Kind` under which a class is allowed here, or None."""
    name, module = entry['class_name'], entry.get('module')
    if expected is Kind.LAYER and name.rpartition('>')[2] in self._custom:
      return Kind.LAYER
    if entry.get('registered_name') not in (None, name, 'Custom>%s' % name):
      return None
    kinds = (expected,)
    if expected is Kind.LAYER:
      kinds = (Kind.MODEL, Kind.LAYER, Kind.OPERATION_LAYER)
    elif expected is Kind.ACTIVATION:
      kinds = (Kind.LAYER,)
    if module is not None:
      if not isinstance(module, str) or not _MODULE.fullmatch(module):
        return None
      if expected is Kind.LAYER and _OPERATIONS_MODULE.fullmatch(module):
        kinds = (Kind.OPERATION,)
    return next((kind for kind in kinds
                 if name in keras_allow_list.names(kind)), None)

  def _copy_function(self, entry, expected):
    """An activation as Keras 3 has it."""
    name, module = entry['config'], entry.get('module')
    known = module in (None, 'builtins') or (
        isinstance(module, str) and _MODULE.fullmatch(module))
    if (expected is not Kind.ACTIVATION or not known or
        entry.get('registered_name') not in (None, 'function', name)):
      raise self._refusal('it names the function %s' % _shown(name))
    self._check_text(name, Kind.ACTIVATION)
    return {key: entry[key] for key in (*_NAME_KEYS, 'config') if key in entry}

  def _copy_layer(self, entry, kind):
    self._layers += 1
    if self._layers > MAX_LAYERS:
      raise self._refusal('the model has more than %d layers' % MAX_LAYERS)
    config = entry['config']
    # Keras 2 before 2.2.3 saved a sequential model as a list of layers.
    if not isinstance(config, dict) and not (
        kind is Kind.MODEL and isinstance(config, list)):
      raise self._refusal('layer %s has no config but %s' % (
          _layer_name(entry), _shown(config)))
    self._path.append(_layer_name(entry))
    if isinstance(config, dict):
      config = self._without_costly_settings(entry['class_name'], config)
    self._check_shapes(entry.get('build_config'))
    copy = self._copy_fields({**entry, 'config': config})
    self._check_arguments(entry.get('inbound_nodes', []))
    if kind is Kind.MODEL:
      keras_graph.check(copy, self._path[self._unnamed:])
    elif kind is Kind.LAYER and entry['class_name'].rpartition('>')[
        2] in self._custom:
      # The class of this name that the process knows, and no other.
      copy = {key: value for key, value in copy.items() if key not in _NAME_KEYS}
      copy['class_name'] = entry['class_name'].rpartition('>')[2]
    self._path.pop()
    return copy

  def _without_costly_settings(self, name, config):
    """Returns a config without what costs too much and computes the same."""
    if name.startswith('LocallyConnected') and config.get(
        'implementation', 1) != 1:
      raise self._refusal(
          'it is made with implementation %s, whose mask has the size of the '
          'image squared' % _shown(config['implementation']), name)
    self._check_pooling(name, config)
    # A step of the sequence each, instead of a loop.
    return {**config, 'unroll': False} if config.get('unroll') else config

  def _check_pooling(self, name, config):
    """Refuses to pool to so many places that finding each takes too long."""
    if name.startswith('Adaptive'):
      self._check_arguments(config.get('output_size'), MAX_PARTS)

  def _check_shapes(self, value):
    """Refuses to build a layer for a tensor that no memory holds."""
    pending = [value]
    while pending:
      value = pending.pop()
      if isinstance(value, dict):
        pending.extend(value.values())
      elif isinstance(value, list):
        pending.extend(value)
        sides = [side for side in value if isinstance(side, (int, float))]
        if math.prod(max(1, side) for side in sides) > MAX_SHAPE:
          raise self._refusal('it is built for a tensor of %s' % _shown(value))

  def _copy_operation(self, entry, kind):
    """A layer that calls a function while the model is made."""
    self._path.append(_layer_name(entry))
    config = entry['config']
    if not isinstance(config, dict):
      raise self._refusal('it has no config but %s' % _shown(config))
    called = entry['class_name']
    if kind is Kind.OPERATION_LAYER:
      called = config.get('function')
      if not isinstance(called, str) or (
          called not in keras_allow_list.names(Kind.SYMBOL)):
        raise self._refusal(
            'it calls %s, which is not on the list of operations' %
            _shown(called))
    arguments = {key: value for key, value in config.items()
                 if key not in ('name', 'function', 'dtype')}
    self._check_pooling(called, config)
    most = MAX_PARTS if called in ('split', 'Split') else None
    self._check_arguments(entry.get('inbound_nodes', []), most)
    self._check_arguments(arguments, most)
    copy = self._copy_fields(entry)
    self._path.pop()
    return copy

  def _check_arguments(self, value, most=None):
    """Checks the texts, and the numbers' size, among the arguments of a call."""
    pending = [value]
    while pending:
      value = pending.pop()
      if isinstance(value, list):
        # A tensor: layer, node, output, and arguments that come with it.
        pending.extend(value[1:] if keras_graph.is_reference(value) else value)
      elif isinstance(value, dict):
        inner = value.get('config') if 'class_name' in value else None
        if value.get('class_name') != '__keras_tensor__':
          inner = inner if isinstance(inner, dict) else value
          if 'optimize' in inner:
            # Of einsum: the best order of operands takes longer than computing.
            raise self._refusal('it is called with the argument optimize')
          pending.extend(item for key, item in inner.items()
                         if key not in ('name', *_NAME_KEYS))
      elif isinstance(value, str) and not _WORD.fullmatch(value):
        raise self._refusal(
            'it is called with the argument %s; tensors and numbers are allowed'
            % _shown(value))
      elif most is not None and isinstance(value, (int, float)) and value > most:
        raise self._refusal('it makes %s parts of a tensor' % _shown(value))

  def _copy_value_object(self, entry, holder):
    """A tensor of the graph, numbers, a slice: no class is made."""
    if set(entry) - {*_NAME_KEYS, 'config', 'items'} or holder not in entry and (
        entry['class_name'] != '__ellipsis__'):
      raise self._refusal('%s holds something else' % entry['class_name'])
    copy = dict(entry)
    if holder in entry:
      copy[holder] = self._copy_value(holder, entry[holder])
    return copy

  def _copy_value(self, key, value):
    """Returns a copy of any value of a configuration, which has this key."""
    self._values += 1
    if self._values > MAX_VALUES:
      raise self._refusal('it holds more than %d values' % MAX_VALUES)
    self._depth += 1
    if self._depth > MAX_DEPTH:
      raise self._refusal('it is more than %d deep' % MAX_DEPTH)
    expected = None if key in _GRAPH_KEYS else next(
        (kind for ending, kind in _KIND_BY_KEY_ENDING
         if key == ending or key.endswith('_' + ending)), None)
    if isinstance(value, dict):
      if 'class_name' in value:
        copy = self.copy_object(value, expected or Kind.LAYER)
      else:
        copy = {inner: self._copy_value(key if key in _GRAPH_KEYS else inner, item)
                for inner, item in value.items() if inner not in _IGNORED_KEYS}
    elif isinstance(value, list):
      copy = [self._copy_value(key, item) for item in value]
    else:
      if isinstance(value, str):
        self._check_text(value, expected)
      copy = value
    self._depth -= 1
    return copy

  def _check_text(self, value, expected):
    if not isinstance(value, str):
      raise self._refusal('a name is %s' % _shown(value))
    if len(value) > MAX_TEXT:
      raise self._refusal('it holds a text of %d characters' % len(value))
    if expected is Kind.POLICY:
      if not _DTYPE.fullmatch(value):
        raise self._refusal('it has the dtype %s' % _shown(value))
    elif expected is not None and value not in keras_allow_list.names(expected):
      raise self._refusal('it names the %s %s, which is not on the list' % (
          expected.value, _shown(value)))

  def _refusal(self, reason, subject=None):
    path = self._path[self._unnamed:]
    return Refusal(reason, '/'.join(path[-3:]) or None, subject)


def _layer_name(entry):
  """Returns what a layer is called in messages."""
  config = entry.get('config')
  name = config.get('name') if isinstance(config, dict) else None
  if not isinstance(name, str):
    name = entry.get('name')
  return name[:MAX_TEXT] if isinstance(name, str) else '?'


def _not_listed(entry, expected):
  """Returns why a class is not allowed, and the class."""
  name, module = entry['class_name'], entry.get('module')
  if name in keras_allow_list.REFUSED:
    reason = keras_allow_list.REFUSED[name]
    if name == 'Lambda':
      return 'the model has a Lambda layer, whose code is not run', name
    return 'the model has a %s layer, which %s' % (name, reason), name
  registered = entry.get('registered_name')
  full = registered if isinstance(registered, str) and '>' in registered else (
      '%s.%s' % (module, name) if isinstance(module, str) else name)
  what = 'layer' if expected is Kind.LAYER else expected.value
  return 'the model needs the custom %s %s' % (what, _shown(full, False)), name


def _shown(value, quoted=True):
  """Returns a value for a message: one short line."""
  text = repr(value) if quoted else repr(value)[1:-1]
  return text if len(text) <= 80 else text[:77] + '...'
