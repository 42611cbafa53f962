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
"""The precision that layers compute in."""

import contextlib

from object_detection.training import hook
from object_detection.utils import mixed_precision


class MixedPrecision(hook.Hook):
  """Makes the model, and trains it, under a policy of Keras."""

  def __init__(self, policy=None, is_checked=True):
    """Initializes the hook.

    Args:
      policy: 'float32', or one of utils/mixed_precision.POLICIES. With None,
        that in force stays.
      is_checked: Whether models that cannot be trained so are refused.
    """
    self._policy = policy
    self._is_checked = is_checked

  @contextlib.contextmanager
  def scope(self):
    """Sets the policy, and the former one in the end.

    Raises:
      mixed_precision.UnsupportedError: if the policy is nothing for the model.
    """
    with mixed_precision.policy(self._policy):
      if self._is_checked:
        mixed_precision.check_model_config(self.trainer.config.model)
      yield
