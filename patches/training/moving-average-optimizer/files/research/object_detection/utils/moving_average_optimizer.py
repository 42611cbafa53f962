"""An optimizer that keeps moving averages of the variables it trains.

It stands in for `tf.contrib.opt.MovingAverageOptimizer`, and names the averages
as that did, `<variable>/ExponentialMovingAverage`, so that checkpoints of either
serve the other.
"""
import tensorflow.compat.v1 as tf


class MovingAverageOptimizer(tf.train.Optimizer):
  """Wraps an optimizer, and updates the averages after each of its steps."""

  def __init__(self, opt, average_decay=0.9999, num_updates=None):
    """Constructor.

    Args:
      opt: a tf.train.Optimizer.
      average_decay: float in [0, 1): the weight that an average keeps.
      num_updates: optional scalar; lowers the decay in the first updates, as
        tf.train.ExponentialMovingAverage describes.
    """
    super(MovingAverageOptimizer, self).__init__(
        use_locking=False, name='MovingAverageOptimizer')
    self._optimizer = opt
    self._ema = tf.train.ExponentialMovingAverage(
        average_decay, num_updates=num_updates)
    self._averaged = []

  def compute_gradients(self, *args, **kwargs):
    return self._optimizer.compute_gradients(*args, **kwargs)

  def apply_gradients(self, grads_and_vars, global_step=None, name=None):
    """Trains the variables that have a gradient, then averages them."""
    grads_and_vars = list(grads_and_vars)
    train_op = self._optimizer.apply_gradients(
        grads_and_vars, global_step=global_step, name=name)
    self._averaged = [var for grad, var in grads_and_vars if grad is not None]
    with tf.control_dependencies([train_op]):
      return self._ema.apply(self._averaged)

  def restart_averages(self):
    """Returns an op that sets each average to its variable's present value."""
    return tf.group(*[
        tf.assign(self._ema.average(var), var) for var in self._averaged])

  def swapping_saver(self, var_list=None, name='swapping_saver', **kwargs):
    """Returns a saver that swaps variables and averages in the checkpoint.

    What is saved as `<variable>` is then the average, ready for evaluation. A
    restore swaps back, so that training continues with its own values.

    Args:
      var_list: list of variables, or dictionary of names and variables; all
        saveable variables by default.
      name: name of the saver's ops.
      **kwargs: for the constructor of tf.train.Saver.

    Returns:
      A tf.train.Saver.

    Raises:
      RuntimeError: before `apply_gradients` has made the averages.
      ValueError: if an average is to be saved without its variable.
    """
    if not self._averaged:
      raise RuntimeError('swapping_saver needs apply_gradients to come first.')
    if var_list is None:
      var_list = tf.global_variables()
    if not isinstance(var_list, dict):
      var_list = {var.op.name: var for var in var_list}
    names = {var.op.name: name for name, var in var_list.items()}
    swapped = dict(var_list)
    for var in self._averaged:
      average = self._ema.average(var)
      if average.op.name not in names:
        continue
      if var.op.name not in names:
        raise ValueError('{} is to be saved without {}.'.format(
            average.op.name, var.op.name))
      swapped[names[var.op.name]] = average
      swapped[names[average.op.name]] = var
    return tf.train.Saver(swapped, name=name, **kwargs)

  def get_slot(self, *args, **kwargs):
    return self._optimizer.get_slot(*args, **kwargs)

  def get_slot_names(self, *args, **kwargs):
    return self._optimizer.get_slot_names(*args, **kwargs)

  def variables(self):
    return self._optimizer.variables()
