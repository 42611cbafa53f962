"""Puts back the TensorFlow internals that tf_slim 1.1.0 reaches for.

tf_slim is no longer released, and TensorFlow has since moved a few private
names that it uses. TFRecord decoding fails without `control_flow_ops.case` and
`array_ops.stack`, every slim layer without `Tensor` and Keras' legacy layers,
and training with clipped gradients without `IndexedSlices`.
"""
import importlib
import pkgutil
import sys

import tensorflow.compat.v1 as tf

from tensorflow.python.framework import ops
from tensorflow.python.ops import array_ops
from tensorflow.python.ops import control_flow_ops

_KERAS_LAYERS = 'legacy_tf_layers'


def restore_removed_names():
  """Restores each missing name from its public counterpart; idempotent."""
  for module, name, value in (
      (array_ops, 'stack', tf.stack),
      (array_ops, 'unstack', tf.unstack),
      (control_flow_ops, 'Assert', tf.Assert),
      (control_flow_ops, 'case', tf.case),
      (control_flow_ops, 'cond', tf.cond),
      (control_flow_ops, 'while_loop', tf.while_loop),
      (ops, 'IndexedSlices', tf.IndexedSlices),
      (ops, 'Tensor', tf.Tensor)):
    if not hasattr(module, name):
      setattr(module, name, value)
  _alias_keras_legacy_layers()


def _alias_keras_legacy_layers():
  """Makes `tf_keras.legacy_tf_layers` importable, where TensorFlow looks."""
  old_name = 'tf_keras.' + _KERAS_LAYERS
  if old_name in sys.modules:
    return
  package = importlib.import_module('tf_keras.src.' + _KERAS_LAYERS)
  sys.modules[old_name] = package
  for module_info in pkgutil.iter_modules(package.__path__):
    if not module_info.name.endswith('_test'):
      sys.modules[old_name + '.' + module_info.name] = importlib.import_module(
          package.__name__ + '.' + module_info.name)
