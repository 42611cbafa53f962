"""What goes to the terminal: names from files are shown as text, whatever characters they hold.

A terminal obeys some characters instead of showing them: a class called `\\x1b[2J` clears the
screen, one with a carriage return writes over the line before, one with U+202E turns the rest of
its line around. `say` and `odapi.UserError` escape the texts of a line, newlines included.
`escaping` guards standard output and error as a whole, for what others print.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

MOST_CHARACTERS = 2000
"""A text of a line is shown up to here: longer than any path that people type."""

NAME_CHARACTERS = 80
"""A name in a table is shown up to here."""

_SPACING = "\n\t"
_OBEYED = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1 controls
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of writing
    "\u2028\u2029"  # line and paragraph separators
    "\ud800-\udfff"  # what UTF-8 cannot encode: undecodable bytes of file names, and JSON's
)
_ANY = re.compile(f"[{_OBEYED}]")
_ANY_BUT_SPACING = re.compile(f"(?![{_SPACING}])[{_OBEYED}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def _escape(match: re.Match[str]) -> str:
    # As JSON escapes them, so that JSON that is printed stays what it was.
    return _SHORT.get(match[0], f"\\u{ord(match[0]):04x}")


def is_obeyed(character: str) -> bool:
    """Whether a terminal does something at a character instead of showing it."""
    return _ANY.fullmatch(character) is not None


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold a text: not where it is a file name of bytes that are none."""
    return not any("\ud800" <= one <= "\udfff" for one in text)


def shown(text: object, most: int = MOST_CHARACTERS) -> str:
    """A text that came from outside, in one line: `\\n`, `\\u001b`, `\\u202e` for what is obeyed.

    Args:
        text: anything; `str` of it is shown.
        most: a longer one is cut, and its length told.
    """
    whole = str(text)
    if len(whole) > most:
        return f"{_ANY.sub(_escape, whole[:most])}... ({len(whole):,} characters)"
    return _ANY.sub(_escape, whole)


def shown_name(name: object) -> str:
    """A name for a table or a drawing: as `shown`, but of a line's width at most."""
    return shown(name, NAME_CHARACTERS)


def shown_lines(text: str) -> str:
    """A text of several lines, of our own or already escaped: newlines and tabs stay."""
    return _ANY_BUT_SPACING.sub(_escape, text)


def say(*lines: object, flush: bool = False) -> None:
    """Prints each argument as one line, whatever names are in it."""
    for line in lines or ("",):
        print(shown(line), flush=flush)


class EscapingStream:
    """A text stream that passes on all that a terminal shows, newlines and tabs, and no more."""

    def __init__(self, stream: TextIO) -> None:
        self.raw = stream

    def write(self, text: str) -> int:
        """As of the stream; what its encoding lacks is escaped as well."""
        escaped = shown_lines(text)
        try:
            self.raw.write(escaped)
        except UnicodeEncodeError as error:
            # LANG=C, or a pipe on Windows: better than a traceback for a class called "Möwe".
            self.raw.write(escaped.encode(error.encoding, "backslashreplace").decode())
        return len(text)

    def writelines(self, lines: Any) -> None:
        """As of the stream."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def raw(stream: Any) -> Any:
    """The stream behind `escaping`, for a progress bar, which moves the cursor on purpose."""
    return stream.raw if isinstance(stream, EscapingStream) else stream


@contextmanager
def escaping() -> Iterator[None]:
    """Has standard output and error escape within the block; once, if blocks are nested."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        stream if isinstance(stream, EscapingStream) else EscapingStream(stream)
        for stream in before
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def print_traceback(
    kind: type[BaseException], error: BaseException, where: TracebackType | None
) -> None:
    """For `sys.excepthook`: a bug's message may quote a file too."""
    raw(sys.stderr).write(shown_lines("".join(traceback.format_exception(kind, error, where))))
