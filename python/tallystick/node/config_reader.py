"""Reading JSON configuration: every value is checked where it is read, every key must be read by somebody.

Errors are one line and start with the path of the key, such as ``network.rpc_interfaces.main.bind_address``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from tallystick.errors import UsageError

__all__ = ["ConfigError", "Section", "duration_us", "size_bytes"]

_SIZES: Final = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40, "pb": 1 << 50}
_TIMES: Final = {"": 1, "us": 1, "ms": 1000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000}
# Digits of a size or time: more than this many cannot be meant.
_MAX_DIGITS: Final = 18
# Half of what the data plane's 64-bit numbers hold, so that sums fit too; no disk and no memory is as large.
_MOST_BYTES: Final = 2**62
# A century: longer than any node runs, and short enough for every clock of the platform.
_MOST_MICROSECONDS: Final = 100 * 365 * 24 * 3_600_000_000
# What no name, path or address holds, and no file system, certificate or log takes: controls, half surrogate pairs.
_UNUSABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_QUANTITY: Final = re.compile(rf"\s*(\d{{1,{_MAX_DIGITS}}})\s*([A-Za-z]*)\s*", re.ASCII)


class ConfigError(UsageError):
    """The configuration says something that the node cannot do."""

    default_code = "config-invalid"


def _quantity(text: str, units: Mapping[str, int]) -> int | None:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    unit = units.get(match[2].lower())
    return None if unit is None else int(match[1]) * unit


def size_bytes(text: str) -> int | None:
    """Bytes in a size such as ``16KB`` (powers of 1024; a bare number counts bytes); None if it is no size."""
    return _quantity(text, _SIZES)


def duration_us(text: str) -> int | None:
    """Microseconds in a time such as ``100ms`` (a bare number counts microseconds); None if it is no time."""
    return _quantity(text, _TIMES)


class Section:
    """One JSON object of a configuration.

    Args:
        value: the decoded JSON.
        path: where it stands, such as ``ledger``; empty for the whole document.
        ignored: where paths of keys go that are there and mean nothing; shared with the objects inside.

    Raises:
        ConfigError: it is not an object.
    """

    def __init__(self, value: object, path: str = "", ignored: list[str] | None = None) -> None:
        self.path = path
        self.ignored = ignored if ignored is not None else []
        if not isinstance(value, dict):
            self._refuse(path, "an object", value)
        self._values: dict[str, Any] = value
        self._read: set[str] = set()

    @property
    def keys(self) -> list[str]:
        """Keys that are there, sorted."""
        return sorted(self._values)

    def names(self, what: str) -> list[str]:
        """Its keys where they are names that the configuration gives, sorted."""
        for name in self.keys:
            self._usable(f"name of {what} in {self.path}", name)
        return self.keys

    def key_path(self, key: str) -> str:
        """Path of one of its keys."""
        return f"{self.path}.{key}" if self.path else key

    def fail(self, key: str, problem: str) -> NoReturn:
        """Refuses the value of ``key``."""
        raise ConfigError(f"{self.key_path(key)}: {problem}")

    @staticmethod
    def _refuse(path: str, expected: str, got: object) -> NoReturn:
        shown = repr(got)
        if len(shown) > 60:
            shown = shown[:57] + "..."
        raise ConfigError(f"{path or 'configuration'}: expected {expected}, got {shown}")

    def has(self, key: str) -> bool:
        """Whether the key is there with another value than null; counts as read."""
        self._read.add(key)
        return self._values.get(key) is not None

    def raw(self, key: str) -> Any:
        """The value as it stands, None if it is missing."""
        self._read.add(key)
        return self._values.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """Text; required if there is no default."""
        value = self._value(key, default, "text")
        return self._usable(self.key_path(key), value)

    def _usable(self, path: str, value: object) -> str:
        if not isinstance(value, str):
            self._refuse(path, "text", value)
        if _UNUSABLE.search(value):
            self._refuse(path, "text without control characters", value)
        return value

    def path_text(self, key: str, default: str) -> str:
        """A path: text that is not empty."""
        value = self.text(key, default)
        if not value:
            self._refuse(self.key_path(key), "a path", value)
        return value

    def optional_text(self, key: str) -> str | None:
        """Text, or None for null, for empty text and where the key is missing."""
        return (self.text(key) or None) if self.has(key) else None

    def integer(self, key: str, default: int | None = None, *, least: int = 0, most: int = 2**62) -> int:
        """A whole number within bounds; required if there is no default."""
        expected = f"a whole number from {least}" + (f" to {most}" if most < 2**62 else " on")
        value = self._value(key, default, expected)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self._refuse(self.key_path(key), expected, value)
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._value(key, default, "true or false")
        if not isinstance(value, bool):
            self._refuse(self.key_path(key), "true or false", value)
        return value

    def size(self, key: str, default: str, *, least: int = 0, most: int = _MOST_BYTES) -> int:
        """Bytes, within bounds."""
        return self._measured(key, default, size_bytes, 'a size such as "16KB"', least, most)

    def duration(self, key: str, default: str) -> int:
        """Microseconds, a century at most."""
        return self._measured(key, default, duration_us, 'a time such as "100ms"', 0, _MOST_MICROSECONDS)

    def _measured(self, key: str, default: str, measure: Any, expected: str, least: int, most: int) -> int:
        value = self._value(key, default, expected)
        measured = measure(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
        if measured is None:
            self._refuse(self.key_path(key), expected, value)
        if not least <= measured <= most:
            unit = "bytes" if measure is size_bytes else "microseconds"
            bounds = f"{least} to {most}" if least else f"at most {most}"
            self._refuse(self.key_path(key), f"{bounds} {unit}", value)
        return int(measured)

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """One of a few words; required if there is no default."""
        expected = "one of " + ", ".join(choices)
        value = self._value(key, default, expected)
        if value not in choices:
            self._refuse(self.key_path(key), expected, value)
        return str(value)

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """An array of text."""
        value = self._value(key, None if required else [], "an array of text")
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._refuse(self.key_path(key), "an array of text", value)
        return tuple(self._usable(f"{self.key_path(key)}[{index}]", item) for index, item in enumerate(value))

    def section(self, key: str, *, required: bool = False) -> Section:
        """An object; an empty one where it may be missing and is."""
        value = self._value(key, None if required else {}, "an object")
        return Section(value, self.key_path(key), self.ignored)

    def sections(self, key: str, *, required: bool = False) -> Iterator[Section]:
        """An array of objects."""
        value = self._value(key, None if required else [], "an array of objects")
        if not isinstance(value, list):
            self._refuse(self.key_path(key), "an array of objects", value)
        for index, item in enumerate(value):
            yield Section(item, f"{self.key_path(key)}[{index}]", self.ignored)

    def ignore(self, *keys: str) -> None:
        """Keys that are allowed and mean nothing here."""
        self._read.update(keys)
        self.ignored += [self.key_path(key) for key in keys if self._values.get(key) is not None]

    def finish(self) -> None:
        """Refuses keys that nobody read."""
        unknown = sorted(set(self._values) - self._read)
        if unknown:
            known = ", ".join(sorted(self._read))
            raise ConfigError(f"{self.key_path(unknown[0])}: unknown key", hint=f"known keys here: {known}")

    def _value(self, key: str, default: object, expected: str) -> Any:
        self._read.add(key)
        value = self._values.get(key)
        if value is None:
            if default is None:
                raise ConfigError(f"{self.key_path(key)}: missing, expected {expected}")
            return default
        return value
