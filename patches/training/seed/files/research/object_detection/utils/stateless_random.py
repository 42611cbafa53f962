"""Random numbers that follow from a seed and a position, and from nothing else.

TensorFlow's usual random ops count what they have drawn, and no checkpoint
keeps that count: training that is resumed draws other numbers than training
that was not interrupted. Augmentation, the samplers of anchors and proposals,
and Keras's dropout call those ops at some fifty places. Within a `scope` all of
them become stateless ops, because TensorFlow's Python functions look their
kernels up in a module, where the scope puts its own.
"""

import contextlib

import tensorflow as tf

# What tf.random.uniform, tf.random.shuffle, tf.nn.dropout and their like call.
from tensorflow.python.ops import gen_random_ops

# First parts of positions: numbers drawn for a record, and for a train step.
RECORD, STEP = 0, 1

_STATEFUL = frozenset([
    'Multinomial',
    'ParameterizedTruncatedNormal',
    'RandomGamma',
    'RandomPoisson',
    'RandomPoissonV2',
    'RandomShuffle',
    'RandomStandardNormal',
    'RandomUniform',
    'RandomUniformInt',
    'SampleDistortedBoundingBox',
    'SampleDistortedBoundingBoxV2',
    'TruncatedNormal',
])


@contextlib.contextmanager
def scope(*position):
  """Makes the random ops that are built in it follow from the position.

  The ops of one scope draw different numbers, each the same ones whenever the
  position is the same. In a loop that TensorFlow runs, such as tf.map_fn, every
  round draws what the first one drew. Scopes are for graphs: a tf.function, or
  a function that tf.data maps. Two threads must not open them at once.

  Args:
    *position: Integers or int scalar tensors; for example a seed, STEP, and the
      number of the step.

  Yields:
    None.

  Raises:
    ValueError: In the end, if the graph has random ops that keep a state: it
      calls a function that was traced before, or an op not known here.
  """
  kernels, sample_box = _stateless_ops(_seeds(position))
  with contextlib.ExitStack() as stack:
    for module, functions in (
        (gen_random_ops, kernels), (tf.compat.v1.image, (sample_box,))):
      for function in functions:
        name = function.__name__
        stack.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, function)
    yield
  left = stateful_random_ops(tf.compat.v1.get_default_graph())
  if left:
    raise ValueError(
        'Random ops that keep a state cannot be repeated: ' + ', '.join(left))


def _seeds(position):
  """Returns a function that gives another seed, int64 [2], at each call."""
  key = tf.zeros([2], tf.int64)
  for number in position:
    key = tf.random.experimental.stateless_fold_in(
        key, tf.cast(number, tf.int64))
  drawn = 0

  def next_seed():
    nonlocal drawn
    drawn += 1
    return tf.random.experimental.stateless_fold_in(key, drawn)

  return next_seed


def _stateless_ops(next_seed):
  """Stands in for random ops: kernels by their names, and a function of tf.image."""

  # Each has the signature of the op that it stands for. `**_` takes its seeds.
  def random_uniform(shape, dtype, name=None, **_):
    return tf.random.stateless_uniform(
        shape, next_seed(), dtype=dtype, name=name)

  def random_uniform_int(shape, minval, maxval, name=None, **_):
    return tf.random.stateless_uniform(
        shape, next_seed(), minval, maxval, dtype=minval.dtype, name=name)

  def random_standard_normal(shape, dtype, name=None, **_):
    return tf.random.stateless_normal(
        shape, next_seed(), dtype=dtype, name=name)

  def truncated_normal(shape, dtype, name=None, **_):
    return tf.random.stateless_truncated_normal(
        shape, next_seed(), dtype=dtype, name=name)

  def random_shuffle(value, name=None, **_):
    del name
    return tf.random.experimental.stateless_shuffle(value, next_seed())

  def multinomial(logits, num_samples, output_dtype=tf.int64, name=None, **_):
    return tf.random.stateless_categorical(
        logits, num_samples, next_seed(), dtype=output_dtype, name=name)

  # Not the kernel: where ops are deterministic, the function asks for a seed.
  def sample_distorted_bounding_box(
      image_size, bounding_boxes, seed=None, seed2=None, min_object_covered=0.1,
      aspect_ratio_range=None, area_range=None, max_attempts=None,
      use_image_if_no_bounding_boxes=None, name=None):
    del seed, seed2
    return tf.image.stateless_sample_distorted_bounding_box(
        image_size, bounding_boxes, next_seed(), min_object_covered,
        aspect_ratio_range, area_range, max_attempts,
        use_image_if_no_bounding_boxes, name)

  kernels = (random_uniform, random_uniform_int, random_standard_normal,
             truncated_normal, random_shuffle, multinomial)
  return kernels, sample_distorted_bounding_box


def stateful_random_ops(graph):
  """Names of the random ops of a graph, and of functions in it, that keep a state.

  Args:
    graph: A tf.Graph.

  Returns:
    A sorted list of strings, 'name (type)'.
  """
  graph_def = graph.as_graph_def()
  nodes = list(graph_def.node)
  for function in graph_def.library.function:
    nodes.extend(function.node_def)
  return sorted({
      '%s (%s)' % (node.name, node.op) for node in nodes
      if node.op in _STATEFUL})
