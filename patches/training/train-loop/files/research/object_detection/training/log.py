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
"""Lines in the log of the process."""

import pprint

import tensorflow.compat.v1 as tf

from object_detection.training import hook


class Log(hook.Hook):
  """Logs losses and the time of a step."""

  def __init__(self, every_n):
    """Initializes the hook.

    Args:
      every_n: The number of steps between lines, at least.
    """
    self._every_n = every_n
    self._logged_step = None

  def after_step(self, outcome):
    if self._logged_step is None:
      self._logged_step = outcome.step - outcome.num_steps
    if outcome.step - self._logged_step < self._every_n:
      return
    values = {name: value.numpy() for name, value in outcome.values.items()}
    tf.logging.info('Step {} per-step time {:.3f}s'.format(
        outcome.step, outcome.seconds / outcome.num_steps))
    tf.logging.info(pprint.pformat(values, width=40))
    self._logged_step = outcome.step
