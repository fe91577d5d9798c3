"""Writes seeds for every fuzz target: real bytes in small pieces, so that fuzzing starts behind the first checks.

Usage: python rust/fuzz/seeds.py CORPUS [LEDGER_OR_RECEIPT]…

Without files of the caller's, a ledger of the demonstration is taken.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

from tallystick import _native
from tallystick.demo.identities import KeySource
from tallystick.demo.receipts import cose_receipt, json_receipt
from tallystick.demo.service import DemoService
from tallystick.demo.snapshots import take_snapshot
from tallystick.errors import TallystickError

# Mutations of larger inputs rarely meet anything new, and take longer.
MAX_SEED_BYTES = 16_384
MAX_SEEDS = 400
_SOURCE_DATE = datetime(2026, 1, 1, tzinfo=timezone.utc)

Seed = tuple[str, bytes]


def demonstration(directory: Path) -> Iterator[Seed]:
    """Seeds from services of every style, made for the purpose; their ledgers are left in ``directory``."""
    for style in ("1.x", "2.x", "4.x", "6.x", "7.x"):
        service = DemoService(
            directory / style, style, KeySource(_SOURCE_DATE, reuse_rsa=True), count(1_770_000_000).__next__
        )
        service.genesis()
        service.open()
        for number in range(5):
            service.append({"public:records": {b"key": b"%d" % number}, "records": {b"secret": b"value"}})
        service.sign(close_chunk=True)
        seqno = service.last_signed.seqno - 1
        if style != "7.x":
            # Its nodes no longer sign, so that it has none.
            yield "json_receipt", json_receipt(service, seqno)
        yield "public_key", service.service.key.spki
        if style in ("6.x", "7.x"):
            receipt = cose_receipt(service, seqno)
            yield "cose_receipt", receipt
            yield "cbor", receipt
            yield from inclusion_proofs(receipt)
            yield "snapshot", take_snapshot(service).entry
    key, full, shares = _native.split_shares(3, 2)
    for share in (full, *shares):
        yield "secrets", share.serialise()
        yield "secrets", share.serialise().hex().encode()
    yield "secrets", b"# comment\n7:" + bytes(key).hex().encode() + b"\n"


def of_entry(entry: _native.Entry) -> Iterator[Seed]:
    """Seeds from one transaction."""
    yield "entry", entry.raw
    yield "public_domain", entry.public_domain
    for name, rows in entry.tables().items():
        for value in filter(None, rows.values()):
            if name.endswith("internal.tree"):
                yield "compact_tree", value
            elif name.endswith("internal.signatures"):
                yield "signature_values", value
            elif name.endswith("cose_signatures"):
                yield "signature_values", value
                yield "signature_values", base64.b64decode(json.loads(value))
            elif value[:1] in b'{["':
                yield "json", value
            if "cose" in name:
                try:
                    yield "cose", base64.b64decode(json.loads(value), validate=True)
                except (ValueError, binascii.Error):
                    yield "cbor", value


def inclusion_proofs(data: bytes) -> Iterator[Seed]:
    """The proofs in a COSE receipt."""
    try:
        proofs = _native.CoseSign1.parse(data).unprotected_headers.get(396)
    except TallystickError:
        return  # nothing to take apart
    listed = proofs.get(-1) if isinstance(proofs, dict) else None
    yield from (("proof", proof) for proof in (listed if isinstance(listed, list) else []) if isinstance(proof, bytes))


def of_file(path: Path) -> Iterator[Seed]:
    """Seeds from a chunk file, a snapshot, or a receipt."""
    data = path.read_bytes()
    if path.name.startswith("ledger_"):
        yield "chunk", data
        try:
            for entry in _native.ChunkFile.open(str(path)).entries():
                yield from of_entry(entry)
        except TallystickError:
            return  # a broken chunk is a seed as it is
    elif path.name.startswith("snapshot_"):
        yield "snapshot", data
    elif path.suffix == ".json":
        yield "json", data
        yield "json_receipt", data
    elif path.suffix in (".cose", ".cbor"):
        yield "cose", data
        yield "cbor", data
        yield "cose_receipt", data
        yield from inclusion_proofs(data)
    elif path.suffix == ".pem":
        yield "secrets", data
        try:
            yield from (("public_key", each.spki) for each in _native.Certificate.parse_many(data))
        except TallystickError:
            return


def main(arguments: list[str]) -> int:
    """Writes the corpora."""
    corpus, *given = map(Path, arguments)
    written: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        made = list(demonstration(Path(scratch)))
        files = sorted(path for root in given or [Path(scratch)] for path in (root, *root.rglob("*")) if path.is_file())
        for target, data in (*made, *(seed for path in files for seed in of_file(path))):
            home = corpus / target
            home.mkdir(parents=True, exist_ok=True)
            seed = home / hashlib.sha256(data).hexdigest()[:32]
            if 0 < len(data) <= MAX_SEED_BYTES and written.get(target, 0) < MAX_SEEDS and not seed.exists():
                seed.write_bytes(data)
                written[target] = written.get(target, 0) + 1
    sys.stdout.write(", ".join(f"{target} {number}" for target, number in sorted(written.items())) + "\n")
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
