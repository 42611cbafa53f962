"""SIGTERM: how `docker stop`, a batch system or a machine that goes down asks a program to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODE = 128 + signal.SIGTERM
"""What a shell reports of a program that SIGTERM ended."""


class Terminated(BaseException):
    """SIGTERM arrived. As with KeyboardInterrupt, no `except Exception` may hold it up."""


def raise_on_sigterm() -> None:
    """Makes SIGTERM raise `Terminated` in the main thread.

    By default it would end the process without clean-up; and process 1 of a container has no such
    default: there it would be ignored.
    """

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)


@contextmanager
def first_sigterm_calls(ask: Callable[[], bool]) -> Iterator[None]:
    """Has the first SIGTERM within the block call `ask`.

    A second one does what SIGTERM did before the block; so does the first if `ask` returns False.
    Where Python does not allow it, outside the main thread, the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def once(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, before)
        if not ask():
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
