"""Writes a ledger as CCF writes it, byte for byte: entries, Merkle tree, signature transactions, chunks.

The writer knows the format and nothing of governance: which tables a transaction writes, and whether a
service would ever write them, is the caller's business. Everything that it emits is read back by the
auditor's own code in the tests.

The order of things: a transaction is sealed under the ledger secret, its leaf joins the Merkle tree, and
the entry joins the chunk. A signature transaction signs the root over everything before itself, carries the
tree in compact form, and is the only place where a chunk may be completed.

Example::

    writer = LedgerWriter(directory, secret, node=NodeSigner.from_key(key, certificate_pem))
    writer.append({"public:records": {b"42": b"hello"}, "notes": {b"1": b"private"}})
    writer.sign(close_chunk=True)
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tallystick import _native
from tallystick.tables.names import COSE_SIGNATURES, PUBLIC_PREFIX, SIGNATURES, SINGLETON_KEY, TREE
from tallystick.types import TxId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = [
    "CLOSE_CHUNK",
    "NEW_CHUNK",
    "LedgerWriter",
    "NodeSigner",
    "ServiceSigner",
    "SignatureMode",
    "SignatureTransaction",
    "WrittenTransaction",
    "cose_root_signature",
    "json_bytes",
    "node_signature_value",
]

Rows = Mapping[bytes, bytes | None]
Tables = Mapping[str, Rows]

CLOSE_CHUNK = 1
"""Entry flag: close the chunk after this transaction."""
NEW_CHUNK = 2
"""Entry flag: start a new chunk before this transaction."""

NO_CLAIMS = bytes(32)

# CCF's default: a chunk is completed at the first signature after it reached 5 MB.
DEFAULT_CHUNK_BYTES = 5_000_000

# Entries handed to the chunk file in one call on the bulk path; bounds what is held in memory.
_BULK_ENTRIES = 4096

# COSE header labels (RFC 9052, RFC 9597, RFC 9942) and their values in the CCF profile.
_ALG, _KID, _CWT_CLAIMS, _VDS = 1, 4, 15, 395
_CWT_ISSUER, _CWT_SUBJECT, _CWT_ISSUED_AT = 1, 2, 6
_VDS_CCF_LEDGER_SHA256 = 2
_COSE_SIGN1_TAG = 18

# Algorithm by key size: (COSE algorithm, bytes of r and of s, hash).
_ECDSA = {256: (-7, 32, "SHA256"), 384: (-35, 48, "SHA384"), 521: (-36, 66, "SHA512")}


class SignatureMode(str, Enum):
    """Which signatures a signature transaction carries."""

    RAW = "raw"
    """The node's only: up to 5.x."""
    DUAL = "dual"
    """The node's and the service's: 6.x."""
    COSE = "cose"
    """The service's only: possible from 7.0 on."""


@dataclass(frozen=True)
class NodeSigner:
    """Signs roots as a node.

    Attributes:
        node_id: hex SHA-256 of the node's SubjectPublicKeyInfo.
        certificate_pem: goes into the signature; None as in 1.x.
        sign_root: 32-byte root → DER ECDSA signature, the root taken as the digest.
    """

    node_id: str
    certificate_pem: str | None
    sign_root: Callable[[bytes], bytes]

    @classmethod
    def from_key(cls, key: EllipticCurvePrivateKey, certificate_pem: str | None) -> NodeSigner:
        """A signer over a private key of ``cryptography``."""
        from cryptography.hazmat.primitives.asymmetric import ec, utils
        from cryptography.hazmat.primitives.hashes import SHA256

        algorithm = ec.ECDSA(utils.Prehashed(SHA256()))
        return cls(_spki_sha256(key), certificate_pem, lambda root: key.sign(root, algorithm))


@dataclass(frozen=True)
class ServiceSigner:
    """Signs roots as the service, in COSE.

    Attributes:
        key_sha256: hex SHA-256 of the service's SubjectPublicKeyInfo: the ``kid``; None writes none.
        algorithm: COSE algorithm, -35 (ES384) or -7 (ES256).
        sign: message → r ‖ s at fixed width, hashed as the algorithm says.
        issuer, subject: of the CWT claims.
    """

    key_sha256: str | None
    algorithm: int
    sign: Callable[[bytes], bytes]
    issuer: str = "service.example.com"
    subject: str = "ledger.signature"

    @classmethod
    def from_key(
        cls,
        key: EllipticCurvePrivateKey,
        *,
        issuer: str = "service.example.com",
        subject: str = "ledger.signature",
    ) -> ServiceSigner:
        """A signer over a private key of ``cryptography`` (P-256, P-384 or P-521)."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        algorithm, width, hash_name = _ECDSA[key.curve.key_size]
        scheme = ec.ECDSA(getattr(hashes, hash_name)())

        def sign(message: bytes) -> bytes:
            r, s = utils.decode_dss_signature(key.sign(message, scheme))
            return r.to_bytes(width, "big") + s.to_bytes(width, "big")

        return cls(_spki_sha256(key), algorithm, sign, issuer, subject)


def _spki_sha256(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


@dataclass(frozen=True)
class WrittenTransaction:
    """A transaction that was appended.

    Attributes:
        txid: its transaction ID.
        entry: its bytes, header included.
        leaf: its leaf in the Merkle tree.
        claims_digest: 32 bytes, zeros for none; None where the entry type has none.
        commit_evidence: text; None where the entry type has none.
    """

    txid: TxId
    entry: bytes
    leaf: bytes
    claims_digest: bytes | None
    commit_evidence: str | None


@dataclass(frozen=True)
class SignatureTransaction:
    """A signature transaction that was appended: what receipts of earlier transactions are made from.

    Attributes:
        transaction: the transaction itself.
        root: over leaves 0 … seqno-1.
        node_signature: DER; None if there is none.
        cose_signature: tagged COSE_Sign1; None if there is none.
        chunk: path of the chunk that it completed, or None.
    """

    transaction: WrittenTransaction
    root: bytes
    node_signature: bytes | None
    cose_signature: bytes | None
    chunk: Path | None

    @property
    def txid(self) -> TxId:
        """Its transaction ID."""
        return self.transaction.txid


def json_bytes(value: object) -> bytes:
    """JSON as CCF's C++ writes it: keys sorted, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def node_signature_value(
    txid: TxId,
    root: bytes,
    node_id: str,
    signature: bytes,
    certificate_pem: str | None,
    *,
    committed: TxId | None = None,
) -> bytes:
    """The value of ``public:ccf.internal.signatures``.

    Args:
        txid: of the signature transaction itself.
        root: 32 bytes.
        signature: DER.
        certificate_pem: None as in 1.x.
        committed: last committed transaction; 1.x recorded it, later versions write zeros.
    """
    value: dict[str, object] = {
        "commit_seqno": committed.seqno if committed else 0,
        "commit_view": committed.view if committed else 0,
        # Placeholder of an abandoned design: always 32 zero bytes.
        "hashed_nonce": "0" * 64,
        "node": node_id,
        "root": root.hex(),
        "seqno": txid.seqno,
        "sig": base64.b64encode(signature).decode(),
        "view": txid.view,
    }
    if certificate_pem is not None:
        value["cert"] = certificate_pem
    return json_bytes(value)


def cose_root_signature(signer: ServiceSigner, root: bytes, txid: TxId, issued_at: int) -> bytes:
    """The service's COSE_Sign1 over ``root`` (detached), headers in CCF's order, tagged."""
    protected: dict[object, object] = {_ALG: signer.algorithm}
    if signer.key_sha256 is not None:
        protected[_KID] = signer.key_sha256.encode()
    protected[_VDS] = _VDS_CCF_LEDGER_SHA256
    protected[_CWT_CLAIMS] = {
        _CWT_ISSUED_AT: issued_at,
        _CWT_ISSUER: signer.issuer,
        _CWT_SUBJECT: signer.subject,
    }
    protected["ccf.v1"] = {"txid": str(txid)}
    header = _native.cbor_encode(protected)
    signature = signer.sign(_native.cbor_encode(["Signature1", header, b"", root]))
    return _native.cbor_encode(_native.CborTag(_COSE_SIGN1_TAG, [header, {}, None, signature]))


class LedgerWriter:
    """Appends transactions to a ledger directory.

    Use it as a context manager: leaving it flushes the chunk in hand and leaves that chunk open, as a node
    that was stopped does.

    Args:
        directory: where chunks go; made if it is not there.
        ledger_secret: 32 bytes; :meth:`use_ledger_secret` changes it.
        node: signs roots as a node; needed for modes raw and dual.
        service: signs roots as the service; needed for modes dual and cose.
        mode: which signatures :meth:`sign` writes.
        view: of the transactions to come.
        tree: where to go on from: the tree over everything before; None starts a ledger.
        entry_type: 0, 2, 3 or 4 (all current versions write 4).
        chunk_bytes: :meth:`sign` completes the chunk once it holds this many bytes.
        committed: whether completed chunks are named ``.committed``.
        clock: gives Unix seconds; needed for modes dual and cose.
        sign_every: sign after this many transactions by itself; None: only when told.
        flush_at_signatures: forget leaves before each signature, as if it was committed at once; otherwise
            :meth:`flush_tree` says what was committed, and bounds what signature transactions carry.

    Raises:
        ValueError: arguments that do not fit together.
        OSError: the directory cannot be written.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        ledger_secret: bytes,
        *,
        node: NodeSigner | None = None,
        service: ServiceSigner | None = None,
        mode: SignatureMode | str = SignatureMode.RAW,
        view: int = 2,
        tree: _native.MerkleTree | None = None,
        entry_type: int = 4,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        committed: bool = True,
        clock: Callable[[], int] | None = None,
        sign_every: int | None = None,
        flush_at_signatures: bool = True,
    ) -> None:
        if entry_type not in (0, 2, 3, 4):
            raise ValueError(f"entry type of a transaction: expected 0, 2, 3 or 4, got {entry_type}")
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.node = node
        self.service = service
        self.mode = SignatureMode(mode)
        self.view = view
        self.entry_type = entry_type
        self.chunk_bytes = chunk_bytes
        self.committed = committed
        self.sign_every = sign_every
        self.last_signature: TxId | None = None
        self._clock = clock
        self._tree = tree if tree is not None else _native.MerkleTree()
        self._flushes = flush_at_signatures
        self._unsigned = 0
        self._chunk: _native.ChunkWriter | None = None
        self.use_ledger_secret(ledger_secret)

    # ------------------------------------------------------------------------------------ where it stands

    @property
    def seqno(self) -> int:
        """Seqno of the last transaction, 0 at the start."""
        return self._tree.size - 1

    @property
    def tree(self) -> _native.MerkleTree:
        """The tree over everything written; leaves before the last signature are forgotten."""
        return self._tree

    @property
    def chunk_size(self) -> int:
        """Bytes of the chunk in hand, 0 when there is none."""
        return self._chunk.size if self._chunk is not None else 0

    def flush_tree(self, first_kept: int) -> None:
        """Forgets leaves before ``first_kept``; the next signature carries the tree in that form."""
        self._tree.flush(first_kept)

    def use_ledger_secret(self, ledger_secret: bytes) -> None:
        """Seals the transactions to come under another secret (a rekey, or a recovery)."""
        if len(ledger_secret) != 32:
            raise ValueError(f"ledger secret: expected 32 bytes, got {len(ledger_secret)}")
        self._secret = ledger_secret

    # ---------------------------------------------------------------------------------------- appending

    def append(
        self,
        tables: Tables,
        *,
        claims_digest: bytes = NO_CLAIMS,
        flags: int = 0,
        max_conflict_version: int = 0,
    ) -> WrittenTransaction:
        """Appends one transaction.

        Args:
            tables: writes by table and key, None removes; tables whose name does not start with
                ``public:`` are encrypted.
            claims_digest: 32 bytes.
            flags: :data:`CLOSE_CHUNK` is a hint only (chunks are completed at signatures);
                :data:`NEW_CHUNK` completes the chunk in hand first.
            max_conflict_version: 1.x filled this in.
        """
        entry, evidence = self._seal(tables, self.seqno + 1, claims_digest, flags, max_conflict_version)
        written = self.append_entry(entry, claims_digest=claims_digest, commit_evidence=evidence)
        if self.sign_every is not None and self._unsigned >= self.sign_every:
            self.sign()
        return written

    def append_entry(
        self, entry: bytes, *, claims_digest: bytes | None = None, commit_evidence: str | None = None
    ) -> WrittenTransaction:
        """Appends an entry that was put together elsewhere; its seqno must be the next one.

        Raises:
            FormatError: it is not one well-formed entry.
            ValueError: its seqno is not the next one.
        """
        parsed = _native.Entry.parse(entry)
        if parsed.seqno != self.seqno + 1:
            raise ValueError(f"entry's seqno: expected {self.seqno + 1}, got {parsed.seqno}")
        if parsed.flags & NEW_CHUNK and self._chunk is not None:
            self.complete_chunk()
        self._chunk_in_hand(parsed.seqno).append(entry)
        self._tree.append(parsed.leaf)
        self._unsigned += 1
        claims = None if parsed.claims_digest is None else claims_digest or parsed.claims_digest
        return WrittenTransaction(TxId(parsed.view, parsed.seqno), entry, parsed.leaf, claims, commit_evidence)

    def append_many(self, transactions: Iterable[Tables]) -> int:
        """Appends many transactions without claims, quickly and in bounded memory; returns how many.

        Signs every ``sign_every`` transactions if that is set.
        """
        count = 0
        entries: list[bytes] = []
        leaves: list[bytes] = []
        for tables in transactions:
            entry, evidence = self._seal(tables, self.seqno + 1 + len(entries), NO_CLAIMS, 0, 0)
            entries.append(entry)
            leaves.append(self._leaf(entry, evidence))
            count += 1
            due = self.sign_every is not None and self._unsigned + len(entries) >= self.sign_every
            if due or len(entries) >= _BULK_ENTRIES:
                self._append_block(entries, leaves)
                entries, leaves = [], []
            if due:
                self.sign()
        self._append_block(entries, leaves)
        return count

    def _append_block(self, entries: list[bytes], leaves: list[bytes]) -> None:
        if entries:
            self._chunk_in_hand(self.seqno + 1).append_many(entries)
            self._tree.append_many(b"".join(leaves))
            self._unsigned += len(entries)

    def _seal(
        self, tables: Tables, seqno: int, claims_digest: bytes, flags: int, max_conflict_version: int
    ) -> tuple[bytes, str | None]:
        public: dict[str, dict[bytes, bytes | None]] = {}
        private: dict[str, dict[bytes, bytes | None]] = {}
        for name, rows in tables.items():
            (public if name.startswith(PUBLIC_PREFIX) else private)[name] = dict(rows)
        evidence, evidence_digest = None, NO_CLAIMS
        if self.entry_type in (3, 4):
            evidence = _native.commit_evidence(self._secret, self.view, seqno)
            evidence_digest = hashlib.sha256(evidence.encode()).digest()
        domain = _native.encode_public_domain(
            seqno,
            public,
            entry_type=self.entry_type,
            claims_digest=claims_digest,
            commit_evidence_digest=evidence_digest,
            max_conflict_version=max_conflict_version,
        )
        plaintext = _native.encode_private_domain(private) if private else b""
        return _native.seal_entry(self.view, seqno, domain, plaintext, self._secret, flags=flags), evidence

    def _leaf(self, entry: bytes, evidence: str | None) -> bytes:
        # The same as Entry.parse(entry).leaf, without parsing what was just put together.
        leaf = hashlib.sha256(entry).digest()
        if evidence is not None:
            leaf += hashlib.sha256(evidence.encode()).digest()
        if self.entry_type in (2, 4):
            leaf += NO_CLAIMS
        return leaf if self.entry_type == 0 else hashlib.sha256(leaf).digest()

    # ------------------------------------------------------------------------------------------ signing

    def sign(
        self, *, close_chunk: bool = False, mode: SignatureMode | str | None = None, committed_txid: TxId | None = None
    ) -> SignatureTransaction:
        """Appends a signature transaction over everything before it.

        Args:
            close_chunk: complete the chunk with it even if it is small.
            mode: other signatures than usual.
            committed_txid: 1.x recorded the last committed transaction in the signature.

        Raises:
            ValueError: the mode needs a signer that was not given.
        """
        mode = self.mode if mode is None else SignatureMode(mode)
        txid = TxId(self.view, self.seqno + 1)
        root = self._tree.root()
        tables: dict[str, dict[bytes, bytes | None]] = {TREE: {SINGLETON_KEY: self._tree.to_compact()}}
        signature = message = None
        if mode is not SignatureMode.COSE:
            if self.node is None:
                raise ValueError(f"signature mode {mode.value} needs a node's signer")
            signature = self.node.sign_root(root)
            value = node_signature_value(
                txid, root, self.node.node_id, signature, self.node.certificate_pem, committed=committed_txid
            )
            tables[SIGNATURES] = {SINGLETON_KEY: value}
        if mode is not SignatureMode.RAW:
            if self.service is None or self._clock is None:
                raise ValueError(f"signature mode {mode.value} needs the service's signer and a clock")
            message = cose_root_signature(self.service, root, txid, self._clock())
            tables[COSE_SIGNATURES] = {SINGLETON_KEY: json_bytes(base64.b64encode(message).decode())}
        closes = close_chunk or self.chunk_size >= self.chunk_bytes
        entry, evidence = self._seal(tables, txid.seqno, NO_CLAIMS, CLOSE_CHUNK if closes else 0, 0)
        written = self.append_entry(entry, commit_evidence=evidence)
        if self._flushes:
            self._tree.flush(txid.seqno)
        self._unsigned = 0
        self.last_signature = txid
        chunk = self.complete_chunk() if closes else None
        return SignatureTransaction(written, root, signature, message, chunk)

    # ------------------------------------------------------------------------------------------- chunks

    def _chunk_in_hand(self, first_seqno: int) -> _native.ChunkWriter:
        if self._chunk is None:
            self._chunk = _native.ChunkWriter(os.fspath(self.directory), first_seqno)
        return self._chunk

    def complete_chunk(self, *, committed: bool | None = None) -> Path:
        """Completes the chunk in hand (offset table, header, name) and returns its path.

        A node does so only right after a signature transaction; that is left to the caller here.

        Raises:
            ValueError: there is no chunk in hand.
        """
        if self._chunk is None:
            raise ValueError("there is no chunk in hand to complete")
        chunk, self._chunk = self._chunk, None
        return Path(chunk.complete(committed=self.committed if committed is None else committed))

    def close(self) -> Path | None:
        """Leaves the chunk in hand open, without a table, and returns its path; None when there is none."""
        if self._chunk is None:
            return None
        chunk, self._chunk = self._chunk, None
        return Path(chunk.close())

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
