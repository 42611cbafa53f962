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
"""Checks how records lie in a TFRecord file, before TensorFlow reads it.

A record is an 8-byte little-endian length, the masked CRC32C of these 8 bytes,
the data, and the masked CRC32C of the data. TensorFlow's reader allocates what
a length says before it looks for the data: of a length of a terabyte with the
right checksum the process dies with a segmentation fault (TensorFlow 2.21).

Only the headers are read, 12 bytes of each record; the checksum of the data is
left to TensorFlow's reader, which says where it is wrong.
"""
import collections
import enum
import functools
import os
import stat
import struct
import time

MAX_RECORD_BYTES = 2**31 - 1
"""Longer than this no serialized proto can be, and so no tf.train.Example."""

_HEADER = struct.Struct('<QI')
_FOOTER_BYTES = 4
_MOST_KEPT = 4096
_SETTLED_AFTER_NS = 2 * 10**9
_kept = {}
_GZIP, _ZLIB = b'\x1f\x8b', (b'\x78\x01', b'\x78\x5e', b'\x78\x9c', b'\x78\xda')


class Fault(enum.Enum):
  """What can be wrong with a file of records."""
  UNREADABLE = 'cannot be read'
  NOT_A_FILE = 'is no regular file'
  NOT_RECORDS = 'is not a TFRecord file'
  COMPRESSED = 'is compressed, and is read as if it were not'
  TRUNCATED = 'is truncated'
  DAMAGED = 'is damaged'


class FramingError(ValueError):
  """A file whose records cannot be told apart.

  Attributes:
    path: The file.
    fault: A Fault.
    record: The number of the record that is at fault, from 1; None for a fault
      of the whole file.
    detail: What is wrong there, in a sentence without its subject; or ''.
  """

  def __init__(self, path, fault, record=None, detail=''):
    self.path, self.fault, self.record, self.detail = (
        path, fault, record, detail)
    super().__init__(
        '{!r} {}{}{}'.format(path, fault.value,
                             ' in record {}'.format(record) if record else '',
                             ': ' + detail if detail else ''))


Framing = collections.namedtuple('Framing', ['records', 'error'])
Framing.__doc__ = """What a file's headers say.

Attributes:
  records: The number of records that are whole, before the first fault.
  error: A FramingError, or None.
"""


def is_local(path):
  """Returns whether the operating system opens a path, and not a URL's server."""
  return '://' not in path or path.startswith('file://')


def scan(path):
  """Follows the headers of a file of this machine.

  The result is kept for as long as size and times of the file stay the same:
  one command asks for it several times.

  Args:
    path: A path, not the URL of another machine.

  Returns:
    A Framing. A file without a byte has no record and no fault.
  """
  path = path[len('file://'):] if path.startswith('file://') else path
  try:
    # Without O_NONBLOCK opening a FIFO waits for somebody to write to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0))
  except OSError as error:
    return Framing(
        0, FramingError(path, Fault.UNREADABLE, None, error.strerror))
  try:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
      return Framing(0, FramingError(path, Fault.NOT_A_FILE))
    key = (path, status.st_dev, status.st_ino, status.st_size,
           status.st_mtime_ns, status.st_ctime_ns)
    if key not in _kept:
      framing = scan_stream(
          path, status.st_size,
          lambda position, count: os.pread(descriptor, count, position))
      # A change within the clock's next tick would leave the times as they are.
      if time.time_ns() - status.st_mtime_ns < _SETTLED_AFTER_NS:
        return framing
      if len(_kept) >= _MOST_KEPT:
        _kept.clear()
      _kept[key] = framing
    return _kept[key]
  finally:
    os.close(descriptor)


def scan_stream(path, size, read_at):
  """As `scan`, for a file that is read in another way.

  Args:
    path: For messages.
    size: Number of bytes.
    read_at: Function from a position and a number of bytes to bytes, fewer
      where the file ends.

  Returns:
    A Framing.
  """
  position = records = 0
  while position < size:
    def fault(kind, detail='', record=records + 1):
      return Framing(records, FramingError(path, kind, record, detail))

    header = read_at(position, _HEADER.size)
    if len(header) < _HEADER.size:
      return fault(Fault.TRUNCATED, 'the file ends within its length')
    length, checksum = _HEADER.unpack(header)
    if checksum != masked_crc32c(header[:8]):
      if records:
        return fault(Fault.DAMAGED, 'the checksum of its length is wrong')
      compressed = header[:2] == _GZIP or header[:2] in _ZLIB
      return fault(
          Fault.COMPRESSED if compressed else Fault.NOT_RECORDS, record=None)
    left = size - position - _HEADER.size - _FOOTER_BYTES
    if length > left:
      return fault(
          Fault.TRUNCATED, 'its length is {:,} bytes, and {:,} are left'.format(
              length, max(left, 0)))
    if length > MAX_RECORD_BYTES:
      return fault(
          Fault.DAMAGED, 'its length is {:,} bytes, and no record is longer '
          'than {:,}'.format(length, MAX_RECORD_BYTES))
    position += _HEADER.size + length + _FOOTER_BYTES
    records += 1
  return Framing(records, None)


def check(paths):
  """Raises FramingError at the first file with a fault; URLs are left out."""
  for path in paths:
    error = scan(path).error if is_local(path) else None
    if error is not None:
      raise error.with_traceback(None)  # It may have been raised before.


def masked_crc32c(data):
  """Returns the checksum of bytes as it stands in a TFRecord file.

  Meant for a few bytes: Python takes a tenth of a microsecond for each.

  Args:
    data: Bytes.

  Returns:
    An integer of 32 bits.
  """
  table, crc = _crc32c_table(), 0xFFFFFFFF
  for byte in data:
    crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.lru_cache(None)
def _crc32c_table():
  """The remainders of all bytes by Castagnoli's polynomial, bits reversed."""
  table = []
  for value in range(256):
    for _ in range(8):
      value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    table.append(value)
  return tuple(table)
