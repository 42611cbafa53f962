"""SIGTERM and SIGINT: how a batch system, `docker stop` or Ctrl-C asks a program to end."""

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
    signal.signal(signal.SIGTERM, _raise)


def raise_for(number: int) -> None:
    """Raises what a signal means by its number: `Terminated`, or KeyboardInterrupt for SIGINT."""
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _raise(number: int, frame: Any) -> None:
    raise_for(number)


@contextmanager
def first_signal_calls(ask: Callable[[int], bool]) -> Iterator[None]:
    """Has the first SIGTERM or SIGINT within the block call `ask` with its number.

    A second one, of either kind, does what it did before the block; so does the first if `ask`
    returns False. Where Python does not allow it, outside the main thread, the block changes
    nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    # A shell script has jobs in the background ignore SIGINT: Ctrl-C is not meant for them.
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def once(number: int, frame: Any) -> None:
        restore()
        if not ask(number):
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, once)
    try:
        yield
    finally:
        restore()


@contextmanager
def at_once() -> Iterator[None]:
    """Has SIGTERM and SIGINT end the process within the block, for a wait outside of Python.

    A handler in Python would be called after that only. What a shell reports is the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
