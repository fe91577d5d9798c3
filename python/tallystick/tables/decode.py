"""Shows keys and values of tables: JSON, CBOR, text, numbers, else hex.

For the tables that CCF writes (:data:`tallystick.tables.names.CATALOGUE`) it is known what keys and values
are made of; if the bytes do not fit, and for all other tables, the content decides. The order is the same
for all values: JSON object, array, string or literal; CBOR map, array or tag; text; hex.

Decoding is for reading. It is total (any bytes have a form), and it is not always one to one: a JSON
document with repeated names, for example, is shown as text, because a parsed form would hide one of them.

Example:
    >>> decode_value("public:ccf.gov.service.info", b'{"status":"Open"}').to_json()
    {'json': {'status': 'Open'}}
    >>> decode_key("public:ccf.gov.service.info", bytes(8)).to_json()
    {'u64': 0}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from tallystick import _native
from tallystick.errors import FormatError, LimitExceededError, UsageError
from tallystick.printable import is_printable
from tallystick.tables.names import CATALOGUE, KeyKind, ValueKind

__all__ = ["Decoded", "decode_key", "decode_value", "parse_key"]

# Deeper JSON or CBOR is shown as text or hex: printing it recurses, and no record of CCF comes near.
MAX_DEPTH = 64

# Values up to this size are tried as CBOR and JSON; larger ones are rare, and not for reading.
MAX_STRUCTURED_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Decoded:
    """A key or a value in a form for reading.

    Attributes:
        kind: ``u64``, ``text``, ``json``, ``cbor`` or ``hex``.
        value: int, str, a JSON value, a CBOR value, or hex text.
        data: the bytes themselves.
    """

    kind: str
    value: Any
    data: bytes

    def to_json(self) -> dict[str, object]:
        """``{kind: value}``, for JSON output; CBOR in a form that JSON has."""
        if self.kind == "cbor":
            return {"cbor": _cbor_to_json(self.value), "hex": self.data.hex()}
        return {self.kind: self.value}

    def key_json(self) -> str | dict[str, object]:
        """As :meth:`to_json`, for keys: printable text stands for itself."""
        return str(self.value) if self.kind == "text" else self.to_json()

    def text(self) -> str:
        """One or more lines for people, not yet escaped: pass them through ``printable``."""
        if self.kind == "json":
            # Source code and PEM inside a JSON string (the constitution, for one) read better as lines.
            if isinstance(self.value, str) and "\n" in self.value:
                return self.value
            return json.dumps(self.value, indent=2, ensure_ascii=False)
        if self.kind == "cbor":
            return json.dumps(_cbor_to_json(self.value), indent=2, ensure_ascii=False)
        if self.kind == "hex":
            return f"0x{self.value}" if self.value else "(empty)"
        return str(self.value)

    def line(self) -> str:
        """One line for people, not yet escaped."""
        if self.kind in ("json", "cbor"):
            value = self.value if self.kind == "json" else _cbor_to_json(self.value)
            return json.dumps(value, separators=(", ", ": "), ensure_ascii=False)
        return self.text()


def decode_key(table: str, key: bytes) -> Decoded:
    """A key of ``table``: a number where the table has numbers, text if it is printable UTF-8, else hex."""
    info = CATALOGUE.get(table)
    if info is not None and info.keys is KeyKind.U64 and len(key) == 8:
        return Decoded("u64", int.from_bytes(key, "little"), key)
    text = _as_text(key, lines=False)
    if text:
        return Decoded("text", text, key)
    if len(key) == 8 and info is None:
        # Eight bytes that are not text: what CCF's typed maps make of a number.
        return Decoded("u64", int.from_bytes(key, "little"), key)
    return Decoded("hex", key.hex(), key)


def decode_value(table: str, value: bytes) -> Decoded:
    """A value of ``table``."""
    info = CATALOGUE.get(table)
    kinds: tuple[ValueKind | None, ...] = (None,)
    if info is not None:
        if info.values is ValueKind.RAW:
            return Decoded("hex", value.hex(), value)
        kinds = (info.values, None)
    for kind in kinds:
        decoded = _by_kind(kind, value)
        if decoded is not None:
            return decoded
    return Decoded("hex", value.hex(), value)


def _by_kind(kind: ValueKind | None, value: bytes) -> Decoded | None:
    if kind is ValueKind.TEXT:
        text = _as_text(value, lines=True)
        return None if text is None else Decoded("text", text, value)
    if kind is ValueKind.JSON:
        return _as_json(value)
    # Content decides. A bare number is more often text than JSON, and one byte of CBOR can be anything.
    if value[:1] in (b"{", b"[", b'"') or value in (b"true", b"false", b"null"):
        decoded = _as_json(value)
        if decoded is not None:
            return decoded
    text = _as_text(value, lines=True)
    if text is not None:
        return Decoded("text", text, value)
    return _as_cbor(value)


def _as_text(data: bytes, *, lines: bool) -> str | None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    # Carriage returns before line feeds are a matter of taste; elsewhere they overwrite a line.
    shown = text.replace("\r\n", "\n") if lines else text
    return text if is_printable(shown, lines=lines) else None


# ------------------------------------------------------------------------------------------------- JSON


class _NotShownAsJsonError(ValueError):
    pass


def _unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _NotShownAsJsonError("repeated name")
    return value


def _no_constant(name: str) -> NoReturn:
    raise _NotShownAsJsonError(f"{name} is not JSON")


def _as_json(data: bytes) -> Decoded | None:
    if len(data) > MAX_STRUCTURED_BYTES:
        return None
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique_names, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return Decoded("json", value, data) if _depth_fits(value) else None


def _depth_fits(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, _native.CborTag):
        return [value.value]
    return []


# ------------------------------------------------------------------------------------------------- CBOR


def _as_cbor(data: bytes) -> Decoded | None:
    # Major types 4 to 6 only: a lone number or byte string in CBOR cannot be told from arbitrary bytes.
    if len(data) < 2 or len(data) > MAX_STRUCTURED_BYTES or not 0x80 <= data[0] < 0xE0:
        return None
    try:
        value = _native.cbor_decode(data)
    except (FormatError, LimitExceededError):
        return None
    return Decoded("cbor", value, data) if _depth_fits(value) else None


def _cbor_to_json(value: object) -> object:
    """Byte strings as ``{"hex": …}``, tags as ``{"tag": n, "value": …}``, names of maps as text."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, _native.CborTag):
        return {"tag": value.tag, "value": _cbor_to_json(value.value)}
    if isinstance(value, dict):
        return {_cbor_name(name): _cbor_to_json(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_cbor_to_json(child) for child in value]
    return value


def _cbor_name(name: object) -> str:
    return name if isinstance(name, str) else json.dumps(_cbor_to_json(name))


# ------------------------------------------------------------------------------------------------- keys


def parse_key(text: str) -> frozenset[bytes]:
    """The keys that somebody may mean by ``text``.

    ``hex:…`` or ``0x…`` are bytes in hex, ``u64:…`` a number as CCF's typed maps write it (8 bytes,
    little-endian), ``text:…`` the UTF-8 of what follows. Without a prefix ``text`` is taken as text and,
    if it is a decimal number, as that number too.

    Raises:
        UsageError: malformed hex, or a number out of range.
    """
    for prefix, digits in (("hex:", text[4:]), ("0x", text[2:])):
        if text.startswith(prefix):
            try:
                return frozenset({bytes.fromhex(digits)})
            except ValueError:
                raise UsageError(f"key {text!r} is not hex", code="key-malformed") from None
    if text.startswith("text:"):
        return frozenset({_utf8(text[5:])})
    if text.startswith("u64:"):
        number = _u64(text[4:])
        if number is None:
            raise UsageError(f"key {text!r} is not an unsigned 64-bit number", code="key-malformed")
        return frozenset({number})
    keys = {_utf8(text)}
    number = _u64(text)
    if number is not None:
        keys.add(number)
    return frozenset(keys)


def _utf8(text: str) -> bytes:
    # Arguments that were not UTF-8 arrive as surrogates: take their bytes back.
    return text.encode("utf-8", "surrogateescape")


def _u64(text: str) -> bytes | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        return None
    number = int(text)
    return number.to_bytes(8, "little") if number < 1 << 64 else None
