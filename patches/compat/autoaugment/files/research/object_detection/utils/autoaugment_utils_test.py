"""Tests for the geometric operations of autoaugment_utils."""
import numpy as np
import tensorflow.compat.v1 as tf

from object_detection.utils import autoaugment_utils
from object_detection.utils import test_case

_GRAY = [128, 128, 128]


class GeometryTest(test_case.TestCase):

  def setUp(self):
    super(GeometryTest, self).setUp()
    self._image = np.random.RandomState(0).randint(
        0, 127, size=(6, 6, 3)).astype(np.uint8)

  def _apply(self, operation, *args):
    def graph_fn():
      return operation(tf.constant(self._image), *args, replace=_GRAY)
    return self.execute_cpu(graph_fn, [])

  def test_rotate_quarter_turns(self):
    # np.rot90 turns counterclockwise, as the operation does its radians.
    self.assertAllEqual(
        self._apply(autoaugment_utils.rotate, 90.0), np.rot90(self._image))
    self.assertAllEqual(
        self._apply(autoaugment_utils.rotate, -90.0),
        np.rot90(self._image, -1))

  def test_translate_x_moves_left_and_fills(self):
    expected = np.full_like(self._image, 128)
    expected[:, :4] = self._image[:, 2:]
    self.assertAllEqual(
        self._apply(autoaugment_utils.translate_x, 2), expected)

  def test_translate_y_moves_down_for_negative_pixels(self):
    expected = np.full_like(self._image, 128)
    expected[1:] = self._image[:-1]
    self.assertAllEqual(
        self._apply(autoaugment_utils.translate_y, -1), expected)

  def test_shear_x_shifts_each_row_by_its_index(self):
    expected = np.full_like(self._image, 128)
    for row in range(6):
      expected[row, :6 - row] = self._image[row, row:]
    self.assertAllEqual(self._apply(autoaugment_utils.shear_x, 1.0), expected)

  def test_shear_y_shifts_each_column_by_its_index(self):
    expected = np.full_like(self._image, 128)
    for column in range(6):
      expected[:6 - column, column] = self._image[column:, column]
    self.assertAllEqual(self._apply(autoaugment_utils.shear_y, 1.0), expected)


if __name__ == '__main__':
  tf.test.main()
