"""Snapshots that a service vouches for although they are not what its ledger says."""

from __future__ import annotations

import hashlib
from pathlib import Path

from support.services import write_some
from tallystick._native import encode_snapshot
from tallystick.demo.ledger import SINGLETON_KEY, TableState, json_bytes
from tallystick.demo.receipts import json_receipt
from tallystick.demo.service import DemoService


def forged_snapshot(
    service: DemoService,
    directory: Path,
    *,
    seqno_shift: int = 0,
    hash_at_snapshot: bytes | None = None,
    evidence_hash: str | None = None,
    extra_row: bool = False,
) -> Path:
    """Writes genesis and opening, a snapshot that is false in one respect, its evidence and a receipt."""
    service.genesis()
    service.open()
    write_some(service)
    service.sign()
    seqno = service.seqno + seqno_shift
    state = dict(service.state)
    if extra_row:
        state["public:added"] = TableState(seqno, {b"row": (seqno, b"nobody wrote this")})
    tables: list[dict[str, tuple[int, dict[bytes, tuple[int, bytes]]]]] = [{}, {}]
    for name, table in state.items():
        tables[not name.startswith("public:")][name] = (table.version, dict(table.rows))
    entry = encode_snapshot(
        seqno, hash_at_snapshot or service.written[service.seqno].leaf, [1, 1], tables[0], tables[1], service.secret
    )
    digest = hashlib.sha256(entry)
    value = {"hash": evidence_hash or digest.hexdigest(), "version": seqno}
    evidence = service.append(
        {"public:ccf.internal.snapshot_evidence": {SINGLETON_KEY: json_bytes(value)}}, claims=digest.digest()
    )
    service.sign()
    directory.mkdir()
    path = directory / f"snapshot_{seqno}_{evidence.txid.seqno}.committed"
    path.write_bytes(entry + json_receipt(service, evidence.txid.seqno))
    return path
