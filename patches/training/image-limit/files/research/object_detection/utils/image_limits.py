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
"""How large an image may be that is decoded.

A PNG of one colour holds 13,000 x 13,000 pixels in 500 KB, and takes 500 MB
decoded, and 2 GB as the float32 that a model takes. The size stands in the
first bytes of a file, so that it can be looked at before anything is allocated.
"""
import numpy as np
import tensorflow.compat.v1 as tf

MAX_PIXELS = 100 * 1000 * 1000
"""Width times height: 10,000 x 10,000, which is 300 MB as uint8 RGB."""

_HEADER_BYTES = 30
_JPEG = b'\xff\xd8\xff'
_GIF = b'GIF8'
_PLACES = {
    b'\x89PNG': ((19, 18, 17, 16), (23, 22, 21, 20)),
    b'BM': ((18, 19, 20, 21), (22, 23, 24, 25)),
}
"""Signature to where width and height stand, lowest byte first."""


def checked(encoded):
  """Lets an encoded image pass unless it would take too much memory.

  Args:
    encoded: A scalar string tensor, the content of a JPEG, PNG or BMP file.

  Returns:
    The same, after an assertion: evaluating it fails with InvalidArgumentError
    where the image's header says more than MAX_PIXELS, or it is a GIF, of which
    all frames would be decoded, to a tensor of four dimensions that no reader
    of records takes. What is no image passes: the decoder says so.
  """
  pixels = claimed_pixels(encoded)
  too_large = tf.Assert(
      pixels <= MAX_PIXELS,
      ['an image of', pixels, 'pixels is not decoded; the most is', MAX_PIXELS])
  is_gif = tf.Assert(
      tf.not_equal(tf.strings.substr(encoded, 0, len(_GIF)), _GIF),
      ['a GIF is not decoded: it may hold any number of frames'])
  with tf.control_dependencies([too_large, is_gif]):
    return tf.identity(encoded)


def claimed_pixels(encoded):
  """Width times height by the header of an encoded image.

  Args:
    encoded: A scalar string tensor.

  Returns:
    A scalar int64 tensor; 0 for what is no JPEG, PNG or BMP.
  """
  start = tf.strings.substr(
      tf.strings.substr(encoded, 0, _HEADER_BYTES) + '\0' * _HEADER_BYTES, 0,
      _HEADER_BYTES)
  header = tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int64)
  # All formats but JPEG have both sides at fixed places.
  weights = np.zeros([2 * len(_PLACES), _HEADER_BYTES], np.int64)
  for row, places in enumerate(
      places for sides in _PLACES.values() for places in sides):
    weights[row, list(places)] = [256**power for power in range(len(places))]
  sides = tf.reshape(tf.reduce_sum(header * weights, axis=1), [-1, 2])
  # A BMP's height is negative where its rows go from top to bottom. No decoder
  # takes a PNG of more than 2^31 pixels a side.
  sides = tf.minimum(sides, 2**32 - sides)
  matches = [
      tf.reduce_all(tf.equal(header[:len(signature)], list(signature)))
      for signature in _PLACES
  ]
  others = tf.reduce_sum(
      tf.reduce_prod(sides, axis=1) * tf.cast(tf.stack(matches), tf.int64))

  def jpeg():
    shape = tf.image.extract_jpeg_shape(encoded)
    return tf.reduce_prod(tf.cast(shape[:2], tf.int64))

  return tf.cond(
      tf.reduce_all(tf.equal(header[:len(_JPEG)], list(_JPEG))), jpeg,
      lambda: others)
