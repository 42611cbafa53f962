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
"""What TensorBoard shows of training."""

import contextlib
import os

import tensorflow.compat.v2 as tf

from object_detection.training import hook


class Summaries(hook.Hook):
  """Writes losses, learning rate and speed, and what the model records."""

  def __init__(self, every_n):
    """Initializes the hook.

    Args:
      every_n: Summaries are written at the steps that are multiples of it.
    """
    self._every_n = every_n
    self._contexts = None

  @contextlib.contextmanager
  def scope(self):
    with contextlib.ExitStack() as self._contexts:
      yield

  def before_train(self):
    # Not before the model is built: building it may compute losses, of which
    # there is nothing to tell.
    writer = tf.summary.create_file_writer(self.trainer.workers.path(
        os.path.join(self.trainer.model_dir, 'train')))
    step = self.trainer.global_step
    self._contexts.enter_context(writer.as_default())
    self._contexts.enter_context(
        tf.summary.record_if(lambda: step % self._every_n == 0))

  def after_step(self, outcome):
    step = self.trainer.global_step
    tf.summary.scalar(
        'steps_per_sec', outcome.num_steps / outcome.seconds, step=step)
    for key, value in outcome.values.items():
      tf.summary.scalar(key, value, step=step)
