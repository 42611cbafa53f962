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
"""Train steps of all replicas as one tf.function."""

import functools

import tensorflow.compat.v1 as tf

from object_detection import model_lib_v2
from object_detection.core import standard_fields as fields
from object_detection.utils import autograph_fallback
from object_detection.utils import mixed_precision


class TrainStep(object):
  """An iteration: some train steps, of which the last one's losses are kept."""

  def __init__(self, trainer, record_images, is_loop):
    """Initializes the step; `trace` is to be called before it is.

    Args:
      trainer: A trainer.Trainer, whose model is built.
      record_images: Whether to record summaries of training images.
      is_loop: Whether there may be more than one step in an iteration.
    """
    self._trainer = trainer
    self._record_images = record_images
    self._is_loop = is_loop
    self._function = None
    self._refusal = None

  def __call__(self, iterator, num_steps):
    """Trains.

    Args:
      iterator: An iterator of the distributed dataset.
      num_steps: The number of steps.

    Returns:
      A dict of float scalar tensors, the losses of the last step, summed over
      replicas.
    """
    return self._function(iterator, tf.constant(num_steps))

  def trace(self, iterator):
    """Makes all variables that steps need, without a step.

    Args:
      iterator: An iterator of the distributed dataset.

    Raises:
      mixed_precision.UnsupportedError: if the graph has what the policy in
        force is nothing for.
    """
    trainer = self._trainer

    def trace(sample_and_train):
      step = tf.function(
          functools.partial(_iterate, trainer.strategy, sample_and_train,
                            self._of_replica, self._is_loop))
      step.get_concrete_function(iterator, tf.constant(1))
      return step

    try:
      self._function = autograph_fallback.build(
          trace, trainer.seed.draws_by_step(
              _sample_and_train, trainer.global_step))
    except mixed_precision.UnsupportedError:
      # AutoGraph raises another one, whose message begins with the way to it.
      raise self._refusal from None

  def _of_replica(self, features, labels):
    """The train step of one replica; returns its losses."""
    trainer = self._trainer
    train_config = trainer.config.train
    if self._record_images:
      tf.compat.v2.summary.image(
          name='train_input_images',
          step=trainer.global_step,
          data=features[fields.InputDataFields.image],
          max_outputs=3)
    try:
      losses_dict = model_lib_v2.eager_train_step(
          trainer.model,
          features,
          labels,
          train_config.unpad_groundtruth_tensors,
          trainer.optimizer,
          # The value: the model keeps what it is given, and a variable would be
          # its part of checkpoints. With fine_tune_checkpoint_type "full", the
          # step of the run that those are of would be this one's.
          training_step=tf.identity(trainer.global_step),
          add_regularization_loss=train_config.add_regularization_loss,
          clip_gradients_value=trainer.config.clip_gradients_value,
          num_replicas=trainer.strategy.num_replicas_in_sync,
          trainable_variables=trainer.trainable_variables,
          on_nonfinite=trainer.nonfinite.for_batch(features, labels))
    except mixed_precision.UnsupportedError as error:
      self._refusal = error
      raise
    trainer.global_step.assign_add(1)
    return losses_dict


def _sample_and_train(strategy, of_replica, iterator):
  """One train step of all replicas."""
  features, labels = iterator.next()
  losses_dict = strategy.run(of_replica, args=(features, labels))
  return model_lib_v2.reduce_dict(
      strategy, losses_dict, tf.distribute.ReduceOp.SUM)


def _iterate(strategy, sample_and_train, of_replica, is_loop, iterator,
             num_steps):
  """`num_steps` train steps, in a loop that AutoGraph puts into the graph."""
  if is_loop:
    for _ in tf.range(num_steps - 1):
      # Following suggestion on yaqs/5402607292645376
      with tf.name_scope(''):
        sample_and_train(strategy, of_replica, iterator)

  return sample_and_train(strategy, of_replica, iterator)
