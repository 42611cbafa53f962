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
"""What images go through before the first layer of a Keras classifier."""

import dataclasses
import re

import numpy as np
import tensorflow as tf

# ImageNet's means and deviations, RGB, of pixels in 0..1 and, as VGG-16's
# authors published them, in 0..255: tf.keras.applications.imagenet_utils.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)

# How much of red, green and blue is in grey: ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)

_APPLICATION_MODES = (
    (r'VGG\d+|ResNet\d+', 'caffe'),
    (r'ResNet\d+V2|Inception\w+|Xception|MobileNet(V2)?|NASNet\w+', 'tf'),
    (r'DenseNet\d+', 'torch'),
    # These have layers of their own for it.
    (r'EfficientNet\w+|MobileNetV3\w+|ConvNeXt\w+|RegNet\w+|ResNetRS\d+',
     'none'),
)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """What a classifier's images go through before its first layer.

  Attributes:
    mode: Its name: caffe, tf, torch or none as in tf.keras.applications, or
      custom.
    channels: rgb, bgr or gray; the order of what follows.
    scale: A factor for each channel.
    offset: What is then added to each channel.
  """
  mode: str
  channels: str
  scale: tuple
  offset: tuple

  def __post_init__(self):
    depth = {'rgb': 3, 'bgr': 3, 'gray': 1}.get(self.channels)
    if depth is None:
      raise ValueError('channels are rgb, bgr or gray, not %r.' % self.channels)
    if len(self.scale) != depth or len(self.offset) != depth:
      raise ValueError('%s takes %d factors and offsets, not %d and %d.' % (
          self.channels, depth, len(self.scale), len(self.offset)))
    if not all(np.isfinite([*self.scale, *self.offset])) or not all(self.scale):
      raise ValueError('factors and offsets are finite, and factors not 0.')

  def __call__(self, images):
    """Preprocesses images.

    Args:
      images: RGB in 0..255, float [..., 3].

    Returns:
      Float32 [..., 3], or [..., 1] where `channels` is gray.
    """
    images = tf.cast(images, tf.float32)
    if images.shape[-1] != 3:
      raise ValueError('Images have 3 channels, RGB, and not %s.' %
                       images.shape[-1])
    if self.channels == 'gray':
      images = tf.tensordot(images, tf.constant(_LUMA), 1)[..., tf.newaxis]
    elif self.channels == 'bgr':
      images = images[..., ::-1]
    return images * tf.constant(self.scale) + tf.constant(self.offset)


def of_mode(mode, gray=False):
  """Returns the `Preprocessing` of a mode of tf.keras.applications.

  Args:
    mode: caffe, tf, torch or none.
    gray: Whether images are reduced to one channel first.

  Raises:
    ValueError: If there is no such mode, or it needs colours.
  """
  if mode in ('caffe', 'torch') and gray:
    raise ValueError('Mode %s is for three channels.' % mode)
  depth, channels = (1, 'gray') if gray else (3, 'rgb')
  if mode == 'none':
    return Preprocessing(mode, channels, (1.0,) * depth, (0.0,) * depth)
  if mode == 'tf':
    return Preprocessing(mode, channels, (1 / 127.5,) * depth, (-1.0,) * depth)
  if mode == 'torch':
    return Preprocessing(
        mode, channels, tuple(1 / (255 * std) for std in _IMAGENET_STD),
        tuple(-m / s for m, s in zip(_IMAGENET_MEAN, _IMAGENET_STD)))
  if mode == 'caffe':
    return Preprocessing(mode, 'bgr', (1.0,) * 3,
                         tuple(-mean for mean in _IMAGENET_MEAN_BGR))
  raise ValueError('Modes are caffe, tf, torch and none, not %r.' % mode)


def of_application(name):
  """Returns the `Preprocessing` of a network of tf.keras.applications."""
  return of_mode(next(mode for pattern, mode in _APPLICATION_MODES
                            if re.fullmatch(pattern, name)))
