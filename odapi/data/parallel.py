"""Encodes images in several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from odapi.console.errors import UserError
from odapi.data.annotations import LabelledImage
from odapi.data.examples import EncodedExample

IMAGES_PER_WORKER = 100
"""Starting a process takes as long as encoding about so many."""


def default_workers(images: int) -> int:
    """As many processes as there are processors, for enough images."""
    return min(_processors(), 1 + images // IMAGES_PER_WORKER)


def map_in_order(
    task: Any, images: Sequence[LabelledImage], workers: int
) -> Iterator[EncodedExample]:
    """What `task` makes of the images, in their order, with few results waiting in memory.

    Raises:
        UserError: a worker process died.
    """
    if workers == 1:
        yield from map(task, images)
        return
    # A forked child of a process that has TensorFlow's threads may hang; a fresh one does not.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    try:
        waiting: deque = deque()
        for image in images:
            waiting.append(pool.submit(task, image))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process died, perhaps for lack of memory",
            at=f"--workers {workers}",
            hint="try --workers 1",
            exit_code=1,
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C goes to all processes of the terminal; the parent is the one to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
