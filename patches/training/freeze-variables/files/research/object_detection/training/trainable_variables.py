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
"""Which variables a train config wants to be trained."""

import re

import tf_slim as slim


class TrainableVariablesError(ValueError):
  """A train config that names variables which the model does not have.

  Attributes:
    pattern: The expression at fault, or None.
    names: The names of the model's trainable variables.
  """

  def __init__(self, message, names, pattern=None):
    super(TrainableVariablesError, self).__init__(message)
    self.names = names
    self.pattern = pattern


def is_selected(train_config):
  """Whether a train config leaves out any variable."""
  return bool(train_config.update_trainable_variables or
              train_config.freeze_variables)


def select(variables, train_config):
  """Selects the variables that a train config wants to be trained.

  As in TF1, a pattern is searched for anywhere in a variable's name, and
  `freeze_variables` wins over `update_trainable_variables`.

  Args:
    variables: The trainable variables of a model that has been built.
    train_config: A train_pb2.TrainConfig, of which `update_trainable_variables`
      and `freeze_variables` are read.

  Returns:
    A list of those variables to compute gradients for.

  Raises:
    TrainableVariablesError: if a pattern is no regular expression or is found
      in no name, or if no variable remains.
  """
  names = [variable.name for variable in variables]
  for field in ('update_trainable_variables', 'freeze_variables'):
    for pattern in getattr(train_config, field):
      try:
        re.compile(pattern)
      except re.error as error:
        raise TrainableVariablesError(
            'train_config.{}: "{}" is not a regular expression: {}'.format(
                field, pattern, error), names, pattern) from error
      if not any(re.search(pattern, name) for name in names):
        raise TrainableVariablesError(
            'train_config.{}: "{}" is found in none of the names of {} '
            'trainable variables, such as {}'.format(
                field, pattern, len(names), ', '.join(names[:3])), names,
            pattern)
  selected = slim.filter_variables(
      variables,
      include_patterns=train_config.update_trainable_variables or None,
      exclude_patterns=train_config.freeze_variables or None)
  if not selected:
    raise TrainableVariablesError(
        'train_config.freeze_variables leaves none of {} trainable variables '
        'to train'.format(len(names)), names)
  return selected
