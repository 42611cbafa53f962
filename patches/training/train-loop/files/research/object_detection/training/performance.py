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
"""Figures of a whole training, for whoever compares trainings."""

import numpy as np

from object_detection.training import hook


class Performance(hook.Hook):
  """Gives speed and the last loss to a function when training has ended."""

  def __init__(self, exporter, precision):
    """Initializes the hook.

    Args:
      exporter: A function of a dict of floats and a string, the precision.
      precision: 'bf16' or 'fp32'.
    """
    self._exporter = exporter
    self._precision = precision
    self._steps_per_sec = []
    self._losses = None

  def after_step(self, outcome):
    self._steps_per_sec.append(outcome.num_steps / outcome.seconds)
    self._losses = outcome.losses

  def after_train(self):
    self._exporter({
        'steps_per_sec': np.mean(self._steps_per_sec),
        'steps_per_sec_p50': np.median(self._steps_per_sec),
        'steps_per_sec_max': max(self._steps_per_sec),
        'last_batch_loss': float(self._losses['Loss/total_loss'])
    }, self._precision)
