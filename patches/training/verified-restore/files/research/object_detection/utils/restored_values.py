"""Compares variables with the checkpoint that they were restored from.

tf.train.Checkpoint matches objects by the path that leads to them. A path that
is not in the file, because a layer was renamed or a config changed, leaves the
variable as it was, and nothing tells.
"""

import contextlib

import numpy as np
import tensorflow as tf

from tensorflow.core.protobuf import trackable_object_graph_pb2


class RestoreError(ValueError):
  """Variables do not have the values of the checkpoint they were restored from."""


class UnmatchedError(RestoreError, AssertionError):
  """What tf.train.Checkpoint says by an AssertionError."""


class FormatError(IOError):
  """A checkpoint is not of the kind that TF2 writes."""


@contextlib.contextmanager
def mismatches():
  """Tells errors of tf.train.Checkpoint from those of anything else.

  It says by an AssertionError that variables are not in the file, and by a
  ValueError that they have other shapes there.

  Raises:
    RestoreError: with the same message. It is a ValueError, too, and in the
      former case also an AssertionError.
  """
  try:
    yield
  except AssertionError as error:
    raise UnmatchedError(str(error)) from error
  except ValueError as error:
    raise RestoreError(str(error)) from error


def check(checkpoint, path, optimizer):
  """Compares every variable of a tf.train.Checkpoint with the file.

  Args:
    checkpoint: A tf.train.Checkpoint, restored from `path`. Its variables exist:
      those of a Keras layer do so after its first call, those of an optimizer
      after its first step.
    path: The prefix of an object-based checkpoint.
    optimizer: A tf.keras.optimizers.legacy.Optimizer below the checkpoint. What
      it keeps may be missing in the file, as where variables are trained that
      were frozen before.

  Returns:
    The number of variables that have the file's values, and the names of those
    of the optimizer that the file lacks.

  Raises:
    RestoreError: Any other variable is not in the file, or has another value.
  """
  reader = tf.train.load_checkpoint(path)
  nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
      reader.get_tensor('_CHECKPOINTABLE_OBJECT_GRAPH')).nodes
  values = _Values(reader)
  missing, new = [], []
  found, seen = {}, set()
  for trackable, node_id, is_optimizer in _objects(
      checkpoint, nodes, optimizer):
    seen.add(id(trackable))
    if node_id is not None:
      found[node_id] = trackable
    if isinstance(trackable, tf.Variable):
      node = None if node_id is None else nodes[node_id]
      values.compare(trackable, node, new if is_optimizer else missing)

  # Slots are no children: the file lists them by the variable that they are of.
  optimizers = {
      node_id: trackable for node_id, trackable in found.items()
      if isinstance(trackable, tf.keras.optimizers.legacy.Optimizer)}
  for node_id, trackable in optimizers.items():
    for slot in nodes[node_id].slot_variables:
      try:
        variable = trackable.get_slot(
            found[slot.original_variable_node_id], slot.slot_name)
      except KeyError:  # Of a variable that is no longer trained.
        continue
      seen.add(id(variable))
      values.compare(variable, nodes[slot.slot_variable_node_id], new)
  for trackable in optimizers.values():
    for variable in trackable.weights:
      if id(variable) not in seen:
        seen.add(id(variable))
        new.append(variable.name)

  for names, what in (
      (missing, 'not in the checkpoint'),
      (values.other, 'with other values than the checkpoint')):
    if names:
      raise RestoreError('variables %s: %d, such as %s' % (
          what, len(names), names[0]))
  return values.equal, new


class _Values:
  """Compares variables with a file.

  Attributes:
    equal: How many have the file's value.
    other: The names of those that have another.
  """

  def __init__(self, reader):
    self._reader = reader
    self.equal = 0
    self.other = []

  def compare(self, variable, node, missing):
    """Adds to `missing` the name of a variable whose node has no value."""
    keys = [attribute.checkpoint_key for attribute in node.attributes
            if attribute.name == 'VARIABLE_VALUE'] if node else []
    if not keys:
      missing.append(variable.name)
    elif np.array_equal(self._reader.get_tensor(keys[0]), variable.numpy()):
      self.equal += 1
    else:
      self.other.append(variable.name)


def _objects(checkpoint, nodes, optimizer):
  """Walks what is below a checkpoint, each object once.

  The paths from the root lead to the same object in memory and in the file.

  Args:
    checkpoint: The tf.train.Checkpoint.
    nodes: Those of the file.
    optimizer: An optimizer below the checkpoint.

  Yields:
    The object, the number of its node, or None where the file lacks it, and
    whether it is the optimizer or below it.
  """
  view = tf.train.TrackableView(checkpoint)
  seen = {id(checkpoint)}
  paths = [(checkpoint, 0, False)]
  while paths:
    trackable, node_id, is_optimizer = paths.pop()
    is_optimizer = is_optimizer or trackable is optimizer
    yield trackable, node_id, is_optimizer
    children = {} if node_id is None else {
        child.local_name: child.node_id for child in nodes[node_id].children}
    for name, child in view.children(trackable).items():
      if id(child) not in seen:
        seen.add(id(child))
        paths.append((child, children.get(name), is_optimizer))
