"""What reading image files has in common, whoever reads them."""

from __future__ import annotations

from PIL import Image

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What PIL raises, by format and kind of damage, for a file that is no image it can decode."""
