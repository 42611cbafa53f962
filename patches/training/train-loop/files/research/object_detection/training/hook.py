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
"""What training calls while it runs, so that each concern is a class apart."""

import contextlib
import dataclasses
from typing import Any, Dict


@dataclasses.dataclass(frozen=True)
class Outcome(object):
  """What an iteration of train steps did.

  Attributes:
    step: The global step after it.
    num_steps: The number of its steps.
    seconds: Wall time since the end of the iteration before.
    losses: A dict of float scalar tensors, the losses of its last step, summed
      over replicas. The total is 'Loss/total_loss'.
    learning_rate: A number or float scalar tensor, that of the next step.
  """
  step: int
  num_steps: int
  seconds: float
  losses: Dict[str, Any]
  learning_rate: Any

  @property
  def values(self):
    """A dict of the losses and 'learning_rate'."""
    return dict(self.losses, learning_rate=self.learning_rate)


class Hook(object):
  """A concern of training: every method may be overridden, and does nothing.

  Hooks are called in the order that the trainer was given them in. Each sees
  every iteration: one that calls `trainer.stop()` does not keep the others from
  seeing it too. What a hook raises ends training, without a checkpoint.

  Attributes:
    trainer: The trainer.Trainer that calls it, from `scope` on.
  """

  trainer = None

  def scope(self):
    """Returns a context manager that is entered before the model is built.

    It is left when training has ended, in whichever way.
    """
    return contextlib.nullcontext()

  def before_train(self):
    """The model is built; nothing is restored, and no step is traced."""

  def before_step(self):
    """An iteration begins."""

  def after_step(self, outcome):
    """An iteration has ended, of which `outcome` is an Outcome."""

  def step_failed(self):
    """TensorFlow ended an iteration by an error, which is raised after this."""

  def after_save(self, path):
    """The checkpoint `path`, a prefix, is complete; it is not the start's."""

  def after_train(self):
    """The last step is done. This is not called where an error ended training.
    """
