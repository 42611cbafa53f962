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
"""Keras's learning phase, which a train step sets for the whole process."""

import contextlib

import tensorflow.compat.v1 as tf


@contextlib.contextmanager
def kept():
  """Puts the phase back in the end.

  A model that is called afterwards would normalize by the batch it is given,
  and drop out.
  """
  phase = tf.keras.backend.learning_phase()
  try:
    yield
  finally:
    tf.keras.backend.set_learning_phase(phase)
