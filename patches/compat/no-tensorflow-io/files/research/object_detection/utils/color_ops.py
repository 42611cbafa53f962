"""Colour space conversions."""

import tensorflow.compat.v1 as tf

# Linear sRGB to CIE XYZ, and the D65 white point: IEC 61966-2-1.
_RGB_TO_XYZ = [[0.412453, 0.357580, 0.180423],
               [0.212671, 0.715160, 0.072169],
               [0.019334, 0.119193, 0.950227]]
_D65_WHITE = [0.95047, 1.0, 1.08883]


def rgb_to_lab(image):
  """Converts sRGB to CIE 1976 L*a*b* with the D65 white point.

  Args:
    image: A float tensor with shape [..., 3] and values in [0, 1].

  Returns:
    A tensor like `image` with L* in [0, 100] and a*, b* in about [-128, 127].
  """
  # Both branches of tf.where get a gradient, so each is kept away from the
  # power's singularity at zero.
  linear = tf.where(image > 0.04045,
                    tf.pow((tf.maximum(image, 0.04045) + 0.055) / 1.055, 2.4),
                    image / 12.92)
  xyz = tf.tensordot(linear, tf.constant(_RGB_TO_XYZ, image.dtype),
                     axes=[[-1], [1]])
  ratio = xyz / tf.constant(_D65_WHITE, image.dtype)
  delta = 6.0 / 29.0
  f = tf.where(ratio > delta**3,
               tf.pow(tf.maximum(ratio, delta**3), 1.0 / 3.0),
               ratio / (3.0 * delta**2) + 4.0 / 29.0)
  f_x, f_y, f_z = tf.unstack(f, axis=-1)
  return tf.stack(
      [116.0 * f_y - 16.0, 500.0 * (f_x - f_y), 200.0 * (f_y - f_z)], axis=-1)
