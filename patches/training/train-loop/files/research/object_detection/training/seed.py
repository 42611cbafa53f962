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
"""Training that can be repeated, and resumed as if it had never stopped."""

import contextlib
import functools

import tensorflow.compat.v1 as tf

from object_detection.training import hook
from object_detection.training import restoring
from object_detection.utils import stateless_random


class Seed(hook.Hook):
  """What initial variables, order of data and random numbers follow from.

  Attributes:
    number: The seed, or None: then they follow from nothing.
  """

  def __init__(self, number=None):
    self.number = number
    self._first_step = 0

  @contextlib.contextmanager
  def scope(self):
    """Seeds what initializers draw, and looks for the step to go on from."""
    if self.number is not None:
      tf.compat.v2.keras.utils.set_random_seed(self.number)
      self._first_step = restoring.step_of_checkpoint(
          tf.train.latest_checkpoint(self.trainer.model_dir)) or 0
    yield

  def order(self, input_context):
    """Returns arguments of inputs.train_input that fix the order of records.

    Args:
      input_context: The tf.distribute.InputContext of the pipeline.
    """
    if self.number is None:
      return {}
    batches_per_step = (input_context.num_replicas_in_sync //
                        input_context.num_input_pipelines)
    return {'seed': self.number,
            'first_batch': self._first_step * batches_per_step}

  def draws_by_step(self, function, global_step):
    """Makes the random numbers of a train step follow from seed and step.

    Args:
      function: A function of a strategy and more that builds the ops of one
        step of all replicas of this worker.
      global_step: An int scalar variable.

    Returns:
      The function, wrapped if there is a seed.
    """
    if self.number is None:
      return function

    @functools.wraps(function)
    def wrapper(strategy, *args):
      # Replicas are built one after the other, in one scope, so that they draw
      # different numbers. Workers are built apart.
      worker = getattr(strategy.extended, '_id_in_cluster', 0)
      with stateless_random.scope(
          self.number, stateless_random.STEP, worker, global_step):
        return function(strategy, *args)

    return wrapper
