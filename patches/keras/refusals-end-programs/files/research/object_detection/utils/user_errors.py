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
"""Ends a program in a sentence where a file from outside may not be read."""

import functools
import sys

from object_detection.models.keras_models import keras_graph

# Wrong usage or bad input, as in the `odapi` command.
EXIT_CODE = 2


def reported(main):
  """Makes a program's main function end with a line and exit code 2.

  Args:
    main: A function whose `keras_graph.Refusal` is for the user: it says what a
      model file holds and may not, and a traceback would hide it.

  Returns:
    The function to run in its place.
  """

  @functools.wraps(main)
  def run(*args):
    try:
      return main(*args)
    except keras_graph.Refusal as refusal:
      print('error: %s' % refusal.reason, file=sys.stderr)
      if refusal.layer is not None:
        print('  at: layer %r' % refusal.layer, file=sys.stderr)
      sys.exit(EXIT_CODE)

  return run
