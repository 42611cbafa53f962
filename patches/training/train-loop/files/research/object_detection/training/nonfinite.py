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
"""Steps whose losses or gradients are not finite."""

from object_detection.training import hook


class NonfiniteSteps(hook.Hook):
  """Has a recorder look at each step, and end training if it is to.

  Attributes:
    recorder: The utils/nonfinite_steps.Recorder, or None, which looks at
      nothing.
  """

  def __init__(self, recorder=None):
    self.recorder = recorder

  def for_batch(self, features, labels):
    """Returns the `on_nonfinite` of model_lib_v2.eager_train_step, or None."""
    if self.recorder is None:
      return None
    return self.recorder.for_batch(self.trainer.global_step, features, labels)

  def step_failed(self):
    """Raises NonfiniteStepError if the recorder ended this worker's step."""
    if self.recorder is not None:
      self.recorder.raise_if_stopped(self.trainer.checkpoint)

  def after_step(self, outcome):
    """Raises NonfiniteStepError if the recorder of any other worker does."""
    if self.recorder is not None:
      self.recorder.raise_if_any_stopped(
          self.trainer.strategy, self.trainer.checkpoint)
