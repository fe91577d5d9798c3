"""Tables of the key-value store: their names, and how to show what they hold."""

from __future__ import annotations

from tallystick.tables import names
from tallystick.tables.decode import Decoded, decode_key, decode_value, parse_key

__all__ = ["Decoded", "decode_key", "decode_value", "names", "parse_key"]
