"""JSON from outside, and what errors say of it."""

from __future__ import annotations

import json
from typing import Any

MAX_CONFIG_BYTES = 64 << 20
"""The architecture as JSON; EfficientNetV2L's has 3 MB."""

_LONGEST_LINE = 300


def parse_json(text: str | bytes) -> Any:
    """Reads JSON.

    Raises:
        ValueError: it is none, or larger or deeper than an architecture ever is.
    """
    if len(text) > MAX_CONFIG_BYTES:
        raise ValueError(f"it has {len(text):,} characters, at most {MAX_CONFIG_BYTES:,}")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("lists within lists without end") from None


def one_line(error: Exception) -> str:
    """What an exception says, without the advice and the whole config that Keras adds."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    line = line.split(" Full object config")[0]
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
