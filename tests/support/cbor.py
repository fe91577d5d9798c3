"""Writes CBOR that no decent encoder would: maps as lists of pairs, so that keys may repeat."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Pairs:
    """A map given as its pairs, in order, repeats and all."""

    pairs: list[tuple[object, object]]


@dataclass(frozen=True)
class Tagged:
    tag: int
    value: object


@dataclass(frozen=True)
class Raw:
    """Bytes to put in as they are."""

    data: bytes


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for code, limit, form in (
        (24, 1 << 8, ">B"),
        (25, 1 << 16, ">H"),
        (26, 1 << 32, ">I"),
        (27, 1 << 64, ">Q"),
    ):
        if number < limit:
            return bytes([major << 5 | code]) + struct.pack(form, number)
    raise ValueError("too large")


def encode(value: object) -> bytes:
    """Encodes ``value``, shortest heads, definite lengths."""
    match value:
        case Raw(data):
            return data
        case None:
            return b"\xf6"
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case list() | tuple():
            return _head(4, len(value)) + b"".join(encode(item) for item in value)
        case dict():
            return encode(Pairs(list(value.items())))
        case Pairs(pairs):
            return _head(5, len(pairs)) + b"".join(encode(key) + encode(item) for key, item in pairs)
        case Tagged(tag, item):
            return _head(6, tag) + encode(item)
    raise TypeError(type(value).__name__)
