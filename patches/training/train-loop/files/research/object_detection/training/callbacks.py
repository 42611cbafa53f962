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
"""Functions of a caller of model_lib_v2.train_loop."""

from object_detection.training import hook


class Callbacks(hook.Hook):
  """Calls a function after iterations, and one after checkpoints.

  Where one of them returns True, training ends as after its last step.
  """

  def __init__(self, after_step=None, after_save=None):
    """Initializes the hook.

    Args:
      after_step: A function of the global step, an int, and a dict of scalars:
        the losses and 'learning_rate'. Or None.
      after_save: A function of the global step and the path of a checkpoint. Or
        None.
    """
    self._after_step = after_step
    self._after_save = after_save

  def after_step(self, outcome):
    if self._after_step is not None:
      if self._after_step(outcome.step, outcome.values):
        self.trainer.stop()

  def after_save(self, path):
    if self._after_save is not None:
      if self._after_save(self.trainer.saved_step, path):
        self.trainer.stop()
