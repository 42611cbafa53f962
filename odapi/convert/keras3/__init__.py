"""What Keras 3 saved, made anew of Keras 2's layers, and compared with the original."""

from odapi.convert.keras3.loading import load
from odapi.convert.keras3.translation import translate

__all__ = ["load", "translate"]
