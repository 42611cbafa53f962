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
"""Tests for the hooks of object_detection.training, each on its own."""

import os
import types
import unittest
from unittest import mock

import tensorflow.compat.v2 as tf

from object_detection.protos import model_pb2
from object_detection.training import callbacks
from object_detection.training import checkpoints
from object_detection.training import hook
from object_detection.training import learning_phase
from object_detection.training import log
from object_detection.training import mixed_precision
from object_detection.training import nonfinite
from object_detection.training import performance
from object_detection.training import seed
from object_detection.training import summaries
from object_detection.training import workers
from object_detection.utils import mixed_precision as mixed_precision_lib
from object_detection.utils import nonfinite_steps
from object_detection.utils import tf_version


def outcome_of(step, num_steps=1, seconds=0.5, loss=2.0):
  return hook.Outcome(
      step=step, num_steps=num_steps, seconds=seconds,
      losses={'Loss/total_loss': tf.constant(loss)},
      learning_rate=tf.constant(0.1))


class FakeTrainer(object):
  """What hooks use of a trainer."""

  def __init__(self, model_dir='', saved_step=0):
    self.model_dir = model_dir
    self.saved_step = saved_step
    self.saved = []
    self.is_stopped = False
    self.global_step = tf.Variable(0, dtype=tf.int64)
    self.strategy = tf.distribute.get_strategy()
    self.workers = workers.Workers(self.strategy)
    self.checkpoint = tf.train.Checkpoint(step=self.global_step)

  def current_step(self):
    return int(self.global_step)

  def save(self):
    self.saved_step = self.current_step()
    self.saved.append(self.saved_step)

  def stop(self):
    self.is_stopped = True


def run(a_hook, trainer, outcomes):
  """Calls a hook as a trainer does."""
  a_hook.trainer = trainer
  with a_hook.scope():
    a_hook.before_train()
    for outcome in outcomes:
      a_hook.before_step()
      trainer.global_step.assign(outcome.step)
      a_hook.after_step(outcome)
    a_hook.after_train()


@unittest.skipIf(tf_version.is_tf1(), 'Skipping TF2.X only test.')
class HooksTest(tf.test.TestCase):

  def test_checkpoints_come_every_n_steps_and_at_the_end(self):
    for every_n, steps, expected in (
        (2, range(1, 6), [2, 4, 5]), (2, range(1, 5), [2, 4]),
        (10, range(1, 3), [2]), (2, range(3, 12, 3), [3, 6, 9])):
      trainer = FakeTrainer()
      run(checkpoints.Checkpoints(every_n), trainer, map(outcome_of, steps))
      self.assertEqual(trainer.saved, expected)

  def test_checkpoints_count_from_the_one_that_training_went_on_from(self):
    trainer = FakeTrainer(saved_step=7)
    run(checkpoints.Checkpoints(3), trainer, map(outcome_of, range(8, 12)))
    self.assertEqual(trainer.saved, [10, 11])

  def test_log_lines_come_every_n_steps(self):
    for steps, num_steps, expected in (
        (range(1, 401), 1, [100, 200, 300, 400]),
        (range(30, 401, 30), 30, [120, 240, 360]),
        (range(57, 300), 1, [156, 256])):
      with mock.patch.object(log.tf.logging, 'info') as info:
        run(log.Log(100), FakeTrainer(),
            (outcome_of(step, num_steps) for step in steps))
      lines = [call[0][0] for call in info.call_args_list]
      self.assertEqual(
          [int(line.split()[1]) for line in lines[::2]], expected)
      self.assertIn('per-step time {:.3f}s'.format(0.5 / num_steps), lines[0])
      self.assertRegex(lines[1], "'Loss/total_loss': .*2.0")

  def test_callbacks_are_told_of_steps_and_checkpoints_and_end_training(self):
    told = []
    trainer = FakeTrainer()
    callback = callbacks.Callbacks(
        lambda step, values: told.append((step, sorted(values))),
        lambda step, path: told.append((step, path)))
    run(callback, trainer, [outcome_of(4)])
    trainer.save()
    callback.after_save('ckpt-2')
    self.assertEqual(
        told, [(4, ['Loss/total_loss', 'learning_rate']), (4, 'ckpt-2')])
    self.assertFalse(trainer.is_stopped)
    run(callbacks.Callbacks(lambda *_: True), trainer, [outcome_of(5)])
    self.assertTrue(trainer.is_stopped)
    trainer.is_stopped = False
    callback = callbacks.Callbacks(after_save=lambda *_: True)
    callback.trainer = trainer
    callback.after_save('ckpt-3')
    self.assertTrue(trainer.is_stopped)
    run(callbacks.Callbacks(), FakeTrainer(), [outcome_of(1)])

  def test_summaries_are_written_every_n_steps(self):
    trainer = FakeTrainer(self.create_tempdir().full_path)
    run(summaries.Summaries(2), trainer,
        [outcome_of(step, num_steps=3) for step in range(1, 6)])
    found = {}
    folder = os.path.join(trainer.model_dir, 'train')
    for path in tf.io.gfile.glob(os.path.join(folder, '*')):
      for event in tf.compat.v1.train.summary_iterator(path):
        for value in event.summary.value:
          found[value.tag, event.step] = float(
              tf.make_ndarray(value.tensor))
    self.assertAllClose(found, {
        (tag, step): value for step in (2, 4) for tag, value in (
            ('steps_per_sec', 6.0), ('Loss/total_loss', 2.0),
            ('learning_rate', 0.1))})
    self.assertFalse(tf.summary.should_record_summaries())

  def test_performance_is_exported_in_the_end(self):
    exported = []
    run(performance.Performance(
        lambda figures, precision: exported.append((figures, precision)),
        'fp32'), FakeTrainer(), [
            outcome_of(1, seconds=1.0), outcome_of(2, seconds=0.25),
            outcome_of(3, seconds=0.5, loss=5.0)])
    (figures, precision), = exported
    self.assertEqual(precision, 'fp32')
    self.assertAllClose(figures, {
        'steps_per_sec': 7 / 3, 'steps_per_sec_p50': 2.0,
        'steps_per_sec_max': 4.0, 'last_batch_loss': 5.0})

  def test_the_policy_is_that_of_the_scope(self):
    trainer = FakeTrainer()
    trainer.config = types.SimpleNamespace(model=model_pb2.DetectionModel())
    policy = tf.keras.mixed_precision.global_policy
    for name, expected in (('mixed_bfloat16', 'mixed_bfloat16'),
                           (None, 'float32')):
      precision = mixed_precision.MixedPrecision(name)
      precision.trainer = trainer
      with precision.scope():
        self.assertEqual(policy().name, expected)
      self.assertEqual(policy().name, 'float32')

  def test_a_model_that_the_policy_is_nothing_for_is_refused(self):
    model = model_pb2.DetectionModel()
    model.center_net.deepmac_mask_estimation.SetInParent()
    for is_checked in (True, False):
      precision = mixed_precision.MixedPrecision('mixed_bfloat16', is_checked)
      precision.trainer = FakeTrainer()
      precision.trainer.config = types.SimpleNamespace(model=model)
      if not is_checked:
        with precision.scope():
          continue
      with self.assertRaises(mixed_precision_lib.UnsupportedError):
        with precision.scope():
          self.fail('entered')
    self.assertEqual(
        tf.keras.mixed_precision.global_policy().name, 'float32')

  def test_the_learning_phase_is_kept_through_an_error(self):
    with self.assertRaises(KeyError):
      with learning_phase.kept():
        tf.keras.backend.set_learning_phase(True)
        raise KeyError()
    self.assertFalse(tf.keras.backend.learning_phase())

  def test_a_seed_fixes_initial_values_and_the_place_in_the_data(self):
    drawn = []
    context = types.SimpleNamespace(
        num_replicas_in_sync=6, num_input_pipelines=2)
    for number in (1, 1, 2):
      trainer = FakeTrainer(self.create_tempdir().full_path)
      tf.train.Checkpoint(step=tf.Variable(5, dtype=tf.int64)).save(
          os.path.join(trainer.model_dir, 'ckpt'))
      seeding = seed.Seed(number)
      seeding.trainer = trainer
      with seeding.scope():
        drawn.append(float(tf.random.uniform([])))
        self.assertEqual(seeding.order(context),
                         {'seed': number, 'first_batch': 15})
    self.assertEqual(drawn[0], drawn[1])
    self.assertNotEqual(drawn[0], drawn[2])
    nothing = seed.Seed()
    nothing.trainer = trainer
    with nothing.scope():
      self.assertEqual(nothing.order(context), {})

  def test_a_seed_and_the_step_fix_what_a_step_draws(self):
    step = tf.Variable(0, dtype=tf.int64)

    def draws(number):
      function = seed.Seed(number).draws_by_step(
          lambda strategy: tf.random.uniform([]), step)
      return tf.function(function, autograph=False)

    strategy = tf.distribute.get_strategy()
    draw, again, other, free = (draws(number) for number in (1, 1, 2, None))
    first = float(draw(strategy))
    self.assertEqual(first, float(draw(strategy)))
    self.assertEqual(first, float(again(strategy)))
    self.assertNotEqual(first, float(other(strategy)))
    self.assertNotEqual(float(free(strategy)), float(free(strategy)))
    step.assign_add(1)
    self.assertNotEqual(first, float(draw(strategy)))

  def test_a_recorder_that_stops_ends_training(self):
    recorder = nonfinite_steps.Recorder(self.create_tempdir().full_path)
    steps = nonfinite.NonfiniteSteps(recorder)
    steps.trainer = FakeTrainer()
    steps.step_failed()
    recorder.records.append({'step': 1, 'nonfinite': ['Loss/a'], 'images': []})
    with self.assertRaises(nonfinite_steps.NonfiniteStepError):
      steps.step_failed()
    self.assertTrue(tf.io.gfile.exists(
        os.path.join(recorder.folder, 'variables.index')))

  def test_without_a_recorder_nothing_is_looked_at(self):
    steps = nonfinite.NonfiniteSteps()
    self.assertIsNone(steps.for_batch({}, {}))
    run(steps, FakeTrainer(), [outcome_of(1)])
    steps.step_failed()

  def test_only_the_chief_keeps_what_it_writes(self):
    folder = self.create_tempdir().full_path
    for is_chief in (True, False):
      extended = types.SimpleNamespace(
          should_checkpoint=is_chief, _task_id=1)
      worker = workers.Workers(types.SimpleNamespace(
          extended=extended, num_replicas_in_sync=2))
      self.assertEqual(worker.is_chief, is_chief)
      self.assertFalse(worker.is_alone)
      with worker.scope():
        path = worker.path(os.path.join(folder, 'a'))
        self.assertEqual(path == os.path.join(folder, 'a'), is_chief)
        tf.io.gfile.makedirs(path)
      self.assertEqual(tf.io.gfile.exists(path), is_chief)


if __name__ == '__main__':
  tf.test.main()
