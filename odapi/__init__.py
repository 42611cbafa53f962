"""The `odapi` command: convert, train, evaluate, export and predict with detection models.

Everything here stands on the patched `object_detection` package and is never imported by it.
"""

from odapi import convert
from odapi.console.errors import UserError

__all__ = ["UserError", "convert"]
