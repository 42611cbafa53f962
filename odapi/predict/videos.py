"""Video files: frames in and frames out, by OpenCV."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from odapi.console.errors import UserError
from odapi.console.terminal import is_unicode

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg")

AV_LOG_QUIET = "-8"
"""FFmpeg's level for no message at all (`libavutil/log.h`)."""

COUNTING = (".mp4", ".m4v", ".mov", ".avi")
"""Containers that say how many frames they hold."""

DEFAULT_RATE = 25.0
"""Frames per second of what is written, where a file does not tell its own: as in PAL video."""

MOST_RATE = 240.0
"""A higher rate is no camera's: it is the resolution of the file's clock."""


def is_video(path: Path) -> bool:
    """Whether a file is a video, by the suffix of its name."""
    return path.suffix.lower() in SUFFIXES


class Video:
    """The frames of a video file; a context that closes it.

    Attributes:
        frames: how many the file says it has; 0 where it does not say.
        rate: frames per second.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError where the file is no video that can be read."""
        import cv2

        if not path.is_file():  # OpenCV would wait for a pipe
            raise UserError("it is no regular file", at=str(path))
        _check_name(path)
        # What is wrong with a file is told once, by us: neither by OpenCV nor by its FFmpeg.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", AV_LOG_QUIET)
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise UserError("not a readable video", at=str(path))
        # Other containers do not count: OpenCV multiplies their length by a rate, which for a
        # recording of a browser is a thousand a second, of which few are there.
        counts = path.suffix.lower() in COUNTING
        self.frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))) if counts else 0
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= MOST_RATE else DEFAULT_RATE

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yields frames, uint8 [H, W, 3] RGB, and their times in seconds, one after the other."""
        import cv2

        while True:
            whole, image = self._capture.read()
            if not whole:
                return
            seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB), seconds

    def is_cut_off(self, read: int) -> bool:
        """Whether `read` frames are none, or fewer than the file has.

        A container that does not count its frames gives an estimate: a hundredth and one frame
        may be missing.
        """
        return not read or read < 0.99 * self.frames - 1

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *exception: object) -> None:
        self._capture.release()


def _check_name(path: Path) -> None:
    """Raises UserError for a path that OpenCV 5.0 ends the process at."""
    if not is_unicode(str(path)):
        raise UserError("its path is no Unicode text", at=str(path), hint="rename it")


@contextmanager
def writing(path: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives a function that appends a frame, uint8 [H, W, 3] RGB, to a new MP4 file.

    All frames are of one size. The file appears, whole, when the block ends well; without a
    frame there is none.

    Args:
        rate: frames per second.

    Raises:
        UserError: OpenCV cannot write such a video here.
    """
    import cv2

    _check_name(path)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    writer = None

    def write(frame: np.ndarray) -> None:
        nonlocal writer
        if writer is None:
            size = frame.shape[1], frame.shape[0]
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(str(partial), codec, rate, size)
            if not writer.isOpened():
                raise UserError("the video cannot be written", at=str(path))
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    try:
        yield write
        if writer is not None:
            writer.release()
            os.replace(partial, path)
    finally:
        if writer is not None:
            writer.release()
        partial.unlink(missing_ok=True)
