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
"""Trains a model: builds it, restores it, and takes step after step.

What else there is to training is in hooks: see hook.py. `model_lib_v2` has the
functions for one batch, which are looked up there when they are called: callers
and tests put in their own.
"""

import contextlib
import functools
import time

import tensorflow.compat.v1 as tf

from object_detection import inputs
from object_detection import model_lib_v2
from object_detection.builders import optimizer_builder
from object_detection.training import hook as hook_lib
from object_detection.training import learning_phase
from object_detection.training import nonfinite as nonfinite_lib
from object_detection.training import restoring
from object_detection.training import seed as seed_lib
from object_detection.training import train_step
from object_detection.training import trainable_variables
from object_detection.training import workers as workers_lib
from object_detection.utils import mixed_precision
from object_detection.utils import variables_helper


class Trainer(object):
  """A training, from its config to its last checkpoint.

  Attributes:
    config: The run_config.RunConfig.
    model_dir: Where checkpoints and summaries go.
    strategy: The tf.distribute.Strategy in whose scope the trainer was made.
    workers: The workers.Workers.
    seed: The seed.Seed.
    nonfinite: The nonfinite.NonfiniteSteps.
    model: The DetectionModel, once it is built; so are the next three.
    optimizer: The Keras optimizer.
    global_step: An int64 variable, the number of steps that were taken.
    checkpoint: A tf.train.Checkpoint of these three.
    trainable_variables: A list of the variables to train, or None: all that the
      model calls trainable.
    saved_step: The step of the last checkpoint, or the one that training began
      with.
  """

  def __init__(self, config, model_dir, hooks, seed=None, nonfinite=None,
               record_summaries=True, num_steps_per_iteration=1,
               checkpoint_max_to_keep=7):
    """Initializes the trainer.

    Args:
      config: A run_config.RunConfig.
      model_dir: The directory to save checkpoints and summaries to.
      hooks: A list of hook.Hook, called in this order, after those of the
        following two.
      seed: A seed.Seed, or None.
      nonfinite: A nonfinite.NonfiniteSteps, or None: nothing looks for them.
      record_summaries: Whether to record images and what the model records.
      num_steps_per_iteration: The number of steps between two calls of hooks.
      checkpoint_max_to_keep: How many of the last checkpoints to keep.
    """
    self.config = config
    self.model_dir = model_dir
    self.strategy = tf.compat.v2.distribute.get_strategy()
    self.workers = workers_lib.Workers(self.strategy)
    self.seed = seed or seed_lib.Seed()
    self.nonfinite = nonfinite or nonfinite_lib.NonfiniteSteps()
    self.model = None
    self.optimizer = None
    self.global_step = None
    self.checkpoint = None
    self.trainable_variables = None
    self.saved_step = None
    self._hooks = [self.workers, self.seed, self.nonfinite] + list(hooks)
    self._record_summaries = record_summaries
    self._num_steps_per_iteration = num_steps_per_iteration
    self._checkpoint_max_to_keep = checkpoint_max_to_keep
    self._learning_rate = None
    self._dataset = None
    self._iterator = None
    self._manager = None
    self._step = None
    self._ended_at = None
    self._is_stopped = False

  def train(self):
    """Trains to the last step of the config, or until a hook stops it.

    Raises:
      nonfinite_steps.NonfiniteStepError: if the recorder of such steps ends
        training.
      mixed_precision.UnsupportedError: if the policy is nothing for the model.
      restored_values.RestoreError: if a checkpoint does not fit the model.
      trainable_variables.TrainableVariablesError: if the config names variables
        that the model does not have.
    """
    with contextlib.ExitStack() as stack:
      stack.enter_context(learning_phase.kept())
      for hook in self._hooks:
        hook.trainer = self
        stack.enter_context(hook.scope())
      self.build()
      for hook in self._hooks:
        hook.before_train()
      with self.strategy.scope():
        self.restore()
        self._ended_at = time.time()
        while (self.current_step() < self.config.train_steps
               and not self._is_stopped):
          self._iterate()
        for hook in self._hooks:
          hook.after_train()

  def stop(self):
    """Ends training after the iteration under way, as after its last step."""
    self._is_stopped = True

  def current_step(self):
    """Returns the global step, an int."""
    return int(self.global_step.value())

  def build(self):
    """Builds model, input and optimizer."""
    train_config = self.config.train
    with self.strategy.scope():
      self.model = model_lib_v2.MODEL_BUILD_UTIL_MAP['detection_model_fn_base'](
          model_config=self.config.model, is_training=True,
          add_summaries=self._record_summaries)
      self._dataset = (
          self.strategy.experimental_distribute_datasets_from_function(
              self._train_input))
      self.global_step = tf.Variable(
          0, trainable=False, dtype=tf.compat.v2.dtypes.int64,
          name='global_step',
          aggregation=tf.compat.v2.VariableAggregation.ONLY_FIRST_REPLICA)
      optimizer, (self._learning_rate,) = optimizer_builder.build(
          train_config.optimizer, global_step=self.global_step)
      self.optimizer = mixed_precision.scale_losses(optimizer)
      if train_config.optimizer.use_moving_average:
        # Averages are copies of variables, which a model may not have before it
        # is used.
        self._ensure_model_is_built()
        self.optimizer.shadow_copy(self.model)

  def restore(self):
    """Restores what training starts with or goes on from; traces the step.

    Raises:
      restored_values.RestoreError: if a checkpoint does not fit the model.
      trainable_variables.TrainableVariablesError: if the config names variables
        that the model does not have.
    """
    train_config = self.config.train
    if train_config.fine_tune_checkpoint:
      self._load_fine_tune_checkpoint()
    self._select_trainable_variables()
    self.checkpoint = tf.compat.v2.train.Checkpoint(
        step=self.global_step, model=self.model, optimizer=self.optimizer)
    make_manager = functools.partial(
        tf.compat.v2.train.CheckpointManager,
        directory=self.workers.path(self.model_dir),
        max_to_keep=(
            self._checkpoint_max_to_keep if self.workers.is_chief else 1))
    # Of model_dir, also where this worker writes to another folder.
    latest_checkpoint = tf.train.latest_checkpoint(self.model_dir)
    self._trace()
    restoring.restore(self.checkpoint, latest_checkpoint, self.optimizer)
    if self.current_step() == 0:
      restoring.save_start(
          self.checkpoint, train_config.optimizer.use_moving_average,
          make_manager)
    self._manager = make_manager(self.checkpoint)
    self.saved_step = self.current_step()

  def step(self, num_steps):
    """Takes train steps, from one on.

    Args:
      num_steps: Their number.

    Returns:
      A dict of float scalar tensors, the losses of the last of them, summed
      over replicas.
    """
    try:
      return self._step(self._iterator, num_steps)
    except tf.errors.OpError:
      for hook in self._hooks:
        hook.step_failed()
      raise

  def save(self):
    """Saves a checkpoint."""
    self.saved_step = self.current_step()
    path = self._manager.save()
    for hook in self._hooks:
      hook.after_save(path)

  def _iterate(self):
    """One iteration of train steps, with the hooks around it."""
    # The last one may be shorter.
    num_steps = min(self._num_steps_per_iteration,
                    self.config.train_steps - self.current_step())
    for hook in self._hooks:
      hook.before_step()
    losses = self.step(num_steps)
    now = time.time()
    seconds, self._ended_at = now - self._ended_at, now
    rate = self._learning_rate
    outcome = hook_lib.Outcome(
        step=self.current_step(), num_steps=num_steps, seconds=seconds,
        losses=losses, learning_rate=rate() if callable(rate) else rate)
    for hook in self._hooks:
      hook.after_step(outcome)

  def _train_input(self, input_context):
    """Returns the endless tf.data.Dataset of an input pipeline."""
    return inputs.train_input(
        train_config=self.config.train,
        train_input_config=self.config.train_input,
        model_config=self.config.model,
        model=self.model,
        input_context=input_context,
        **self.seed.order(input_context)).repeat()

  def _ensure_model_is_built(self):
    model_lib_v2._ensure_model_is_built(  # pylint: disable=protected-access
        self.model, self._dataset, self.config.train.unpad_groundtruth_tensors)

  def _load_fine_tune_checkpoint(self):
    train_config = self.config.train
    variables_helper.ensure_checkpoint_supported(
        train_config.fine_tune_checkpoint,
        train_config.fine_tune_checkpoint_type, self.model_dir)
    # Whatever run_fine_tune_checkpoint_dummy_computation says: nothing tells of a
    # variable that the file lacks, if it is made after the file was read.
    is_built = train_config.optimizer.use_moving_average
    model_lib_v2.load_fine_tune_checkpoint(
        self.model, train_config.fine_tune_checkpoint,
        train_config.fine_tune_checkpoint_type,
        train_config.fine_tune_checkpoint_version,
        not is_built, self._dataset, train_config.unpad_groundtruth_tensors)

  def _select_trainable_variables(self):
    """Builds the model if it has to be, and selects what is trained."""
    train_config = self.config.train
    selects = trainable_variables.is_selected(train_config)
    is_built = (train_config.optimizer.use_moving_average or
                train_config.fine_tune_checkpoint)
    if not is_built and (
        selects or self.seed.number is not None or self.workers.is_alone):
      # Layers have no variables, and those no names, before they are used. And
      # initial values cannot follow from the number of a step.
      self._ensure_model_is_built()
    if selects:
      self.trainable_variables = trainable_variables.select(
          self.model.trainable_variables, train_config)
      tf.logging.info(
          'Training %d of %d variables', len(self.trainable_variables),
          len(self.model.trainable_variables))

  def _trace(self):
    """Traces the train step, and so makes all variables, without a step.

    A checkpoint can only be compared with what exists, and one that is saved
    before the first step has to be whole.
    """
    self._iterator = iter(self._dataset)
    if self.workers.is_alone:
      # A train step that creates variables is traced twice.
      self.optimizer._create_all_weights(  # pylint: disable=protected-access
          self.trainable_variables or self.model.trainable_variables)
    self._step = train_step.TrainStep(
        self, self._record_summaries, self._num_steps_per_iteration > 1)
    self._step.trace(self._iterator)
