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
"""Makes the variables of a model without running it."""

import tensorflow.compat.v1 as tf

from object_detection.core import standard_fields as fields
from object_detection.utils import initial_values


@tf.autograph.experimental.do_not_convert
def create(model, features_spec):
  """Creates the variables of a model, computing nothing else.

  Args:
    model: A DetectionModel.
    features_spec: A dict of the tf.TensorSpec of the model's features.

  Returns:
    Whether they could be created: not if the model needs AutoGraph.
  """
  model._is_training = False  # pylint: disable=protected-access
  tf.keras.backend.set_learning_phase(False)
  # Layers create variables outside of the graph that they are called in.
  graph = tf.compat.v2.__internal__.FuncGraph('create_variables')
  with initial_values.computed_in_place(), graph.as_default():
    features = {key: tf.placeholder(spec.dtype, spec.shape)
                for key, spec in features_spec.items()}
    try:
      model.predict(features[fields.InputDataFields.image],
                    features[fields.InputDataFields.true_image_shape],
                    **model.get_side_inputs(features))
    except TypeError:
      return False
  return True
