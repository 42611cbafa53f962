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
"""The graph in the configuration of a Keras model: whether it can be made.

Keras 2 calls a functional model's layers one after the other, whenever what a
layer needs is there, and goes round for ever if that never comes: in a circle, at
a layer that does not exist, at the second output of a layer called once.
"""


class Refusal(ValueError):
  """What a model file holds and may not.

  Attributes:
    reason: What it is.
    layer: The layer's name, with those of the models around it, or None.
    subject: The class that is refused, if it is one that its author may have.
  """

  def __init__(self, reason, layer=None, subject=None):
    super().__init__(
        reason if layer is None else '%s (layer %r)' % (reason, layer))
    self.reason = reason
    self.layer = layer
    self.subject = subject


_CONSTANT = '_CONSTANT_VALUE'
_OPERATION_LAYERS = ('TFOpLambda', 'SlicingOpLambda')


def is_reference(value):
  """Whether a value is Keras 2's way to name a tensor: layer, node, output."""
  return (isinstance(value, list) and len(value) in (3, 4)
          and isinstance(value[0], str) and _is_index(value[1])
          and (value[0] == _CONSTANT or _is_index(value[2])))


def _is_index(value):
  return isinstance(value, int) and not isinstance(value, bool)


def calls(value):
  """Returns how many calls of layers a configuration comes to, models in it too.

  Args:
    value: A configuration whose graphs were checked.
  """
  if isinstance(value, list):
    return sum(map(calls, value))
  if not isinstance(value, dict):
    return 0
  if 'class_name' not in value:
    return sum(map(calls, value.values()))
  times = max(1, len(value.get('inbound_nodes') or ()))
  return times * (1 + calls(value.get('config')))


def check(model, path):
  """Calls a model's layers as Keras 2 does, and sees whether all get their turn.

  Args:
    model: A configuration, whose objects were looked at.
    path: Names of the models around it, outermost first, and its own.

  Raises:
    Refusal: If Keras could not make it.
  """
  config = model['config']
  layers = config if isinstance(config, list) else config.get('layers')
  if not isinstance(layers, list) or not all(
      isinstance(layer, dict) and isinstance(layer.get('class_name'), str)
      and isinstance(layer.get('config'), (dict, list)) for layer in layers):
    raise Refusal('the model has no list of layers', '/'.join(path) or None)
  if model['class_name'] != 'Sequential':
    _Graph(layers, path).check()


class _Graph:
  """The layers of a functional model, by name."""

  def __init__(self, layers, path):
    self._path = path
    self._layers = {}
    for layer in layers:
      name = layer.get('name')
      if not isinstance(name, str) or not isinstance(
          layer.get('inbound_nodes'), list):
        raise self._refusal('a layer of the model has no name or no inputs',
                            name)
      if name in self._layers:
        raise self._refusal('two layers of the model have one name', name)
      self._layers[name] = layer

  def check(self):
    """Raises `Refusal` if a layer does not get what it is called with."""
    waiting = {name: self._nodes(layer) for name, layer in self._layers.items()}
    users = {name: set() for name in self._layers}
    for name, nodes in waiting.items():
      for source in {source for node in nodes for source, _ in node}:
        if source not in users:
          raise self._refusal('its input %r does not exist' % source[:80], name)
        users[source].add(name)
    made = {name: _first_node(layer) for name, layer in self._layers.items()}
    first = dict(made)
    pending = list(waiting)
    while pending:
      name = pending.pop()
      nodes = waiting[name]
      before = made[name]
      while nodes and all(first[source] <= node < made[source]
                          for source, node in nodes[-1]):
        nodes.pop()
        made[name] += 1
      if self._layers[name]['class_name'] == 'InputLayer':
        # Has its tensor at once, whatever number is asked for.
        first[name], made[name] = -1, float('inf')
      if made[name] != before:
        pending.extend(users[name])
    stuck = next((name for name, nodes in waiting.items() if nodes), None)
    if stuck is not None:
      raise self._refusal('it waits for a tensor that is never there', stuck)

  def _nodes(self, layer):
    """Returns the tensors that each call needs, last call first."""
    name, nodes = layer['name'], layer['inbound_nodes']
    if not nodes and layer['class_name'] != 'InputLayer':
      own = layer['config'].get('name') if isinstance(
          layer['config'], dict) else name
      raise self._refusal('a layer of the model has no input: it was renamed '
                          'after the model was built', own)
    # Keras 3 sees by itself that it goes round in a circle.
    needs = [[] if isinstance(node, dict) else list(_references(node))
             for node in nodes]
    if layer['class_name'] in _OPERATION_LAYERS and not all(needs):
      raise self._refusal('it has no tensor among its arguments', name)
    return needs[::-1]

  def _refusal(self, reason, name):
    return Refusal(reason, '/'.join([*self._path[-2:], str(name)]))


def _first_node(layer):
  """Returns the number of the first node that others may refer to.

  A model has a node from when it was made, unless it was made without inputs.
  """
  config = layer['config']
  if layer['class_name'] in ('Functional', 'Model'):
    return 1
  if layer['class_name'] == 'Sequential':
    layers = config if isinstance(config, list) else config.get('layers', [])
    if layers and (layers[0]['class_name'] == 'InputLayer' or (
        isinstance(layers[0]['config'], dict)
        and 'batch_input_shape' in layers[0]['config'])):
      return 1
  return 0


def _references(value):
  """Yields layer and node of each tensor that the arguments of a call name."""
  pending = [value]
  while pending:
    value = pending.pop()
    if is_reference(value):
      if value[0] != _CONSTANT:
        yield value[0], value[1]
      pending.extend(value[3:])
    elif isinstance(value, dict):
      pending.extend(value.values())
    elif isinstance(value, list):
      pending.extend(value)
