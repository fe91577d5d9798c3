"""Log lines on standard output, in the two layouts that CCF's operators and test programs read.

Text: time, thread, a preamble of fixed width with level, tag and place, then the message. JSON: one object a
line, every value text (``include/ccf/ds/logger.h``).

Messages repeat what clients sent. In text a line of the log is what begins in the first column, so further lines of
a message are indented and control characters are spelled out: nobody forges a line or steers a terminal.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from enum import IntEnum
from pathlib import Path
from typing import Final, TextIO

from tallystick.printable import printable

__all__ = ["Level", "Log"]

# Width of the part of a text line that holds level, tag and place, before the bar.
_PREAMBLE: Final = 45

# What the further lines of a message begin with.
_CONTINUED: Final = "\n        "


class Level(IntEnum):
    """How much a line matters. The names are CCF's."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    FAIL = 3
    FATAL = 4


class Log:
    """Writes lines; safe to call from any thread.

    Args:
        level: lines below it are not written.
        as_json: JSON lines instead of text.
        stream: where lines go; standard output if not given.
    """

    def __init__(self, level: Level = Level.INFO, *, as_json: bool = False, stream: TextIO | None = None) -> None:
        self.level = level
        self.as_json = as_json
        self._stream: TextIO | None = stream if stream is not None else sys.stdout
        # Reentrant, because signal handlers log too, on a thread that may be in here already.
        self._lock = threading.RLock()
        self._threads: dict[int, int] = {}

    def trace(self, message: str, tag: str = "") -> None:
        """What only somebody who follows every step wants to read."""
        self.write(Level.TRACE, message, tag, depth=2)

    def debug(self, message: str, tag: str = "") -> None:
        """What helps to find a mistake."""
        self.write(Level.DEBUG, message, tag, depth=2)

    def info(self, message: str, tag: str = "") -> None:
        """What an operator wants to know."""
        self.write(Level.INFO, message, tag, depth=2)

    def fail(self, message: str, tag: str = "") -> None:
        """Something did not succeed; the node goes on."""
        self.write(Level.FAIL, message, tag, depth=2)

    def fatal(self, message: str, tag: str = "") -> None:
        """Something is so wrong that somebody must look."""
        self.write(Level.FATAL, message, tag, depth=2)

    def write(self, level: Level, message: str, tag: str = "", *, place: str | None = None, depth: int = 1) -> None:
        """Writes one line.

        Args:
            level: how much it matters.
            message: text, of one line or more.
            tag: who speaks: ``app``, ``gov``, ``rollback`` or nothing.
            place: ``file:line``; that of the caller if not given.
            depth: how many frames up the caller is.
        """
        if level < self.level:
            return
        if place is None:
            # Walking one frame is what logging itself does; it is the only way to know where a line comes from.
            frame = sys._getframe(depth)
            place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        now = time.time_ns()
        seconds, micros = divmod(now // 1000, 1_000_000)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micros:06d}Z"
        thread = self._thread()
        line = (
            self._json_line(moment, thread, level, tag, place, message)
            if self.as_json
            else self._text_line(moment, thread, level, tag, place, message)
        )
        with self._lock:
            if self._stream is None:
                return
            try:
                self._put(self._stream, line + "\n")
            except (OSError, ValueError):
                # Nobody reads the log any more. A node does not stop for that, and has nowhere else to say so.
                self._stream = None

    @staticmethod
    def _put(stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            # Half a surrogate pair, or a character that the encoding of standard output lacks. In JSON it stays
            # readable: the escape is JSON's own.
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()

    def target(self) -> tuple[int, int, bool] | None:
        """Where native code writes lines of its own: file descriptor, least level, and whether as JSON.

        None if lines do not go to a file.
        """
        stream = self._stream
        if stream is None:
            return None
        try:
            return stream.fileno(), int(self.level), self.as_json
        except (OSError, ValueError):
            return None

    def _thread(self) -> int:
        identifier = threading.get_ident()
        with self._lock:
            return self._threads.setdefault(identifier, len(self._threads))

    @staticmethod
    def _text_line(moment: str, thread: int, level: Level, tag: str, place: str, message: str) -> str:
        preamble = f"[{level.name.lower():<5}]" + (f"[{tag}]" if tag else "")
        room = _PREAMBLE - len(preamble) - 1
        if len(place) > room:
            place = "…" + place[-(room - 1) :]
        shown = printable(message, lines=True).replace("\n", _CONTINUED)
        return f"{moment}        {thread:<3} {preamble + ' ' + place:<{_PREAMBLE}}| {shown}"

    @staticmethod
    def _json_line(moment: str, thread: int, level: Level, tag: str, place: str, message: str) -> str:
        file, _, number = place.rpartition(":")
        fields = {
            "h_ts": moment,
            "thread_id": str(thread),
            "level": level.name.lower(),
            "tag": tag,
            "file": file,
            "number": number,
            "msg": message,
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
