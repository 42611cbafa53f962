"""Names that a terminal, a page or a file system would obey instead of showing or storing them."""

from __future__ import annotations

import re

HOSTILE = {
    "clears_the_screen": "cat\x1b[2J\x1b[1;31m",
    "sets_the_title": "cat\x1b]0;owned\x07",
    "overwrites_the_line": "cat\rnothing is wrong",
    "backspace": "cat\b\b\bdog",
    "nul": "cat\0dog",
    "csi_of_one_byte": "cat\x9b2J",
    "turns_the_line": "cat\u202egnp.exe",
    "isolates": "cat\u2066dog\u2069",
    "begins_a_line": "cat\nhint: odapi is broken, run something else",
    "separates_lines": "cat\u2028dog\u2029\x85",
    "no_unicode": "cat\udcff",
    "markup": "<script>alert('cat')</script>&\"",
    "long": "cat\x1b" + "y" * 5000,
}
"""What the name does to its string."""

OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What must not be in output; newlines and tabs are a matter of their places."""


def as_bytes(name: str) -> bytes:
    """The name as it stands in a record; what UTF-8 lacks is a byte that is no UTF-8."""
    return name.encode(errors="surrogateescape")
