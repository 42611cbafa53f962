"""Tests for moving_average_optimizer."""
import os
import unittest
import tensorflow.compat.v1 as tf

from object_detection.utils import moving_average_optimizer
from object_detection.utils import tf_version


@unittest.skipIf(tf_version.is_tf2(), 'Skipping TF1.X only test.')
class MovingAverageOptimizerTest(tf.test.TestCase):

  def _train(self, decay=0.5):
    """Builds x = 1 and a step that takes 2 from it."""
    self.x = tf.get_variable('x', initializer=1.0)
    self.frozen = tf.get_variable('frozen', initializer=1.0)
    optimizer = moving_average_optimizer.MovingAverageOptimizer(
        tf.train.GradientDescentOptimizer(1.0), average_decay=decay)
    grads_and_vars = optimizer.compute_gradients(
        2.0 * self.x, [self.x, self.frozen])
    return optimizer, optimizer.apply_gradients(
        grads_and_vars, global_step=tf.train.get_or_create_global_step())

  def test_averages_what_it_trains(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      _, train_op = self._train()
      sess.run(tf.global_variables_initializer())
      sess.run(train_op)  # x: 1 - 2 = -1
      sess.run(train_op)  # x: -1 - 2 = -3
      names = {var.op.name: var for var in tf.global_variables()}
      self.assertCountEqual(
          names, ['x', 'frozen', 'global_step', 'x/ExponentialMovingAverage'])
      self.assertAllClose(sess.run(self.x), -3.0)
      # 0.5 (0.5 * 1 + 0.5 * -1) + 0.5 * -3
      self.assertAllClose(
          sess.run(names['x/ExponentialMovingAverage']), -1.5)
      self.assertEqual(sess.run(names['global_step']), 2)

  def test_restart_averages(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      optimizer, train_op = self._train()
      restart = optimizer.restart_averages()
      sess.run(tf.global_variables_initializer())
      sess.run(train_op)
      sess.run(restart)
      self.assertAllClose(sess.run(tf.moving_average_variables()), [-1.0])
      average = [
          var for var in tf.global_variables() if 'Average' in var.op.name]
      self.assertAllClose(sess.run(average), [-1.0])

  def test_swapping_saver(self):
    path = os.path.join(self.get_temp_dir(), 'model.ckpt')
    with tf.Graph().as_default(), tf.Session() as sess:
      optimizer, train_op = self._train()
      saver = optimizer.swapping_saver()
      sess.run(tf.global_variables_initializer())
      sess.run(train_op)  # x: -1, and its average: 0
      saver.save(sess, path)
      reader = tf.train.load_checkpoint(path)
      self.assertAllClose(reader.get_tensor('x'), 0.0)
      self.assertAllClose(
          reader.get_tensor('x/ExponentialMovingAverage'), -1.0)
      sess.run(train_op)
      saver.restore(sess, path)
      self.assertAllClose(sess.run(self.x), -1.0)

  def test_swapping_saver_refuses_an_average_without_its_variable(self):
    with tf.Graph().as_default():
      optimizer, _ = self._train()
      averages = [
          var for var in tf.global_variables() if 'Average' in var.op.name]
      with self.assertRaisesRegex(ValueError, 'saved without x'):
        optimizer.swapping_saver(averages)

  def test_swapping_saver_needs_averages(self):
    optimizer = moving_average_optimizer.MovingAverageOptimizer(
        tf.train.GradientDescentOptimizer(1.0))
    with self.assertRaisesRegex(RuntimeError, 'apply_gradients'):
      optimizer.swapping_saver()


if __name__ == '__main__':
  tf.test.main()
