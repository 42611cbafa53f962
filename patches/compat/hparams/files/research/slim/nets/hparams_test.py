"""Tests for nets.hparams."""
import copy
import unittest

from nets import hparams


class HParamsTest(unittest.TestCase):

  def setUp(self):
    super(HParamsTest, self).setUp()
    self._hparams = hparams.HParams(rate=0.5, steps=3, on=True, name='a')

  def test_values(self):
    self.assertEqual(self._hparams.rate, 0.5)
    self.assertEqual(self._hparams.get('steps'), 3)
    self.assertIsNone(self._hparams.get('missing'))
    self.assertEqual(self._hparams.values(),
                     {'rate': 0.5, 'steps': 3, 'on': True, 'name': 'a'})

  def test_set_hparam_changes_one_copy(self):
    changed = copy.deepcopy(self._hparams)
    changed.set_hparam('steps', 4)
    self.assertEqual((self._hparams.steps, changed.steps), (3, 4))
    with self.assertRaises(KeyError):
      changed.set_hparam('step', 4)

  def test_parse_keeps_the_types(self):
    self.assertIs(
        self._hparams.parse('rate=1,steps=7,on=false, name = b'),
        self._hparams)
    self.assertEqual(self._hparams.values(),
                     {'rate': 1.0, 'steps': 7, 'on': False, 'name': 'b'})
    self.assertIsInstance(self._hparams.rate, float)

  def test_parse_refuses_what_it_cannot_convert(self):
    for text in ('steps', 'steps=many', 'on=maybe'):
      with self.assertRaises(ValueError):
        self._hparams.parse(text)
    with self.assertRaises(KeyError):
      self._hparams.parse('step=1')


if __name__ == '__main__':
  unittest.main()
