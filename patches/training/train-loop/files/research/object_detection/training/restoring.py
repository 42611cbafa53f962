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
"""The checkpoint that a training starts with, and the one it goes on from."""

import tensorflow.compat.v1 as tf

from object_detection.utils import restored_values


def step_of_checkpoint(path):
  """Returns the global step of a checkpoint; None if it is not of training.

  Args:
    path: The prefix of a checkpoint, or None.
  """
  key = 'step/.ATTRIBUTES/VARIABLE_VALUE'
  if path is None or key not in dict(tf.train.list_variables(path)):
    return None
  return int(tf.train.load_variable(path, key))


def restore(checkpoint, path, optimizer):
  """Restores a tf.train.Checkpoint, and compares what it holds with the file.

  Args:
    checkpoint: A tf.train.Checkpoint of step, model and optimizer, whose
      variables exist.
    path: The prefix of the checkpoint to go on from, or None.
    optimizer: The optimizer.

  Raises:
    restored_values.RestoreError: if a variable of the model is not in the file,
      or has another shape or value.
  """
  with restored_values.mismatches():
    checkpoint.restore(path)
  if step_of_checkpoint(path) is not None:
    equal, new = restored_values.check(checkpoint, path, optimizer)
    tf.logging.info('%d variables have the values of %s', equal, path)
    if new:
      tf.logging.warning('%d variables of the optimizer are not in %s',
                         len(new), path)
  elif path:
    tf.logging.warning('%s was not written by training: it has no step', path)


def save_start(checkpoint, has_averages, make_manager):
  """Saves the checkpoint of step 0, without what every optimizer begins with.

  That is zeros, of the size of the model or twice that.

  Args:
    checkpoint: A tf.train.Checkpoint of step, model and optimizer.
    has_averages: Whether the optimizer keeps averages of the model's variables.
      They begin with values of this run.
    make_manager: A callable that returns a CheckpointManager of a checkpoint.
  """
  start = checkpoint
  if not has_averages:
    start = tf.compat.v2.train.Checkpoint(
        step=checkpoint.step, model=checkpoint.model)
    start.save_counter.assign(checkpoint.save_counter)
  make_manager(start).save()
  checkpoint.save_counter.assign(start.save_counter)
