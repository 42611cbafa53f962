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
"""Processes that train together: where each of them writes."""

import contextlib

from object_detection import model_lib_v2
from object_detection.training import hook


class Workers(hook.Hook):
  """The workers of a tf.distribute.Strategy, as seen from one of them.

  All of them have to write a checkpoint together. Those of any but the chief go
  to folders that are removed in the end.

  Attributes:
    strategy: The strategy.
  """

  def __init__(self, strategy):
    self.strategy = strategy
    self._temporary = []

  @property
  def is_chief(self):
    """Whether its checkpoints are those that stay; so is the only one."""
    return self.strategy.extended.should_checkpoint

  @property
  def is_alone(self):
    """Whether there is one replica in all."""
    return self.strategy.num_replicas_in_sync == 1

  def path(self, folder):
    """Returns where this worker writes what the chief writes to `folder`."""
    path = model_lib_v2.get_filepath(self.strategy, folder)
    self._temporary.append(path)
    return path

  @contextlib.contextmanager
  def scope(self):
    try:
      yield
    finally:
      for path in self._temporary:
        model_lib_v2.clean_temporary_directories(self.strategy, path)
