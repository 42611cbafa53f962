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
a layer that does not exist, at the second output of a layer called once. A layer
that is called with numbers alone computes at once, before any size is looked at.
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


def is_reference(value):
  """Whether Keras 2 takes a value for the name of a tensor: layer, node, output.

  It looks no further than the first item: a half as the node is waited for.
  """
  return (isinstance(value, list) and len(value) in (3, 4)
          and isinstance(value[0], str))


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
      for source in {source for node in nodes for source, _, _ in node}:
        if source not in users:
          raise self._refusal('its input %r does not exist' % source[:80], name)
        users[source].add(name)
    next_node = {
        name: _first_node(layer) for name, layer in self._layers.items()}
    first_node = dict(next_node)
    pending = list(waiting)
    while pending:
      name = pending.pop()
      nodes = waiting[name]
      before = next_node[name]
      while nodes and all(first_node[source] <= node < next_node[source]
                          for source, node, _ in nodes[-1]):
        nodes.pop()
        next_node[name] += 1
      if self._layers[name]['class_name'] == 'InputLayer':
        # Has its tensor at once, whatever number is asked for.
        first_node[name], next_node[name] = -1, float('inf')
      if next_node[name] != before:
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
    needs = [list(_references(node)) for node in nodes]
    if not all(_of_keras_3(node) if isinstance(node, dict) else needed
               for node, needed in zip(nodes, needs)):
      raise self._refusal('it has no tensor among its arguments', name)
    for place in (place for needed in needs for _, *place in needed):
      if not all(map(_is_index, place)):
        raise self._refusal('it is called with output %r of call %r of a layer'
                            % (str(place[1])[:80], str(place[0])[:80]), name)
    # Keras 3 sees by itself that it goes round in a circle.
    return [[] if isinstance(node, dict) else needed
            for node, needed in zip(nodes, needs)][::-1]

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
  """Yields layer, node and output of each tensor that a call's arguments name."""
  pending = [value]
  while pending:
    value = pending.pop()
    if is_reference(value):
      if value[0] != _CONSTANT:
        yield tuple(value[:3])
      pending.extend(value[3:])
    elif isinstance(value, dict):
      pending.extend(value.values())
    elif isinstance(value, list):
      pending.extend(value)


def _of_keras_3(node):
  """Whether there is a tensor where Keras 3 looks for one among the arguments.

  Without one it would compute at once: `Tile` of a number, a thousand million
  times.
  """
  pending = [node.get('args'), node.get('kwargs')]
  while pending:
    value = pending.pop()
    if isinstance(value, dict):
      if value.get('class_name') == '__keras_tensor__':
        return True
      if 'class_name' not in value:
        pending.extend(value.values())
    elif isinstance(value, list):
      pending.extend(value)
  return False
