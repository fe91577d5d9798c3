"""The writer writes what CCF writes: real ledgers are put together again from their parts, byte for byte."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support.small_ledger import RECORDS, SECRET, small_writer
from tallystick import Chunk, Ledger, MerkleTree, Transaction, TxId, _native
from tallystick.ledger.writer import (
    CLOSE_CHUNK,
    NEW_CHUNK,
    LedgerWriter,
    NodeSigner,
    ServiceSigner,
    SignatureMode,
    cose_root_signature,
    node_signature_value,
)
from tallystick.tables.names import COSE_SIGNATURES, SIGNATURES, SINGLETON_KEY, TREE

SERVICES = ["acme_containing", "cose_flipflop", "double_sealed", "eol", "expired", "sgx"]

# Ledger secrets of the service js1 by first seqno (test keys; recovered from its members' shares).
JS1_SECRETS = {
    1: "827d162f9259ccf3ec0dc85be015a6cb701a7069c5ffae7e41719fd776196bbc",
    728: "8b6e4a47d7964fb1333d38cd3c34459eaef981022980204c921d36c44aeb3d91",
    833: "4858781d9bb08248d8902dc1766b5b99e26a9405646fad773588f33f5d13141b",
    1003: "d0f3e02928cbb51471c53047157098b5ecb43c56189f656629401d1f2d33ee91",
}


def _places(ledgers: Path, ccf_built: Path) -> list[Path]:
    final = ccf_built / "cpp3" / "state-final" / "node8" / "ledger-committed"
    return [*(ledgers / f"{name}_service" / "ledger" for name in SERVICES), ccf_built / "js1" / "ledger", final]


def _signatures(place: Path) -> Iterator[tuple[Transaction, bytes, bytes]]:
    """Each signature transaction with the compact tree it carries and the root of that."""
    for transaction in Ledger(place, uncommitted=True):
        if transaction.is_signature:
            compact = (transaction.table(TREE) or {})[SINGLETON_KEY]
            assert compact is not None
            yield transaction, compact, MerkleTree.from_compact(compact).root()


def test_entries_and_chunks_are_put_together_again(ledgers: Path, ccf_built: Path, tmp_path: Path) -> None:
    entries = 0
    for number, place in enumerate(_places(ledgers, ccf_built)):
        for chunk in Ledger(place, uncommitted=True).chunks():
            target = tmp_path / str(number)
            target.mkdir(exist_ok=True)
            assert chunk.first_seqno is not None
            writer = _native.ChunkWriter(str(target), chunk.first_seqno)
            for transaction in chunk:
                domain = _native.encode_public_domain(
                    transaction.seqno,
                    transaction.tables,
                    entry_type=transaction.entry_type,
                    claims_digest=transaction.claims_digest or bytes(32),
                    commit_evidence_digest=transaction.commit_evidence_digest or bytes(32),
                    max_conflict_version=transaction.max_conflict_version,
                )
                assert domain == transaction.public_domain
                entry = _native.assemble_entry(
                    transaction.view,
                    transaction.seqno,
                    domain,
                    transaction.private_domain,
                    transaction.gcm_tag,
                    flags=transaction.flags,
                )
                assert entry == transaction.raw
                writer.append(entry)
                entries += 1
            path = writer.complete() if chunk.is_complete else writer.close()
            whole = Path(chunk.path).read_bytes()
            partial = chunk.partial_tail
            assert Path(path).read_bytes() == (whole if partial is None else whole[: partial[0]])
    assert entries > 3000


def test_signature_values_are_put_together_again(ledgers: Path, ccf_built: Path) -> None:
    raw = cose = 0
    for place in _places(ledgers, ccf_built):
        for transaction, _, root in _signatures(place):
            value = (transaction.table(SIGNATURES) or {}).get(SINGLETON_KEY)
            if value is not None:
                parsed = json.loads(value)
                made = node_signature_value(
                    transaction.txid,
                    root,
                    parsed["node"],
                    base64.b64decode(parsed["sig"]),
                    parsed.get("cert"),
                    committed=TxId(parsed["commit_view"], parsed["commit_seqno"]),
                )
                assert made == value
                raw += 1
            value = (transaction.table(COSE_SIGNATURES) or {}).get(SINGLETON_KEY)
            if value is not None:
                message = base64.b64decode(json.loads(value))
                assert _again(message, root, transaction.txid) == message
                cose += 1
    assert raw > 900
    assert cose > 700


def _signer_that_repeats(message: bytes) -> tuple[ServiceSigner, int] | None:
    tag = _native.cbor_decode(message)
    assert isinstance(tag, _native.CborTag)
    protected, _, _, signature = tag.value  # type: ignore[misc, attr-defined]  # checked by the comparison that follows
    header = _native.cbor_decode(protected)
    claims = header.get(15)
    if claims is None or "ccf.v1" not in header:
        return None
    kid = header[4].decode() if 4 in header else None
    signer = ServiceSigner(kid, header[1], lambda _: signature, claims[1], claims[2])
    return signer, claims[6]


def _again(message: bytes, root: bytes, txid: TxId) -> bytes:
    found = _signer_that_repeats(message)
    assert found is not None
    signer, issued_at = found
    return cose_root_signature(signer, root, txid, issued_at)


def test_a_whole_service_is_written_again_from_its_content(ccf_built: Path, tmp_path: Path) -> None:
    """Secrets, tables, claims and signatures go in; every chunk must come out, tags, evidence and trees included."""
    source = ccf_built / "js1" / "ledger"
    chunks = [chunk for chunk in Ledger(source, uncommitted=True).chunks() if chunk.is_complete]
    writer = LedgerWriter(
        tmp_path,
        bytes.fromhex(JS1_SECRETS[1]),
        mode=SignatureMode.DUAL,
        clock=lambda: issued_at,
        flush_at_signatures=False,
    )
    secret = b""
    issued_at = 0
    for chunk in chunks:
        for transaction in chunk:
            if transaction.seqno in JS1_SECRETS:
                secret = bytes.fromhex(JS1_SECRETS[transaction.seqno])
                writer.use_ledger_secret(secret)
            writer.view = transaction.view
            if transaction.is_signature:
                node_value = json.loads((transaction.table(SIGNATURES) or {})[SINGLETON_KEY] or b"")
                node_signature = base64.b64decode(node_value["sig"])
                writer.node = NodeSigner(node_value["node"], node_value["cert"], lambda _, s=node_signature: s)
                message = base64.b64decode(json.loads((transaction.table(COSE_SIGNATURES) or {})[SINGLETON_KEY] or b""))
                found = _signer_that_repeats(message)
                assert found is not None
                writer.service, issued_at = found
                compact = (transaction.table(TREE) or {})[SINGLETON_KEY] or b""
                writer.flush_tree(MerkleTree.from_compact(compact).first_kept)
                written = writer.sign(close_chunk=bool(transaction.flags & CLOSE_CHUNK)).transaction
            else:
                plaintext = _native.open_private_domain(transaction.entry, secret)
                private = _native.parse_private_domain(plaintext) if plaintext else {}
                written = writer.append(
                    {**transaction.tables, **private},
                    claims_digest=transaction.claims_digest or b"",
                    flags=transaction.flags,
                )
            assert written.entry == transaction.raw, transaction
            assert written.leaf == transaction.leaf
        if writer.chunk_size:
            writer.complete_chunk()
    for chunk in chunks:
        made = tmp_path / Path(chunk.path).name
        assert made.read_bytes() == Path(chunk.path).read_bytes()


# ------------------------------------------------------------------------------------- the writer itself


@pytest.mark.parametrize(
    ("mode", "tables"),
    [
        (SignatureMode.RAW, {SIGNATURES, TREE}),
        (SignatureMode.DUAL, {SIGNATURES, COSE_SIGNATURES, TREE}),
        (SignatureMode.COSE, {COSE_SIGNATURES, TREE}),
    ],
)
def test_signature_modes(tmp_path: Path, mode: SignatureMode, tables: set[str]) -> None:
    with small_writer(tmp_path, mode) as writer:
        writer.append({RECORDS: {b"a": b"1"}})
        signed = writer.sign(close_chunk=True)
    transaction = Ledger(tmp_path).get_transaction(2)
    assert set(transaction.table_names) == tables
    assert transaction.flags == CLOSE_CHUNK
    assert signed.chunk == tmp_path / "ledger_1-2.committed"
    assert (signed.txid, signed.transaction.entry) == (transaction.txid, transaction.raw)


def test_signatures_hold_under_the_keys(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with LedgerWriter(
        tmp_path,
        SECRET,
        node=NodeSigner.from_key(key, None),
        service=ServiceSigner.from_key(key),
        mode="dual",
        clock=lambda: 1_700_000_000,
    ) as writer:
        writer.append({RECORDS: {b"a": b"1"}})
        signed = writer.sign()
    from cryptography.hazmat.primitives.asymmetric import utils
    from cryptography.hazmat.primitives.hashes import SHA256

    assert signed.node_signature is not None
    assert signed.cose_signature is not None
    key.public_key().verify(signed.node_signature, signed.root, ec.ECDSA(utils.Prehashed(SHA256())))
    protected, _, _, signature = _native.cbor_decode(signed.cose_signature).value  # type: ignore[attr-defined]  # a tag
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    message = _native.cbor_encode(["Signature1", protected, b"", signed.root])
    key.public_key().verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))


def test_many_at_once_equals_one_by_one(tmp_path: Path) -> None:
    rows = [{RECORDS: {b"k%d" % i: b"v" * i}, "notes": {b"n": b"private"}} for i in range(50)]
    # ECDSA signatures are random: without them the bytes are the same.
    with small_writer(tmp_path / "one") as writer:
        for tables in rows:
            writer.append(tables)
        leaves = writer.tree.root()
    with small_writer(tmp_path / "many") as writer:
        assert writer.append_many(rows) == 50
        assert writer.tree.root() == leaves
    assert (tmp_path / "one" / "ledger_1").read_bytes() == (tmp_path / "many" / "ledger_1").read_bytes()


def test_many_signs_and_closes_by_itself(tmp_path: Path) -> None:
    rows = ({RECORDS: {b"key": b"v" * 100}} for _ in range(1000))
    with small_writer(tmp_path, SignatureMode.RAW, sign_every=9, chunk_bytes=20_000) as writer:
        writer.append_many(rows)
    ledger = Ledger(tmp_path, uncommitted=True)
    assert [transaction.seqno for transaction in ledger if transaction.is_signature] == list(range(10, 1111, 10))
    chunks = list(ledger.chunks())
    assert len(chunks) > 5
    assert all(chunk[-1].is_signature for chunk in chunks if chunk.is_complete)


@pytest.mark.parametrize("entry_type", [0, 2, 3, 4])
def test_every_entry_type(tmp_path: Path, entry_type: int) -> None:
    with small_writer(tmp_path, SignatureMode.RAW, entry_type=entry_type) as writer:
        written = writer.append({RECORDS: {b"a": b"1"}})
        writer.append_many([{RECORDS: {b"a": b"2"}}])
        writer.sign()
        root = writer.tree.root()
    transactions = list(Ledger(tmp_path, uncommitted=True))
    assert {transaction.entry_type for transaction in transactions} == {entry_type}
    assert transactions[0].leaf == written.leaf
    assert (written.commit_evidence is None) == (entry_type in (0, 2))
    assert MerkleTree.from_leaves(transaction.leaf for transaction in transactions).root() == root


def test_a_new_chunk_before_a_transaction(tmp_path: Path) -> None:
    with small_writer(tmp_path) as writer:
        writer.append({RECORDS: {b"a": b"1"}})
        writer.sign()
        writer.append({RECORDS: {b"a": b"2"}}, flags=NEW_CHUNK)
    assert [Path(chunk.path).name for chunk in Ledger(tmp_path, uncommitted=True).chunks()] == [
        "ledger_1-2.committed",
        "ledger_3",
    ]
    assert Chunk(tmp_path / "ledger_3")[0].flags == NEW_CHUNK


def test_private_writes_open_under_the_secret_only(tmp_path: Path) -> None:
    with small_writer(tmp_path) as writer:
        written = writer.append({"notes": {b"n": b"private"}})
    entry = _native.Entry.parse(written.entry)
    assert _native.parse_private_domain(_native.open_private_domain(entry, SECRET)) == {"notes": {b"n": b"private"}}
    from tallystick.errors import VerificationError

    with pytest.raises(VerificationError):
        _native.open_private_domain(entry, bytes(32))


def test_misuse(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ledger secret: expected 32 bytes, got 5"):
        LedgerWriter(tmp_path, b"short")
    with pytest.raises(ValueError, match="entry type"):
        LedgerWriter(tmp_path, SECRET, entry_type=1)
    writer = LedgerWriter(tmp_path, SECRET)
    with pytest.raises(ValueError, match="needs a node's signer"):
        writer.sign()
    with pytest.raises(ValueError, match="service's signer and a clock"):
        writer.sign(mode="cose")
    with pytest.raises(ValueError, match="no chunk in hand"):
        writer.complete_chunk()
    assert writer.close() is None
    entry = writer.append({RECORDS: {b"a": b"1"}}).entry
    with pytest.raises(ValueError, match="expected 2, got 1"):
        writer.append_entry(entry)
