"""A container of hyperparameters, in place of `tf.contrib.training.HParams`."""


class HParams(object):
  """Hyperparameters as attributes, with the methods that callers here use."""

  def __init__(self, **kwargs):
    for name, value in kwargs.items():
      setattr(self, name, value)

  def values(self):
    """Returns a dictionary of names and values."""
    return dict(vars(self))

  def get(self, name, default=None):
    return getattr(self, name, default)

  def set_hparam(self, name, value):
    """Changes a hyperparameter.

    Args:
      name: string, one that exists.
      value: its new value.

    Raises:
      KeyError: if there is no such hyperparameter.
    """
    if name not in vars(self):
      raise KeyError('Unknown hyperparameter: {}'.format(name))
    setattr(self, name, value)

  def parse(self, text):
    """Changes hyperparameters as a command line flag says.

    Args:
      text: string of comma-separated name=value pairs. A value is converted to
        the type of the one it replaces, which is a bool, number or string.

    Returns:
      The hyperparameters themselves.

    Raises:
      KeyError: if there is no such hyperparameter.
      ValueError: if a pair has no `=`, or its value is not of the right type.
    """
    for pair in filter(None, text.split(',')):
      name, separator, value = (part.strip() for part in pair.partition('='))
      if not separator:
        raise ValueError('Expected name=value, but got: {}'.format(pair))
      if name not in vars(self):
        raise KeyError('Unknown hyperparameter: {}'.format(name))
      self.set_hparam(name, _convert(value, type(getattr(self, name))))
    return self


def _convert(text, value_type):
  if value_type is not bool:
    return value_type(text)
  try:
    return {'true': True, '1': True, 'false': False, '0': False}[text.lower()]
  except KeyError as error:
    raise ValueError('Not a boolean: {}'.format(text)) from error
