"""Traces without AutoGraph what does not need it, and with it what does.

AutoGraph rewrites every function that is called while one is traced, which is
most of the time of tracing. Model code is written for graphs, but for an `if`
here and there whose condition is a tensor in some configs: TypeError, or its
subclass OperatorNotAllowedInGraphError.
"""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import tensorflow.compat.v1 as tf


def build(builder, function):
  """Calls a builder with a function kept from AutoGraph, and again if it fails.

  Args:
    builder: A callable that traces the function that it is called with.
    function: A function.

  Returns:
    What the builder returns.

  Raises:
    TypeError: if the function cannot be traced with AutoGraph, either.
  """
  try:
    return builder(tf.autograph.experimental.do_not_convert(function))
  except TypeError as error:
    tf.logging.warning('Traced again, with AutoGraph, which takes longer: %s',
                       str(error).strip().split('\n')[0])
    return builder(function)
