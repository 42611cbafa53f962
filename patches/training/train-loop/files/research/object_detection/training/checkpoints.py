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
"""When checkpoints are written."""

from object_detection.training import hook


class Checkpoints(hook.Hook):
  """Saves every so many steps, and after the last one."""

  def __init__(self, every_n):
    """Initializes the hook.

    Args:
      every_n: The number of steps between checkpoints, at least.
    """
    self._every_n = every_n

  def after_step(self, outcome):
    if outcome.step - self.trainer.saved_step >= self._every_n:
      self.trainer.save()

  def after_train(self):
    if self.trainer.current_step() != self.trainer.saved_step:
      self.trainer.save()
