"""The parts of `tf.estimator` that work without the removed package.

TensorFlow 2.16 dropped `tf.estimator`. Its mode names and result containers
are plain data, so they live on here. What really needs the package, such as
`Estimator` and `TPUEstimator`, raises an error that names the replacement.
"""
import collections
import sys


class ModeKeys(object):
  """Names of the modes that a `model_fn` is called in."""

  TRAIN = 'train'
  EVAL = 'eval'
  PREDICT = 'infer'


ServingInputReceiver = collections.namedtuple(
    'ServingInputReceiver', ['features', 'receiver_tensors'])
PredictOutput = collections.namedtuple('PredictOutput', ['outputs'])


class EstimatorSpec(
    collections.namedtuple('EstimatorSpec', [
        'mode', 'predictions', 'loss', 'train_op', 'eval_metric_ops',
        'export_outputs', 'training_chief_hooks', 'training_hooks', 'scaffold',
        'evaluation_hooks', 'prediction_hooks'
    ], defaults=(None,) * 10)):
  """What a `model_fn` returns: ops and tensors for one mode."""

  def __new__(cls, mode, **fields):
    # As in tf.estimator, whoever reads these two may count on a dictionary.
    for name in ('predictions', 'eval_metric_ops'):
      if fields.get(name) is None:
        fields[name] = {}
    return super(EstimatorSpec, cls).__new__(cls, mode, **fields)


class _Export(object):
  ServingInputReceiver = ServingInputReceiver
  PredictOutput = PredictOutput


export = _Export


def exit_naming_replacement(program):
  """Ends a program that is nothing without the removed package.

  Args:
    program: string, its file name.
  """
  sys.stderr.write(
      'error: {} needs tf.estimator, which TensorFlow 2.16 removed\n'
      'hint: run model_main_tf2.py with the same --model_dir and '
      '--pipeline_config_path; for a model that exists in TF1 only, '
      'legacy/train.py and legacy/eval.py\n'.format(program))
  sys.exit(2)


def __getattr__(name):
  """Explains what to use in place of a part that is gone."""
  if name.startswith('__'):
    raise AttributeError(name)
  raise RuntimeError(
      'tf.estimator.{} no longer exists: TensorFlow 2.16 removed the package. '
      'Train and evaluate with model_main_tf2.py, or with legacy/train.py and '
      'legacy/eval.py in TF1 behaviour.'.format(name))
