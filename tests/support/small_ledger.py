"""A ledger of a few transactions, without governance: enough for what reads and does not verify."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from tallystick.ledger.writer import LedgerWriter, NodeSigner, ServiceSigner, SignatureMode

SECRET = bytes(range(32))
RECORDS = "public:records"


def small_writer(directory: Path, mode: SignatureMode = SignatureMode.DUAL, **options: object) -> LedgerWriter:
    """A writer with throwaway keys."""
    key = ec.generate_private_key(ec.SECP384R1())
    return LedgerWriter(
        directory,
        SECRET,
        node=NodeSigner.from_key(key, "-----BEGIN CERTIFICATE-----\n(none)\n-----END CERTIFICATE-----\n"),
        service=ServiceSigner.from_key(key),
        mode=mode,
        clock=lambda: 1_700_000_000,
        **options,  # type: ignore[arg-type]  # options of the writer, as the test names them
    )


def write_small_ledger(directory: Path) -> Path:
    """Two complete chunks and an open one; views 2 and 3; seqnos 1 to 10.

    ===== ==========================================================
    1     sets records[a], records[b]
    2     signature, closes the chunk
    3     sets records[a] again, with claims; private writes
    4     removes records[b]; sets a hostile key
    5     a typed table: u64 key, JSON value
    6     signature, closes the chunk
    7     view 3 begins: signature
    8     private writes only
    9     signature
    10    sets records[a], unsigned
    ===== ==========================================================
    """
    with small_writer(directory) as writer:
        writer.append({RECORDS: {b"a": b"1", b"b": b"2"}})
        writer.sign(close_chunk=True)
        writer.append({RECORDS: {b"a": b"second"}, "notes": {b"n": b"secret"}}, claims_digest=b"\x11" * 32)
        writer.append({RECORDS: {b"b": None, b"\x1b]0;evil\x07": b"\x1b[2Jgone"}})
        writer.append({"public:counts": {(7).to_bytes(8, "little"): b'{"n": [1, 2]}'}})
        writer.sign(close_chunk=True)
        writer.view = 3
        writer.sign()
        writer.append({"notes": {b"n": b"again"}})
        writer.sign()
        writer.append({RECORDS: {b"a": b"unsigned"}})
    return directory
