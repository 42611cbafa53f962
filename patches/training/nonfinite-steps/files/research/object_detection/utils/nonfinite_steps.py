"""Training steps whose losses or gradients are not finite.

One such step makes every variable NaN, and no later one repairs them. So the
variables are left as they were, and what led to it is written down.
"""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import io
import json
import os

import numpy as np
import tensorflow.compat.v2 as tf

from object_detection import inputs
from object_detection.core import standard_fields as fields


class NonfiniteStepError(Exception):
  """A loss or gradient that is not finite ended training.

  Attributes:
    record: What the recorder knows of the step, see Recorder.
  """

  def __init__(self, record, folder):
    super(NonfiniteStepError, self).__init__(
        'step {}: {} not finite, images {}; batch and variables are in '
        '{}'.format(record['step'], ' and '.join(record['nonfinite']),
                    record['images'], folder))
    self.record = record
    self.folder = folder


class Recorder(object):
  """Writes down the steps that were not finite, and ends training or goes on.

  Attributes:
    folder: Where `steps.jsonl` goes, with a line for each record. If training
      ends, so do `batch.npz`, the features and labels of the step, and a
      checkpoint of the variables before it, `variables`.
    records: A list of dicts with 'step', the global step from 1; 'nonfinite',
      the names of the losses that were not finite, or ['gradients'];
      'losses', their values as strings; 'images', the source ids of the
      batch, or their hashes if the features have no source ids.
  """

  def __init__(self, folder, stop=True):
    """Initializes the recorder.

    Args:
      folder: Where files go. It is made at the first record.
      stop: Whether the first record ends training. If not, training goes on
        with the next batch.
    """
    self.folder = folder
    self.records = []
    self._stop = stop
    self._workers = 1

  def for_batch(self, global_step, features, labels):
    """Returns the `on_nonfinite` of model_lib_v2.eager_train_step.

    Args:
      global_step: The number of steps before this one.
      features: Features of the batch.
      labels: Labels of the batch, before they are unstacked.
    """
    self._workers = getattr(
        tf.distribute.get_strategy().extended, '_num_workers', 1)
    ids = features.get(fields.InputDataFields.source_id,
                       features[inputs.HASH_KEY])
    batch = {'features/' + key: value for key, value in features.items()}
    batch.update({'labels/' + key: value for key, value in labels.items()})

    def on_nonfinite(losses_dict, gradients_are_finite):
      losses = {key: value for key, value in losses_dict.items()}

      def record(step, gradients_are_finite, ids, *values):
        # Numbers come back as numpy's, in the order of the names.
        self._record(int(step) + 1, bool(gradients_are_finite), ids,
                     dict(zip(losses, values[:len(losses)])),
                     dict(zip(batch, values[len(losses):])))

      tf.numpy_function(
          record,
          [tf.convert_to_tensor(global_step), gradients_are_finite, ids]
          + list(losses.values()) + list(batch.values()), [])

    return on_nonfinite

  def _record(self, step, gradients_are_finite, ids, losses, batch):
    """Appends a record, and raises an exception if training is to end."""
    nonfinite = [name for name, value in losses.items()
                 if not np.isfinite(value)]
    terms = [name for name in nonfinite if name != 'Loss/total_loss']
    if not (terms or nonfinite or gradients_are_finite):
      nonfinite = ['gradients']
    record = {
        'step': step,
        'nonfinite': terms or nonfinite,
        'losses': {name: str(value) for name, value in losses.items()},
        'images': [value.decode('utf-8', 'replace')
                   if isinstance(value, bytes) else int(value)
                   for value in np.ravel(ids).tolist()],
    }
    tf.io.gfile.makedirs(self.folder)
    if self._stop:
      buffer = io.BytesIO()  # np.savez seeks, a GFile does not.
      # Strings arrive as objects, which np.load would not read.
      np.savez(buffer, **{
          key: value.astype(bytes) if value.dtype == object else value
          for key, value in batch.items()})
      with tf.io.gfile.GFile(os.path.join(self.folder, 'batch.npz'),
                             'wb') as batch_file:
        batch_file.write(buffer.getvalue())
    with tf.io.gfile.GFile(os.path.join(self.folder, 'steps.jsonl'),
                           'a') as record_file:
      record_file.write(json.dumps(record) + '\n')
    self.records.append(record)
    if self._stop and self._workers == 1:
      # Ends the tf.function around it, and so the steps it still had to do. Of
      # several workers the others would wait in vain for what this one sends:
      # they end together after an iteration.
      raise NonfiniteStepError(record, self.folder)

  def raise_if_stopped(self, checkpoint):
    """Raises the error of the step that ended training, if one did.

    Args:
      checkpoint: A tf.train.Checkpoint of what is to be kept of that moment.

    Raises:
      NonfiniteStepError: if a record ended training.
    """
    if self._stop and self.records:
      checkpoint.write(os.path.join(self.folder, 'variables'))
      raise NonfiniteStepError(self.records[0], self.folder) from None

  def raise_if_any_stopped(self, strategy, checkpoint):
    """As raise_if_stopped, in all workers if one of them has a record.

    Args:
      strategy: The tf.distribute.Strategy of the steps.
      checkpoint: As for raise_if_stopped.

    Raises:
      NonfiniteStepError: in each worker. The record of one without any names
        no loss and no image.
    """
    if not self._stop or self._workers == 1:
      return
    records = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(len(self.records), tf.float32))
    if strategy.reduce(tf.distribute.ReduceOp.SUM, records, axis=None) > 0:
      self.records = self.records or [
          {'step': int(checkpoint.step.numpy()), 'nonfinite': [], 'images': []}]
      self.raise_if_stopped(checkpoint)


def are_finite(tensors):
  """Returns a bool tensor: whether no value of the tensors is infinite or NaN.

  Args:
    tensors: An iterable of float tensors, tf.IndexedSlices or None.
  """
  # What is not finite stays so in a sum, and a sum takes no memory.
  sums = [
      tf.cast(tf.reduce_sum(getattr(tensor, 'values', tensor)), tf.float32)
      for tensor in tensors if tensor is not None]
  return tf.reduce_all(tf.math.is_finite(tf.stack(sums)))


def statistics(model):
  """Returns the running statistics of batch normalization, as they are now.

  They learn from the batch before it is known to be finite.

  Args:
    model: A DetectionModel. If it is not built yet, it has none.

  Returns:
    A list of pairs of a variable and a tensor.
  """
  try:
    variables = model.variables
  except ValueError:  # Keras: weights have not yet been created.
    return []
  return [
      (variable, tf.identity(variable)) for variable in variables
      if variable.synchronization == tf.VariableSynchronization.ON_READ]


def restore(values):
  """Assigns each variable of the pairs its tensor; returns the operations."""
  return [variable.assign(value, read_value=False) for variable, value in values]


def call_unless(condition, function):
  """Calls a function, which returns nothing, in the graph of a tf.cond."""
  def call():
    function()
    return tf.constant(False)
  tf.cond(condition, lambda: tf.constant(True), call)


def apply_gradients_if(condition, optimizer, gradients, variables):
  """Applies gradients where a condition holds in every replica.

  Args:
    condition: A bool tensor.
    optimizer: A Keras optimizer.
    gradients: A list of gradients.
    variables: The variables they belong to.
  """
  def apply_gradients(gradients):
    optimizer.apply_gradients(zip(gradients, variables))

  if not tf.distribute.has_strategy():
    call_unless(tf.logical_not(condition), lambda: apply_gradients(gradients))
    return

  # Replicas meet when they apply gradients, and cannot do so inside of a
  # condition of their own: the condition is that of all of them.
  replica_context = tf.distribute.get_replica_context()
  replicas = replica_context.num_replicas_in_sync
  holding = replica_context.all_reduce(
      tf.distribute.ReduceOp.SUM, tf.cast(condition, tf.int32))

  def apply_in_all(strategy, holding, gradients):
    everywhere = tf.equal(
        strategy.experimental_local_results(holding)[0], replicas)
    call_unless(
        tf.logical_not(everywhere),
        lambda: strategy.extended.call_for_each_replica(
            apply_gradients, args=(gradients,)))

  replica_context.merge_call(apply_in_all, args=(holding, gradients))
