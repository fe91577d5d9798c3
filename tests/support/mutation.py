"""Opens a copy of a ledger directory, real or forged, and changes bytes, entries, tables and files of it.

What is changed is written back the way CCF lays it out (offset tables follow) unless the change is about the
layout itself. Signatures are only made again where a caller passes a :class:`LedgerForge` with keys.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support import slow
from support.slow import SlowEntry, Tables

TREE = "public:ccf.internal.tree"
SIGNATURES = "public:ccf.internal.signatures"
COSE_SIGNATURES = "public:ccf.internal.cose_signatures"


@dataclass(frozen=True)
class Place:
    """Where an entry stands."""

    path: Path
    position: int
    entry: SlowEntry

    @property
    def txid(self) -> str:
        return f"{self.entry.view}.{self.entry.seqno}"


def is_signature(entry: SlowEntry) -> bool:
    return TREE in entry.tables


def reassemble(entry: SlowEntry, **changes: object) -> bytes:
    """The entry again with some of its parts changed; the tag is kept, though it no longer holds."""
    values: dict[str, object] = {
        "view": entry.view,
        "seqno": entry.seqno,
        "public": entry.public_domain,
        "private": entry.private_domain,
        "flags": entry.flags,
        "version": entry.raw[0],
        "tag": entry.raw[8:24],
        **changes,
    }
    body = b"".join(
        [
            values["tag"],
            struct.pack("<QI", values["seqno"], values["view"]),
            struct.pack("<Q", len(values["public"])),
            values["public"],
            values["private"],
        ]
    )
    return bytes([values["version"], values["flags"]]) + len(body).to_bytes(6, "little") + body


def encode_domain(entry: SlowEntry, tables: Tables, **changes: object) -> bytes:
    """The public domain of an entry with other tables."""
    values: dict[str, object] = {
        "entry_type": entry.entry_type,
        "claims_digest": entry.claims_digest or slow.ZERO,
        "commit_evidence_digest": entry.commit_evidence_digest or slow.ZERO,
        "max_conflict_version": entry.max_conflict_version,
        "seqno": entry.seqno,
        **changes,
    }
    seqno = values.pop("seqno")
    return slow.encode_public_domain(seqno, tables, **values)


class LedgerCopy:
    """A ledger directory that may be spoilt.

    Args:
        source: directory to copy.
        target: where to; made here.
    """

    def __init__(self, source: Path, target: Path) -> None:
        shutil.copytree(source, target)
        self.directory = target

    # ------------------------------------------------------------ looking

    @property
    def chunks(self) -> list[Path]:
        return slow.chunk_paths(self.directory)

    def entries(self, path: Path) -> list[SlowEntry]:
        return list(slow.read_chunk(path))

    def places(self) -> list[Place]:
        return [Place(p, i, e) for p in self.chunks for i, e in enumerate(slow.read_chunk(p))]

    def place(self, seqno: int) -> Place:
        return next(place for place in self.places() if place.entry.seqno == seqno)

    def find(self, wanted: Callable[[SlowEntry], bool], *, last: bool = False) -> Place:
        found = [place for place in self.places() if wanted(place.entry)]
        return found[-1 if last else 0]

    @property
    def last_signature(self) -> Place:
        return self.find(is_signature, last=True)

    @property
    def genesis_chunk(self) -> Path:
        return self.chunks[0]

    @property
    def middle_chunk(self) -> Path:
        return self.chunks[1]

    @property
    def last_committed(self) -> Path:
        return [p for p in self.chunks if p.name.endswith(".committed")][-1]

    @property
    def open_chunk(self) -> Path:
        return self.chunks[-1]

    # ------------------------------------------------------------ changing

    def flip(self, path: Path, offset: int, mask: int = 1) -> None:
        """Flips bits of one byte of a file."""
        data = bytearray(path.read_bytes())
        data[offset] ^= mask
        path.write_bytes(data)

    def flip_in(self, place: Place, needle: bytes) -> int:
        """Flips one bit of the first byte of ``needle`` inside an entry; returns the offset in the file."""
        offset = place.entry.offset + place.entry.raw.index(needle)
        self.flip(place.path, offset)
        return offset

    def write(self, path: Path, entries: list[bytes], *, complete: bool | None = None) -> None:
        """Writes a chunk with these entries; as it was, complete or open, unless said otherwise."""
        if complete is None:
            complete = path.exists() and path.read_bytes()[:8] != bytes(8)
        path.write_bytes(slow.encode_chunk(entries, complete=complete))

    def replace(self, seqno: int, raw: bytes) -> None:
        """Puts another entry in the place of one; offset tables follow."""
        place = self.place(seqno)
        entries = [e.raw for e in self.entries(place.path)]
        entries[place.position] = raw
        self.write(place.path, entries)

    def append(self, entries: list[bytes]) -> None:
        """Appends entries to the last file, which is open."""
        with self.open_chunk.open("ab") as file:
            file.write(b"".join(entries))
