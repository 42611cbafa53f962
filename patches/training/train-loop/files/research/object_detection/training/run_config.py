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
"""What a training reads from its pipeline config."""

import dataclasses
from typing import Any, Optional

import tensorflow.compat.v1 as tf

from object_detection import model_lib_v2
from object_detection.utils import config_util


@dataclasses.dataclass(frozen=True)
class RunConfig(object):
  """A pipeline config with the overrides of a run.

  Attributes:
    configs: The dict that config_util's functions work on.
    train_steps: The global step to end at; None if nothing says so.
    use_bfloat16: Whether a TPU computes in bfloat16.
  """
  configs: Any
  train_steps: Optional[int]
  use_bfloat16: bool

  @property
  def model(self):
    """The model_pb2.DetectionModel."""
    return self.configs['model']

  @property
  def train(self):
    """The train_pb2.TrainConfig."""
    return self.configs['train_config']

  @property
  def train_input(self):
    """The input_reader_pb2.InputReader."""
    return self.configs['train_input_config']

  @property
  def clip_gradients_value(self):
    """The global norm to clip gradients at, or None."""
    if self.train.gradient_clipping_by_norm > 0:
      return self.train.gradient_clipping_by_norm
    return None

  def save(self, folder):
    """Writes it to `folder`, as a pipeline config."""
    tf.logging.info('Saving pipeline config file to directory %s', folder)
    create_pipeline_proto_from_configs = model_lib_v2.MODEL_BUILD_UTIL_MAP[
        'create_pipeline_proto_from_configs']
    config_util.save_pipeline_config(
        create_pipeline_proto_from_configs(self.configs), folder)


def read(pipeline_config_path, config_override=None, train_steps=None,
         use_tpu=False, **kwargs):
  """Reads a pipeline config.

  Args:
    pipeline_config_path: The path of its file.
    config_override: A pipeline_pb2.TrainEvalPipelineConfig, text or proto, that
      is merged over it; or None.
    train_steps: The global step to end at; by default, the config's.
    use_tpu: Whether training runs on a TPU.
    **kwargs: Further overrides, of
      config_util.merge_external_params_with_configs.

  Returns:
    A RunConfig.

  Raises:
    ValueError: if the config asks for what TF2 does not do.
  """
  # Callers and tests put functions of their own into this table.
  get_configs_from_pipeline_file = model_lib_v2.MODEL_BUILD_UTIL_MAP[
      'get_configs_from_pipeline_file']
  configs = get_configs_from_pipeline_file(
      pipeline_config_path, config_override=config_override)
  return _of_configs(configs, train_steps, use_tpu, **kwargs)


def of(pipeline_config, train_steps=None):
  """What a pipeline config in memory says; see `read`.

  Args:
    pipeline_config: A pipeline_pb2.TrainEvalPipelineConfig.
    train_steps: The global step to end at; by default, the config's.

  Returns:
    A RunConfig.

  Raises:
    ValueError: if the config asks for what TF2 does not do.
  """
  configs = config_util.create_configs_from_pipeline_proto(pipeline_config)
  return _of_configs(configs, train_steps, use_tpu=False)


def _of_configs(configs, train_steps, use_tpu, **kwargs):
  """Merges overrides into a dict of configs, and checks it."""
  merge_external_params_with_configs = model_lib_v2.MODEL_BUILD_UTIL_MAP[
      'merge_external_params_with_configs']
  use_bfloat16 = configs['train_config'].use_bfloat16 and use_tpu
  kwargs.update({'train_steps': train_steps, 'use_bfloat16': use_bfloat16})
  configs = merge_external_params_with_configs(
      configs, None, kwargs_dict=kwargs)
  train_config = configs['train_config']
  # update train_steps from config but only when non-zero value is provided
  if train_steps is None and train_config.num_steps != 0:
    train_steps = train_config.num_steps
  if train_config.load_all_detection_checkpoint_vars:
    raise ValueError('train_pb2.load_all_detection_checkpoint_vars '
                     'unsupported in TF2')
  config_util.update_fine_tune_checkpoint_type(train_config)
  return RunConfig(configs, train_steps, use_bfloat16)
