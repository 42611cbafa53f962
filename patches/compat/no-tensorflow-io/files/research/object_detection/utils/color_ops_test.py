"""Tests for object_detection.utils.color_ops."""

import numpy as np
import tensorflow.compat.v1 as tf

from object_detection.utils import color_ops
from object_detection.utils import test_case


class ColorOpsTest(test_case.TestCase):

  def test_rgb_to_lab_of_known_colors(self):
    # The L*a*b* coordinates of the sRGB primaries, as colour tables give them.
    colors = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
                      dtype=np.float32)
    expected = [[0, 0, 0], [100, 0, 0], [53.24, 80.09, 67.20],
                [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]]

    def graph_fn(image):
      return color_ops.rgb_to_lab(image)

    lab = self.execute(graph_fn, [colors[np.newaxis]])
    self.assertAllClose(lab[0], expected, atol=0.05)


if __name__ == '__main__':
  tf.test.main()
