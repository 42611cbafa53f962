"""Record files, looked at before TensorFlow's reader, which crashes where a length lies.

`object_detection.utils.record_framing` follows the headers; here its findings become errors for
the user. Files of this machine and, through TensorFlow's file system, remote ones are counted in
the same way; a remote one is asked for 12 bytes of each record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from odapi.console.errors import UserError
from odapi.console.terminal import is_unicode


def scan(path: str) -> Any:
    """How the records of a file lie.

    Args:
        path: a path, or a URL that TensorFlow reads.

    Returns:
        A `record_framing.Framing`: the number of whole records before the first fault, and the
        `FramingError` or None.
    """
    from object_detection.utils import record_framing
    from object_detection.utils.record_framing import Fault, Framing, FramingError

    if not is_unicode(path):
        reason = "its path is no Unicode text, which TensorFlow needs"
        return Framing(0, FramingError(path, Fault.UNREADABLE, None, reason))
    return record_framing.scan(path) if record_framing.is_local(path) else _scan_remote(path)


def _scan_remote(path: str) -> Any:
    import tensorflow as tf
    from object_detection.utils.record_framing import Fault, Framing, FramingError, scan_stream

    try:
        with tf.io.gfile.GFile(path, "rb") as file:

            def read_at(position: int, count: int) -> bytes:
                file.seek(position)
                return file.read(count)

            return scan_stream(path, file.size(), read_at)
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0] if error.message else type(error).__name__
        return Framing(0, FramingError(path, Fault.UNREADABLE, None, reason))


def count_records(path: str) -> int:
    """The number of records in a TFRecord file, without reading their contents.

    Args:
        path: as of `scan`.

    Raises:
        UserError: it is no file, or no TFRecord file, or the lengths in it do not fit it.
    """
    framing = scan(path)
    if framing.error is not None:
        raise user_error(framing.error)
    return framing.records


def check(files: Iterable[str]) -> None:
    """Raises the UserError of `count_records` where a file cannot be given to TensorFlow."""
    for file in files:
        count_records(file)


def user_error(error: Any) -> UserError:
    """What to say of a `record_framing.FramingError`."""
    detail = f": {error.detail}" if error.detail else ""
    where = f"{error.path}: record {error.record}" if error.record else error.path
    return UserError(f"the record file {error.fault.value}{detail}", at=where, hint=hint(error))


def hint(error: Any) -> str:
    """What to do about a `record_framing.FramingError`."""
    from object_detection.utils.record_framing import Fault

    return {
        Fault.UNREADABLE: "name a file that can be read",
        Fault.NOT_A_FILE: "name a file: a pipe or a device cannot be read twice",
        Fault.NOT_RECORDS: "write it with tf.io.TFRecordWriter, without compression",
        Fault.COMPRESSED: "unpack it: training reads uncompressed files",
    }.get(error.fault, "write or copy the file again")
