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
"""Tests for object_detection.training.trainer, with a model of one variable."""

import contextlib
import types
import unittest
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from object_detection import inputs
from object_detection import model_lib_v2
from object_detection.core import model
from object_detection.core import standard_fields as fields
from object_detection.protos import optimizer_pb2
from object_detection.protos import train_pb2
from object_detection.training import checkpoints
from object_detection.training import hook
from object_detection.training import run_config
from object_detection.training import trainer
from object_detection.utils import tf_version

class Line(model.DetectionModel):
  """A model whose loss is the mean of its weight times the image."""

  def __init__(self):
    super(Line, self).__init__(num_classes=1)
    self.weight = tf.Variable(1.0, name='weight')

  def preprocess(self, images):
    raise NotImplementedError

  def predict(self, images, true_image_shapes):
    return {'line': self.weight * tf.reduce_mean(images)}

  def postprocess(self, prediction_dict, true_image_shapes):
    raise NotImplementedError

  def loss(self, prediction_dict, true_image_shapes):
    return {'Loss/line': prediction_dict['line']}

  def provide_groundtruth(self, *args, **kwargs):
    pass

  def regularization_losses(self):
    return []

  def restore_map(self, *args, **kwargs):
    raise NotImplementedError

  def restore_from_objects(self, fine_tune_checkpoint_type):
    return {'model': self}

  def updates(self):
    return []


class Notes(hook.Hook):
  """Writes down when it is called."""

  def __init__(self, name, notes, stops_at=None, fails_at=None):
    self._name = name
    self._notes = notes
    self._stops_at = stops_at
    self._fails_at = fails_at

  def _note(self, what):
    self._notes.append('{} {}'.format(self._name, what))

  @contextlib.contextmanager
  def scope(self):
    self._note('enters {}'.format(self.trainer.model))
    try:
      yield
    finally:
      self._note('leaves')

  def before_train(self):
    self._note('before_train {}'.format(self.trainer.checkpoint))

  def before_step(self):
    self._note('before_step {}'.format(self.trainer.current_step()))

  def after_step(self, outcome):
    self._note('after_step {}'.format(outcome.step))
    if outcome.step == self._fails_at:
      raise KeyError('asked for')
    if outcome.step == self._stops_at:
      self.trainer.stop()

  def step_failed(self):
    self._note('step_failed')

  def after_save(self, path):
    self._note('after_save {}'.format(path[-6:]))

  def after_train(self):
    self._note('after_train')


def train_input(**_):
  """Images of the values 1, 2, 3 ..., one in a batch."""
  values = tf.data.Dataset.range(1, 100).map(lambda value: tf.fill(
      [1, 2, 2, 3], tf.cast(value, tf.float32)))
  return values.map(lambda image: ({  # pylint: disable=g-long-lambda
      fields.InputDataFields.image: image,
      fields.InputDataFields.true_image_shape: tf.constant([[2, 2, 3]]),
      inputs.HASH_KEY: tf.constant([0]),
  }, {fields.InputDataFields.num_groundtruth_boxes: tf.constant([0])}))


@unittest.skipIf(tf_version.is_tf1(), 'Skipping TF2.X only test.')
class TrainerTest(tf.test.TestCase):

  def setUp(self):
    super(TrainerTest, self).setUp()
    self.notes = []
    self._lines = []
    for target, name, value in (
        (inputs, 'train_input', train_input),
        (model_lib_v2.model_lib, 'unstack_batch', lambda labels, **_: labels),
        (model_lib_v2.model_lib, 'provide_groundtruth', lambda *_, **__: None)):
      patch = mock.patch.object(target, name, value)
      patch.start()
      self.addCleanup(patch.stop)
    patch = mock.patch.dict(
        model_lib_v2.MODEL_BUILD_UTIL_MAP,
        {'detection_model_fn_base': self._build})
    patch.start()
    self.addCleanup(patch.stop)

  def _build(self, **_):
    self._lines.append(Line())
    return self._lines[-1]

  def _config(self, train_steps=3, **fields_of_train_config):
    rate = optimizer_pb2.LearningRate(
        constant_learning_rate=optimizer_pb2.ConstantLearningRate(
            learning_rate=0.5))
    train_config = train_pb2.TrainConfig(
        optimizer=optimizer_pb2.Optimizer(
            momentum_optimizer=optimizer_pb2.MomentumOptimizer(
                learning_rate=rate, momentum_optimizer_value=0.0),
            use_moving_average=False), **fields_of_train_config)
    return run_config.RunConfig(
        {'model': None, 'train_config': train_config,
         'train_input_config': None}, train_steps, False)

  def _train(self, hooks=(), model_dir=None, config=None, **options):
    model_dir = model_dir or self.create_tempdir().full_path
    made = trainer.Trainer(
        config or self._config(), model_dir, hooks, record_summaries=False,
        **options)
    made.train()
    return made

  def _weight(self):
    return self._lines[-1].weight.numpy()

  def test_it_takes_the_steps_of_gradient_descent(self):
    made = self._train()
    self.assertEqual(made.current_step(), 3)
    # The gradient is the mean of the image: 1, 2, 3.
    self.assertEqual(self._weight(), 1 - 0.5 * (1 + 2 + 3))

  def test_hooks_are_called_in_their_order(self):
    hooks = [Notes('a', self.notes), checkpoints.Checkpoints(2),
             Notes('b', self.notes)]
    self._train(hooks)
    self.assertEqual(self.notes, [
        'a enters None', 'b enters None',
        'a before_train None', 'b before_train None',
        'a before_step 0', 'b before_step 0',
        'a after_step 1', 'b after_step 1',
        'a before_step 1', 'b before_step 1', 'a after_step 2',
        'a after_save ckpt-2', 'b after_save ckpt-2', 'b after_step 2',
        'a before_step 2', 'b before_step 2',
        'a after_step 3', 'b after_step 3',
        'a after_train', 'a after_save ckpt-3', 'b after_save ckpt-3',
        'b after_train', 'b leaves', 'a leaves'])

  def test_a_hook_that_stops_keeps_no_other_from_seeing_the_step(self):
    made = self._train(
        [Notes('a', self.notes, stops_at=2), Notes('b', self.notes),
         checkpoints.Checkpoints(100)])
    self.assertEqual(made.current_step(), 2)
    self.assertEqual(made.saved_step, 2)
    self.assertIn('b after_step 2', self.notes)
    self.assertIn('b after_train', self.notes)

  def test_an_error_of_a_hook_leaves_scopes_and_saves_nothing(self):
    model_dir = self.create_tempdir().full_path
    with self.assertRaises(KeyError):
      self._train([Notes('a', self.notes, fails_at=2),
                   checkpoints.Checkpoints(100)], model_dir)
    self.assertEqual(self.notes[-1], 'a leaves')
    self.assertNotIn('a after_train', self.notes)
    self.assertEndsWith(tf.train.latest_checkpoint(model_dir), 'ckpt-1')

  def test_hooks_hear_of_a_step_that_tensorflow_ends(self):
    def fail(_):
      raise ValueError('no more')

    def failing_input(**_):
      return train_input().map(
          lambda features, labels: (dict(features, image=tf.numpy_function(
              fail, [features['image']], tf.float32)), labels))

    with mock.patch.object(inputs, 'train_input', failing_input):
      with self.assertRaises(tf.errors.OpError):
        self._train([Notes('a', self.notes)])
    self.assertEqual(self.notes[-2:], ['a step_failed', 'a leaves'])

  def test_iterations_of_several_steps_end_at_the_last_step(self):
    made = self._train([Notes('a', self.notes)], config=self._config(5),
                       num_steps_per_iteration=3)
    self.assertEqual(made.current_step(), 5)
    self.assertEqual([note for note in self.notes if 'after_step' in note],
                     ['a after_step 3', 'a after_step 5'])

  def test_it_goes_on_from_the_last_checkpoint(self):
    model_dir = self.create_tempdir().full_path
    hooks = [checkpoints.Checkpoints(100)]
    self._train(hooks, model_dir)
    # The records are read from the first one again.
    made = self._train(hooks, model_dir, self._config(5))
    self.assertEqual(made.current_step(), 5)
    self.assertEqual(self._weight(), 1 - 0.5 * (1 + 2 + 3) - 0.5 * (1 + 2))

  def test_what_is_replaced_in_model_lib_v2_is_called(self):
    with mock.patch.object(
        model_lib_v2, 'eager_train_step',
        lambda *args, **kwargs: {'Loss/total_loss': tf.constant(7.0)}):
      made = self._train([Notes('a', self.notes)])
    self.assertEqual(made.current_step(), 3)
    self.assertEqual(self._weight(), 1)
    config = self._config(fine_tune_checkpoint='there/ckpt-1',
                          fine_tune_checkpoint_type='full')
    with mock.patch.object(
        trainer.variables_helper, 'ensure_checkpoint_supported'):
      with mock.patch.object(
          model_lib_v2, 'load_fine_tune_checkpoint',
          lambda line, path, *_: line.weight.assign(len(path))):
        self._train(config=config)
    self.assertEqual(self._weight(), len('there/ckpt-1') - 0.5 * (1 + 2 + 3))

  def test_the_learning_phase_is_put_back(self):
    phase = tf.keras.backend.learning_phase()
    phases = []
    watching = types.SimpleNamespace(note=phases.append)

    class Watch(hook.Hook):

      def after_step(self, outcome):
        watching.note(tf.keras.backend.learning_phase())

    self._train([Watch()])
    self.assertEqual(phases, [True] * 3)
    self.assertEqual(tf.keras.backend.learning_phase(), phase)

  def test_a_variable_that_is_not_in_the_checkpoint_ends_it(self):
    model_dir = self.create_tempdir().full_path
    self._train([checkpoints.Checkpoints(100)], model_dir)

    def build(**_):
      line = Line()
      line.another = tf.Variable(np.ones(2), name='another')
      return line

    with mock.patch.dict(model_lib_v2.MODEL_BUILD_UTIL_MAP,
                         {'detection_model_fn_base': build}):
      with self.assertRaisesRegex(ValueError, 'not in the checkpoint: 1, such'):
        self._train(model_dir=model_dir, config=self._config(5))


if __name__ == '__main__':
  tf.test.main()
