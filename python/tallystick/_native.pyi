"""The Rust core, as Python sees it. Private: import the typed names of ``tallystick.*`` instead.

Bytes arguments are immutable ``bytes``, so what is hashed is what is parsed. Functions that take longer
than a moment release the GIL. Malformed input raises ``tallystick.errors.FormatError`` (code, offset);
a limit raises ``LimitExceededError``; files that cannot be read raise ``OSError``.
"""

import builtins
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, final

__version__: str

def finding_codes() -> list[str]:
    """Every code that the core can emit, as error or as finding."""

# ---------------------------------------------------------------- CBOR and COSE

def cbor_decode(data: bytes) -> object:
    """One CBOR item, strictly: definite lengths, shortest heads, no duplicate keys, no trailing bytes.

    Maps become dict, arrays list, text str, byte strings bytes, null None, tags ``CborTag``.
    """

def cbor_encode(value: object) -> bytes:
    """Encodes int, bytes, str, bool, None, list, tuple, dict (in the order given) and ``CborTag``, shortest form."""

@final
class CborTag:
    def __new__(cls, tag: int, value: object) -> CborTag: ...
    @property
    def tag(self) -> int: ...
    @property
    def value(self) -> object: ...

@final
class CoseSign1:
    """A parsed COSE_Sign1 (RFC 9052 section 4.2); nothing about it is verified."""

    @staticmethod
    def parse(data: bytes) -> CoseSign1:
        """Parses one tagged (18) or untagged COSE_Sign1, the whole of ``data``."""
    @property
    def tagged(self) -> bool: ...
    @property
    def protected(self) -> bytes:
        """The protected header, serialised, as signed."""
    @property
    def protected_headers(self) -> dict[int | str, object]: ...
    @property
    def unprotected_headers(self) -> dict[int | str, object]: ...
    @property
    def payload(self) -> bytes | None:
        """None when detached."""
    @property
    def signature(self) -> bytes: ...
    @property
    def algorithm(self) -> int | None:
        """Protected header 1."""
    def signed_bytes(self, detached_payload: bytes | None = None) -> bytes:
        """The Sig_structure, with ``detached_payload`` where the payload is nil."""

# ---------------------------------------------------------------- keys and signatures

@final
class PublicKey:
    """An ECDSA public key on P-256, P-384 or P-521 (RSA too, for members' COSE PS256/384/512 requests).

    Two keys are equal, and hash alike, when their SubjectPublicKeyInfo is the same.
    """

    @staticmethod
    def from_spki(der: bytes) -> PublicKey: ...
    @property
    def spki(self) -> bytes: ...
    @property
    def sha256(self) -> str:
        """Lower-case hex SHA-256 of the SubjectPublicKeyInfo: a node id, or a service key's fingerprint."""
    @property
    def kind(self) -> str:
        """``P-256``, ``P-384``, ``P-521`` or ``RSA``."""
    def verifies_prehashed(self, digest: bytes, der_signature: bytes) -> bool:
        """ECDSA over ``digest`` used directly, as CCF's node signatures over a root are (32-byte digest, any curve)."""
    def verifies(self, message: bytes, der_signature: bytes, hash_name: str) -> bool:
        """ECDSA (DER signature) over ``message`` hashed with sha256, sha384 or sha512."""
    def verifies_cose(self, message: bytes, signature: bytes, algorithm: int) -> bool:
        """COSE algorithm -7, -35, -36 (fixed width r‖s), -37, -38, -39 (RSA-PSS) over ``message``; False if the key does not fit."""

@final
class SignatureBatch:
    """A bounded queue of signature checks, run on all cores while the caller goes on."""

    def __new__(cls, *, jobs: int = 0) -> SignatureBatch:
        """``jobs`` 0 means one worker a core."""
    def submit_prehashed(self, tag: int, key: PublicKey, digest: bytes, der_signature: bytes) -> None: ...
    def submit_prehashed_many(self, checks: Sequence[tuple[int, PublicKey, bytes, bytes]]) -> None:
        """``submit_prehashed`` for each (tag, key, digest, signature), in one call."""
    def submit_receipts(self, receipts: Sequence[tuple[int, JsonReceipt, PublicKey, bytes | None]]) -> None:
        """Queues the node signature of each receipt over the root that its path leads to from the leaf given here.

        Each is (tag, receipt, key of the node, leaf); without a leaf, that of the receipt is taken.

        Raises:
            ValueError: a leaf is neither given nor determined by the receipt.
        """
    def submit_cose(self, tag: int, key: PublicKey, message: bytes, signature: bytes, algorithm: int) -> None: ...
    def submit_records(
        self,
        records: Sequence[SignatureRecord],
        node_keys: Sequence[PublicKey | None],
        service_keys: Sequence[PublicKey | None],
    ) -> None:
        """Queues the raw and the COSE signature of each record, over the root that was computed; None skips that one.

        The tag of a raw check is ``2 * seqno``, that of a COSE check ``2 * seqno + 1``.

        Raises:
            ValueError: a key is given for a record that has no computed root, or no such signature.
        """
    def finish(self) -> list[int]:
        """Waits for every check and returns the tags of those that do not hold, ascending, each once.

        The batch can be used again. Checks that are equal in key, message and signature are made once; each tag hears of it.
        """
    @property
    def checked(self) -> int:
        """Checks that have a verdict."""

@final
class Certificate:
    """An X.509 certificate; nothing about it is verified. Cheaper to start than ``cryptography``: no import."""

    @staticmethod
    def parse(data: bytes) -> Certificate:
        """Exactly one certificate: DER, or one PEM block with nothing but white space around it."""
    @staticmethod
    def parse_many(data: bytes) -> list[Certificate]:
        """A file of certificates: DER, or PEM blocks, with text between them if need be."""
    @property
    def der(self) -> bytes: ...
    @property
    def tbs(self) -> bytes:
        """The signed part."""
    @property
    def spki(self) -> bytes: ...
    @property
    def signature(self) -> bytes: ...
    @property
    def signature_algorithm(self) -> str:
        """Object identifier, dotted."""
    @property
    def ecdsa_hash(self) -> str | None:
        """``sha256``, ``sha384`` or ``sha512`` of an ECDSA signature; None for other algorithms.

        ``key.verifies(certificate.tbs, certificate.signature, certificate.ecdsa_hash)`` says whether ``key`` signed it.
        """
    @property
    def subject(self) -> bytes:
        """DER of the name."""
    @property
    def issuer(self) -> bytes:
        """DER of the name."""
    @property
    def subject_text(self) -> str: ...
    @property
    def issuer_text(self) -> str: ...
    @property
    def serial(self) -> str:
        """Hex."""
    @property
    def not_before(self) -> int:
        """Seconds since 1970."""
    @property
    def not_after(self) -> int:
        """Seconds since 1970."""
    @property
    def is_ca(self) -> bool: ...
    def extension(self, oid: str) -> bytes | None:
        """Value of the extension with this dotted object identifier, without the OCTET STRING around it."""
    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the DER: a member or user id."""
    @property
    def spki_sha256(self) -> str:
        """Hex SHA-256 of the SubjectPublicKeyInfo: a node id, or a service key's fingerprint."""

# ---------------------------------------------------------------- Merkle tree

@final
class MerkleTree:
    """CCF's Merkle tree: SHA-256 of left‖right, an odd last node promoted; leaf 0 is 32 zero bytes; leaf i is transaction i."""

    def __init__(self) -> None:
        """The tree of a new service: the zero leaf alone."""
    @staticmethod
    def from_compact(value: bytes) -> MerkleTree:
        """Reads a value of ``public:ccf.internal.tree``."""
    def append(self, leaf: bytes) -> None: ...
    def append_many(self, leaves: bytes) -> None:
        """Appends ``len(leaves) / 32`` leaves."""
    @property
    def size(self) -> int:
        """Number of leaves, the zero leaf included: the seqno of the next transaction."""
    @property
    def first_kept(self) -> int:
        """Index of the first leaf that is kept; older ones are only known as subtree roots."""
    def leaf(self, index: int) -> bytes: ...
    def root(self) -> bytes: ...
    def root_at(self, size: int) -> bytes:
        """Root over leaves 0 … size-1; ``size`` must exceed ``first_kept``."""
    def path(self, index: int, size: int) -> list[tuple[bool, bytes]]:
        """Inclusion path of leaf ``index`` in the tree of ``size`` leaves, from the leaf up; True: the sibling is on the left."""
    def flush(self, first_kept: int) -> None:
        """Forgets leaves before ``first_kept``, keeping the roots of the complete subtrees that cover them."""
    def to_compact(self) -> bytes:
        """The value that CCF writes to ``public:ccf.internal.tree``."""

def merkle_root_of_path(leaf: bytes, path: Sequence[tuple[bool, bytes]]) -> bytes: ...
def merkle_path_directions(index: int, size: int) -> list[bool]:
    """Which side the siblings of leaf ``index`` stand on in a tree of ``size`` leaves (True: left), from the leaf up."""

# ---------------------------------------------------------------- entries and chunks

@final
class Entry:
    """One ledger entry (one transaction), parsed; frozen."""

    @staticmethod
    def parse(data: bytes) -> Entry:
        """Parses exactly one whole entry, its 8-byte header included."""
    @property
    def seqno(self) -> int: ...
    @property
    def view(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def entry_type(self) -> int:
        """0 write set, 1 snapshot, 2 + claims, 3 + commit evidence, 4 + both."""
    @property
    def offset(self) -> int:
        """Offset in the chunk file; 0 when parsed on its own."""
    @property
    def size(self) -> int:
        """Bytes, header included."""
    @property
    def raw(self) -> bytes: ...
    @property
    def public_domain(self) -> bytes: ...
    @property
    def private_domain(self) -> bytes:
        """Ciphertext; empty when there is none."""
    @property
    def gcm_tag(self) -> bytes: ...
    @property
    def gcm_iv(self) -> bytes: ...
    @property
    def claims_digest(self) -> bytes | None: ...
    @property
    def commit_evidence_digest(self) -> bytes | None: ...
    @property
    def write_set_digest(self) -> bytes: ...
    @property
    def leaf(self) -> bytes: ...
    @property
    def max_conflict_version(self) -> int: ...
    def table_names(self) -> list[str]: ...
    def tables(self) -> dict[str, dict[bytes, bytes | None]]:
        """Writes by table and key, in ledger order; None marks a remove."""
    def table(self, name: str) -> dict[bytes, bytes | None] | None: ...

def parse_private_domain(plaintext: bytes) -> dict[str, dict[bytes, bytes | None]]: ...

@final
class ChunkFile:
    """Random access to one chunk file; the offset table is used when it is there, entries are walked otherwise."""

    @staticmethod
    def open(path: str) -> ChunkFile: ...
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def complete(self) -> bool:
        """Whether the header points at an offset table."""
    @property
    def first_seqno(self) -> int | None:
        """As in the first entry; None when the chunk holds none."""
    @property
    def entry_count(self) -> int: ...
    @property
    def partial_tail(self) -> tuple[int, int] | None:
        """(offset, bytes) of a half-written last entry of an open chunk."""
    @property
    def tail_damage(self) -> str | None:
        """Why that entry is not what a crash leaves, but was altered; None when it is, or when there is none."""
    def entries(self, start: int = 0, count: int | None = None) -> Iterator[Entry]:
        """Entries by position in the file, in order, read ahead in blocks."""
    def entry(self, position: int) -> Entry: ...

def first_difference(path_a: str, path_b: str) -> tuple[int, int, int] | None:
    """Compares the entries of two chunk files over the seqnos that both hold.

    Returns None when they are byte for byte equal there, else (seqno, offset in a, offset in b).
    """

def encode_public_domain(
    seqno: int,
    tables: dict[str, dict[bytes, bytes | None]],
    *,
    entry_type: int = 4,
    claims_digest: bytes | None = None,
    commit_evidence_digest: bytes | None = None,
    max_conflict_version: int = 0,
) -> bytes:
    """Serialises a public domain as CCF does: tables and keys ascending, None as a remove."""

def encode_private_domain(tables: dict[str, dict[bytes, bytes | None]]) -> bytes: ...
def seal_entry(
    view: int,
    seqno: int,
    public_domain: bytes,
    private_plaintext: bytes,
    ledger_secret: LedgerSecret | bytes,
    *,
    flags: int = 0,
) -> bytes:
    """A whole entry: AES-256-GCM under ``ledger_secret`` (32 bytes), IV = seqno, view; AAD = the public domain."""

def assemble_entry(
    view: int, seqno: int, public_domain: bytes, private_ciphertext: bytes, gcm_tag: bytes, *, flags: int = 0
) -> bytes: ...
def open_private_domain(entry: Entry, ledger_secret: LedgerSecret | bytes) -> bytes:
    """Authenticates the entry under ``ledger_secret`` and returns the private plaintext (empty if none).

    Raises:
        VerificationError: the tag does not hold.
    """

def open_private_domains(entries: Sequence[Entry], ledger_secrets: Sequence[LedgerSecret | None]) -> list[bytes | None]:
    """Authenticates many entries on all cores, each under its own ledger secret (None: leave it out).

    Each result is the private plaintext (empty if the entry has none), or None where there was no secret or the
    tag does not hold.
    """

def commit_evidence(ledger_secret: LedgerSecret | bytes, view: int, seqno: int) -> str:
    """``ce:<view>.<seqno>:<hex>`` (formats: commit evidence)."""

@final
class ChunkWriter:
    """Writes one chunk file byte for byte as CCF does: 8-byte header, entries, and on completion the offset table."""

    def __new__(cls, directory: str, first_seqno: int) -> ChunkWriter: ...
    def append(self, entry: bytes) -> None: ...
    def append_many(self, entries: Sequence[bytes]) -> None: ...
    def complete(self, *, committed: bool = True) -> str:
        """Appends the table, patches the header, syncs, renames to ``ledger_A-B[.committed]`` and returns the path."""
    def close(self) -> str:
        """Leaves the chunk open (no table) and returns the path."""
    @property
    def size(self) -> int: ...

# ---------------------------------------------------------------- key material

@final
class LedgerSecret:
    """A ledger secret, or a key that wraps one: 32 bytes, held by the core and wiped when this object goes.

    ``bytes(secret)`` makes a copy that nothing wipes; nothing else shows it. Secrets are compared in constant time.

    Raises:
        FormatError: ``value`` has another length (``secret-length``).
    """

    def __new__(cls, value: bytes) -> LedgerSecret:
        """Copies ``value``, which stays as it is: prefer :meth:`take` and :meth:`random`."""
    @staticmethod
    def take(buffer: bytearray) -> LedgerSecret:
        """Copies ``buffer`` and fills it with zeros, also when it is no secret."""
    @staticmethod
    def random() -> LedgerSecret: ...
    def wrap(self, other: LedgerSecret | bytes, iv: bytes | None = None) -> bytes:
        """Seals ``other`` under this one, AES-256-GCM: tag ‖ IV ‖ ciphertext, 60 bytes; IV of zeros unless given."""
    def unwrap(self, wrapped: bytes) -> LedgerSecret:
        """Opens what :meth:`wrap` sealed; ``FormatError``, or ``VerificationError`` when this is another key."""
    def __bytes__(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]  # -- it has none, so that no table is keyed by a secret

@final
class RecoveryShare:
    """One recovery share in clear, of either format; held by the core and wiped when this object goes."""

    @staticmethod
    def parse(data: bytes) -> RecoveryShare:
        """From the plaintext of a share; ``FormatError`` (``share-malformed``)."""
    @staticmethod
    def parse_text(text: str) -> RecoveryShare:
        """From hex or base64, as recovery scripts pass shares around."""
    @staticmethod
    def open(path: str) -> RecoveryShare:
        """From a file: hex, base64 or raw; ``UsageError`` (``share-malformed``), ``OSError``."""
    @property
    def x(self) -> int:
        """The point at which the polynomials were evaluated; 0 for a full share."""
    def serialise(self) -> bytes:
        """The 44 bytes of the newer format, in clear; ``FormatError`` for the older one, which is only read."""
    def __eq__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]  # -- as above

@final
class ShareDecryptionKey:
    """A member's RSA private key, to which shares are encrypted (RSA-OAEP, SHA-256, no label)."""

    @staticmethod
    def from_pem(pem: bytes) -> ShareDecryptionKey:
        """From PEM, PKCS #8 or PKCS #1, without a password; ``UsageError`` (``key-unreadable``, ``key-wrong-type``)."""
    @staticmethod
    def open(path: str) -> ShareDecryptionKey:
        """Likewise, from a file, which the core reads; ``OSError`` too."""
    def decrypt_share(self, encrypted: bytes) -> RecoveryShare | None:
        """The share, or None when it was encrypted to another key; ``FormatError`` when what it holds is no share."""
    def reveal_share(self, encrypted: bytes) -> bytes | None:
        """Likewise, in clear, whatever it holds."""

def read_ledger_secrets(path: str, default_start: int) -> dict[int, LedgerSecret]:
    """Reads a file of lines ``HEX`` or ``START:HEX``, by start; ``UsageError``, ``OSError``."""

def combine_shares(shares: Sequence[RecoveryShare], threshold: int) -> LedgerSecret:
    """Recovers the wrapping key. Shares beyond the threshold must lie on the polynomial that the first ones define.

    Raises:
        UsageError: too few distinct shares (``shares-too-few``).
        VerificationError: they do not belong together (``shares-inconsistent``, ``shares-box``).
    """

def split_shares(participants: int, threshold: int) -> tuple[LedgerSecret, RecoveryShare, list[RecoveryShare]]:
    """Draws a wrapping key: the key, the full share (x = 0), and shares 1 to ``participants``, ``threshold`` of which give it.

    Raises:
        UsageError: that cannot be (``threshold-out-of-range``).
    """

# ---------------------------------------------------------------- scanning a ledger

@final
class ScanFinding:
    """Something wrong, or worth a note, met while scanning."""

    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def file_index(self) -> int: ...
    @property
    def offset(self) -> int | None: ...
    @property
    def view(self) -> int | None: ...
    @property
    def seqno(self) -> int | None: ...

@final
class SignatureRecord:
    """A signature transaction, with what the fold found about it. Values are as claimed; signatures are not verified."""

    @property
    def seqno(self) -> int: ...
    @property
    def view(self) -> int: ...
    @property
    def file_index(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def root(self) -> bytes | None:
        """Root over leaves 0 … seqno-1, computed here; None when there was no tree to start from, or below level merkle."""
    @property
    def root_holds(self) -> bool:
        """Every root claimed in this transaction (node signature's ``root``, compact tree) equals the computed one."""
    @property
    def first_proven(self) -> int | None:
        """First seqno that this root covers and this run has hashed; moves when the scan had to start from an embedded tree."""
    @property
    def has_raw(self) -> bool: ...
    @property
    def has_cose(self) -> bool: ...
    @property
    def node_id(self) -> str | None:
        """Hex, from the raw signature."""
    @property
    def certificate_pem(self) -> bytes | None:
        """Embedded in the raw signature; absent in 1.x."""
    @property
    def raw_signature(self) -> bytes | None:
        """DER."""
    @property
    def raw_root(self) -> bytes | None: ...
    @property
    def cose(self) -> bytes | None:
        """The COSE_Sign1 as in the ledger."""
    @property
    def cose_kid(self) -> str | None:
        """Hex SHA-256 of the service key, as claimed; absent in early 6.0 builds."""
    @property
    def cose_algorithm(self) -> int | None: ...
    @property
    def cose_issuer(self) -> str | None: ...
    @property
    def cose_subject(self) -> str | None: ...
    @property
    def cose_issued_at(self) -> int | None: ...

@final
class ScanBatch:
    """A run of consecutive transactions of one file, in ledger order."""

    @property
    def file_index(self) -> int: ...
    @property
    def first_seqno(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def last_view(self) -> int: ...
    @property
    def last_offset(self) -> int: ...
    @property
    def signatures(self) -> list[SignatureRecord]: ...
    @property
    def notable(self) -> list[Entry]:
        """Transactions that write ``public:ccf.gov.*`` or ``public:ccf.internal.*``, pure signature transactions excepted."""
    @property
    def findings(self) -> list[ScanFinding]: ...
    @property
    def leaves(self) -> builtins.bytes:  # `bytes` is a property of this class
        """32 bytes a transaction; empty below level merkle."""
    @property
    def transaction_rows(self) -> TransactionRows | None:
        """Without covers, which :class:`CoverQueue` finds; None unless columns were asked for."""
    @property
    def write_rows(self) -> WriteRows | None: ...

@final
class LedgerScanner:
    """Frames, checks and hashes a sequence of chunk files on all cores; iterates over batches in ledger order.

    It checks: every size, header version and flags, offset tables, seqno continuity, view rules, the shape of
    every public domain, the shape of signature transactions, and each root against the computed tree.
    """

    def __new__(
        cls,
        paths: Sequence[str],
        *,
        level: str = "full",
        jobs: int = 0,
        tree: MerkleTree | None = None,
        first_seqno: int | None = None,
        previous_view: int | None = None,
        previous_was_signature: bool = False,
        last_seqnos: Sequence[int | None] | None = None,
        first_seqnos: Sequence[int | None] | None = None,
        columns: bool = False,
    ) -> LedgerScanner:
        """``tree`` is where to go on from (a checkpoint, or ``MerkleTree()`` at genesis); None: start from the first embedded tree.

        ``first_seqnos``/``last_seqnos`` give, per path, the part of it to use (a cover of overlapping files); entries outside are skipped.
        ``columns``: batches carry their rows, at levels merkle and full.
        """
    @staticmethod
    def from_scanned(
        outcomes: Iterable[bytes],
        *,
        level: str = "full",
        tree: MerkleTree | None = None,
        first_seqno: int | None = None,
        previous_view: int | None = None,
        previous_was_signature: bool = False,
    ) -> LedgerScanner:
        """The second half of a scan: over the outcomes of ``scan_file``, one a file, in ledger order.

        Outcomes are asked for as they are needed. Raises ``UndecidedError`` when one is malformed or was made by another version.
        """
    def start(self, signatures: SignatureBatch | None = None) -> None:
        """Begins to read, without waiting for the first batch to be asked for; does nothing if that has begun.

        With ``signatures``, node signatures are verified in it as they are met, under the key of the certificate beside
        them, until the first check is submitted to it. That decides nothing: only a check that is submitted has a verdict.
        """
    def __iter__(self) -> LedgerScanner: ...
    def __next__(self) -> ScanBatch: ...
    def tree(self) -> MerkleTree | None:
        """The tree after the last batch that was handed out: frontier form, for a checkpoint."""
    @property
    def transactions(self) -> int: ...
    @property
    def bytes_read(self) -> int: ...

def scan_file(
    path: str,
    *,
    level: str = "full",
    first_seqno: int | None = None,
    last_seqno: int | None = None,
    columns: bool = False,
) -> bytes:
    """The first half of a scan: frames, checks and hashes one file on one core, wherever it is called.

    The outcome is for ``LedgerScanner.from_scanned`` of the same version; it holds 64 bytes a transaction, the notable entries, and with ``columns`` the rows.
    """

# ---------------------------------------------------------------- export

CSV_TRANSACTIONS_HEADER: str
CSV_WRITES_HEADER: str

@final
class TransactionRows:
    """A row a transaction, as columns. What the scan has findings about has rows that mean nothing."""

    def __len__(self) -> int: ...
    @property
    def file_index(self) -> int: ...
    def buffers(self) -> dict[str, bytes]:
        """Arrow buffers by column: int64, uint8, 32-byte and bit-packed; ``txid`` is text with ``txid_offsets``; ``name?`` is the validity bitmap of ``name``."""
    def tuples(self, start: int, stop: int, file: int) -> list[tuple[int | bytes | None, ...]]:
        """Rows for a database: seqno, view, entry_type, flags, is_signature, file, offset, size, private_size, write_set_digest, commit_evidence_digest, claims_digest, leaf, signed_by."""
    def csv(self, start: int, stop: int, file: str) -> bytes: ...
    def jsonl(self, start: int, stop: int, file: str) -> bytes: ...

@final
class WriteRows:
    """A row a write or remove, as columns."""

    def __len__(self) -> int: ...
    @property
    def tables(self) -> list[str]:
        """Names of the tables that are written; rows hold an index into them."""
    def buffers(self) -> dict[str, bytes]:
        """Arrow buffers by column: ``view``, ``seqno`` int64; ``table`` int32; ``txid``, ``key`` and ``value`` with their ``…_offsets``; ``value?`` and ``removed`` bit-packed."""
    def tuples(self, start: int, stop: int, tables: Sequence[int]) -> list[tuple[int | bytes | None, ...]]:
        """Rows for a database: seqno, what ``tables`` has for the table, key, value (None for a remove)."""
    def csv(self, start: int, stop: int) -> bytes: ...
    def jsonl(self, start: int, stop: int) -> bytes: ...

@final
class CoverQueue:
    """Finds for each transaction the first signature transaction after it whose root is the computed one, over leaves that include its.

    Rows wait for it, up to half a million of them; then they go on without.
    """

    def __new__(cls) -> CoverQueue: ...
    def push(self, batch: ScanBatch) -> list[TransactionRows]:
        """The rows that need not wait any longer, in ledger order."""
    def finish(self) -> list[TransactionRows]:
        """Those that nothing covers."""

# ---------------------------------------------------------------- snapshots

@final
class SnapshotFile:
    @staticmethod
    def open(path: str) -> SnapshotFile: ...
    @staticmethod
    def parse(data: bytes) -> SnapshotFile: ...
    @property
    def seqno(self) -> int: ...
    @property
    def entry_digest(self) -> bytes:
        """SHA-256 of the entry without the receipt: what the snapshot evidence and its claims digest hold."""
    @property
    def hash_at_snapshot(self) -> bytes: ...
    @property
    def view_history(self) -> list[int]: ...
    @property
    def receipt(self) -> bytes:
        """What follows the entry; empty when there is nothing."""
    @property
    def entry_size(self) -> int: ...
    @property
    def private_domain(self) -> bytes: ...
    def table_names(self) -> list[str]: ...
    def table_version(self, name: str) -> int: ...
    def table(self, name: str) -> dict[bytes, tuple[int, bytes]]:
        """key -> (seqno of last write, value); tombstones (negative versions) left out."""

def encode_snapshot(
    seqno: int,
    hash_at_snapshot: bytes,
    view_history: Sequence[int],
    tables: dict[str, tuple[int, dict[bytes, tuple[int, bytes]]]],
    private_tables: dict[str, tuple[int, dict[bytes, tuple[int, bytes]]]],
    ledger_secret: LedgerSecret | bytes,
) -> bytes:
    """The snapshot entry as CCF writes it (keys in CCF's SipHash order), without a receipt."""

# ---------------------------------------------------------------- receipts

@final
class JsonReceipt:
    """A JSON write receipt or signature-transaction receipt, parsed strictly; snake_case or camelCase."""

    @staticmethod
    def parse(data: bytes) -> JsonReceipt: ...
    @staticmethod
    def parse_many(documents: Sequence[bytes]) -> list[JsonReceipt | FormatErrorValue]:
        """Parses on all cores; a document that is malformed yields a value that describes why, not an exception."""
    @property
    def signature(self) -> bytes: ...
    @property
    def path(self) -> list[tuple[bool, bytes]]: ...
    @property
    def leaf(self) -> bytes | None:
        """Given, or computed from the components; None while a claims digest is missing."""
    @property
    def leaf_given(self) -> bool: ...
    @property
    def write_set_digest(self) -> bytes | None: ...
    @property
    def commit_evidence(self) -> str | None: ...
    @property
    def claims_digest(self) -> bytes | None: ...
    @property
    def txid(self) -> str | None:
        """From the commit evidence text."""
    @property
    def node_id(self) -> str | None: ...
    @property
    def certificate_pem(self) -> str | None: ...
    @property
    def service_endorsements(self) -> list[str]: ...
    @property
    def is_signature_transaction(self) -> bool | None: ...
    @property
    def unknown_fields(self) -> list[str]:
        """Fields beside those of CCF; they carry nothing."""
    def leaf_with_claims(self, claims_digest: bytes) -> bytes:
        """The leaf of these components with a claims digest that the caller knows; ``ValueError`` if the leaf is given."""
    def leaf_without_claims(self) -> bytes:
        """Leaf of an entry that has commit evidence but no claims (entry type 3)."""
    def root(self, leaf: bytes) -> bytes: ...
    def shape_fits(self, leaf_index: int) -> bool:
        """Whether some tree size gives leaf ``leaf_index`` a path with these directions (formats: path shape)."""
    def tree_sizes(self, leaf_index: int) -> tuple[int, int] | None:
        """Smallest and largest of the tree sizes (= seqnos of the signature transaction) that do; None when none does."""

@final
class FormatErrorValue:
    """Why a document could not be parsed."""

    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def offset(self) -> int | None: ...
    @property
    def is_limit(self) -> bool:
        """Whether a limit of ours stopped the work: neither well-formed nor malformed."""

@final
class CoseProof:
    """One inclusion proof: ``{1: [write set digest, commit evidence, claims digest], 2: [[left, hash], …]}``."""

    @staticmethod
    def parse(data: bytes) -> CoseProof:
        """Parses a proof on its own, as a node hands it out; its path must have a shape that its leaf can have."""
    @property
    def write_set_digest(self) -> bytes: ...
    @property
    def commit_evidence(self) -> str: ...
    @property
    def claims_digest(self) -> bytes: ...
    @property
    def txid(self) -> str: ...
    @property
    def leaf(self) -> bytes: ...
    @property
    def path(self) -> list[tuple[bool, bytes]]: ...
    @property
    def root(self) -> bytes: ...

@final
class CoseReceipt:
    """A COSE receipt of the CCF profile (RFC 9942, draft-ietf-scitt-receipts-ccf-profile): vds 2, one or more inclusion proofs.

    Parsing checks that each path has the shape which its leaf (seqno in the commit evidence) has in the tree that was
    signed (seqno in ``ccf.v1`` / ``txid``).
    """

    @staticmethod
    def parse(data: bytes) -> CoseReceipt: ...
    @property
    def sign1(self) -> CoseSign1: ...
    @property
    def kid(self) -> bytes | None: ...
    @property
    def issuer(self) -> str | None: ...
    @property
    def subject(self) -> str | None: ...
    @property
    def issued_at(self) -> int | None: ...
    @property
    def signature_txid(self) -> str | None:
        """``ccf.v1`` / ``txid``: that of the signature transaction."""
    @property
    def proofs(self) -> list[CoseProof]: ...

# ---------------------------------------------------------------- governance scripts

GOVERNANCE_PLACEHOLDER: str
"""Pattern of the text that stands, in replayed writes, for what only the service could make; group 1: index into ``effects``."""

@final
class ScriptFailure:
    """Why a script gave no value."""

    @property
    def kind(self) -> str:
        """``compile``, ``evaluate``, ``export``, ``exception``, ``timed-out`` or ``engine``."""
    @property
    def message(self) -> str: ...
    @property
    def trace(self) -> str | None: ...

@final
class GovernanceTables:
    """Public tables as of the last update; what was submitted to a replayer keeps the state that it was given."""

    def __init__(self) -> None: ...
    def update(self, seqno: int, writes: dict[str, dict[bytes, bytes | None]]) -> None: ...
    def copy(self) -> GovernanceTables:
        """The same state, to be kept while this one goes on; cheap."""
    def get(self, table: str, key: bytes) -> bytes | None: ...
    def version(self, table: str, key: bytes) -> int | None:
        """Seqno of the transaction that wrote ``key`` last."""
    def items(self, table: str) -> list[tuple[bytes, bytes]]:
        """Ascending by key."""
    def size(self, table: str) -> int: ...
    def names(self) -> list[str]: ...

@final
class GovernanceOutcome:
    """What the scripts of one step in the life of a proposal gave."""

    @property
    def validation(self) -> tuple[bool, str] | ScriptFailure | None:
        """Whether ``validate`` said valid, and its description; None when it was not asked for."""
    @property
    def votes(self) -> dict[str, bool]: ...
    @property
    def vote_failures(self) -> dict[str, ScriptFailure]: ...
    @property
    def resolution(self) -> str | ScriptFailure | None:
        """What ``resolve`` returned, as text; None only when ``stuck``."""
    @property
    def writes(self) -> dict[str, dict[bytes, bytes | None]] | ScriptFailure | None:
        """What ``apply`` wrote; None when it was not asked for."""
    @property
    def effects(self) -> list[tuple[str, str]]:
        """What ``apply`` asked of the service: name of the function, arguments as a JSON array."""
    @property
    def unrepeatable(self) -> list[str]:
        """Sources of values used that no replay can repeat: ``Date``, ``Math.random``."""
    @property
    def stuck(self) -> str | None:
        """Names the script that could be neither ended nor interrupted; what follows it was not run."""

@final
class GovernanceReplayer:
    """Runs ``validate``, ballots, ``resolve`` and ``apply`` on all cores, each in a context of its own, within budgets."""

    def __new__(
        cls,
        *,
        jobs: int = 0,
        max_pending: int = 64,
        max_heap_bytes: int = ...,
        max_stack_bytes: int = ...,
        max_time_ms: int = ...,
    ) -> GovernanceReplayer:
        """``jobs`` 0 means one worker a core. The budgets hold for each call of a script; the defaults are CCF's."""
    def submit(
        self,
        tables: GovernanceTables,
        *,
        constitution: str,
        proposal_id: str,
        proposal: bytes,
        proposer_id: str,
        ballots: dict[str, str],
        before_resolve: dict[str, dict[bytes, bytes | None]],
        before_apply: dict[str, dict[bytes, bytes | None]],
        validate: bool,
        apply: bool,
        ledger_secret_seqno: int,
        delete_answers: bool = False,
    ) -> None:
        """Queues one step; waits while the queue is full.

        Raises:
            LimitExceededError: too many scripts could not be interrupted.
        """
    def outcomes(self) -> list[GovernanceOutcome]:
        """Those that are ready, in the order of submission."""
    def finish(self) -> list[GovernanceOutcome]:
        """Waits for all that is pending.

        When it raises, what was ready is still to be had from ``outcomes``.

        Raises:
            LimitExceededError: too many scripts could not be interrupted.
        """
    @property
    def pending(self) -> int: ...

# ---------------------------------------------------------------- governance of a running node

@final
class NodeGovernance:
    """Runs the constitution and ballots over open transactions, each call on a thread of its own.

    ``limits``: heap bytes, stack bytes, milliseconds. ``console(method, line)`` gets what scripts log. A call that
    gives no value returns a :class:`ScriptFailure`.
    """

    def __init__(self) -> None: ...
    def validate(
        self,
        transaction: NodeTransaction,
        constitution: str,
        proposal: str,
        *,
        limits: tuple[int, int, int],
        console: Callable[[str, str], object] | None = None,
    ) -> tuple[bool, str] | ScriptFailure | None:
        """Whether valid, and the description; None when ``validate`` returned no object."""
    def vote(
        self,
        transaction: NodeTransaction,
        ballot: str,
        proposal: str,
        proposer: str,
        *,
        name: str,
        limits: tuple[int, int, int],
        console: Callable[[str, str], object] | None = None,
    ) -> bool | ScriptFailure:
        """What the ballot says; ``name`` is what traces call it."""
    def resolve(
        self,
        transaction: NodeTransaction,
        constitution: str,
        proposal: str,
        proposer: str,
        votes: dict[str, bool],
        proposal_id: str,
        *,
        limits: tuple[int, int, int],
        console: Callable[[str, str], object] | None = None,
    ) -> str | ScriptFailure:
        """What ``resolve`` returned, as text."""
    def apply(
        self,
        transaction: NodeTransaction,
        constitution: str,
        proposal: str,
        proposal_id: str,
        *,
        effect: Callable[[str, str], int | str | None],
        limits: tuple[int, int, int],
        console: Callable[[str, str], object] | None = None,
    ) -> ScriptFailure | None:
        """Runs ``apply``; ``effect(function, arguments as a JSON array)`` answers privileged functions."""

# ---------------------------------------------------------------- a node's data plane

class ConflictError(Exception):
    """A transaction read something that has changed since: run it again."""

@final
class NodeTransaction:
    """An open transaction: reads see one snapshot and the transaction's own writes. Dropping it leaves no trace.

    Methods that take a map raise ``ValueError`` when no map can have that name.
    """

    def get(self, map: str, key: bytes) -> bytes | None: ...
    def set(self, map: str, key: bytes, value: bytes) -> None: ...
    def remove(self, map: str, key: bytes) -> None:
        """Removes ``key``; the removal is recorded even when the key is absent, as CCF does."""
    def clear(self, map: str) -> None:
        """Removes every visible key."""
    def entries(self, map: str) -> list[tuple[bytes, bytes]]:
        """Every visible key and value, ascending by key. Any change of the map then conflicts."""
    def size(self, map: str) -> int:
        """Number of visible keys. Any change of the map then conflicts."""
    def version_of_previous_write(self, map: str, key: bytes) -> int | None:
        """Seqno at which the visible value was written; None for absent keys and the transaction's own writes."""
    def writes(self) -> dict[str, dict[bytes, bytes | None]]:
        """The changes so far; None is a removal."""
    @property
    def read_only(self) -> bool:
        """Whether it changes nothing."""
    @property
    def untouched(self) -> bool:
        """Whether it touched no map at all."""
    @property
    def root(self) -> bytes | None:
        """Merkle root over everything up to the snapshot, when ``begin_with_root`` opened it."""

@final
class NodeRequest:
    """A request, read whole and within the limits of its interface."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str:
        """As sent, still percent-encoded, without the query."""
    @property
    def query(self) -> str:
        """As sent, without the question mark; empty when there is none."""
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name."""
    @property
    def interface(self) -> str:
        """Name of the interface."""
    @property
    def session_id(self) -> int:
        """Of the connection, unique within the process."""
    @property
    def client_certificate(self) -> bytes | None:
        """DER of the certificate whose key the client proved to hold; nothing else about it was judged."""

@final
class NodeSnapshot:
    """The state after a committed signature transaction."""

    @property
    def seqno(self) -> int:
        """Seqno of that signature transaction."""
    def encode(self) -> bytes:
        """The snapshot as CCF writes it, private maps encrypted, without a receipt."""

@final
class NodeRecovery:
    """What a recovery found in the ledger that it took over."""

    @property
    def last(self) -> tuple[int, int]:
        """View and seqno of the last transaction taken over, which is a signature transaction."""
    @property
    def last_root(self) -> bytes:
        """Root that the last signature is over."""
    @property
    def links(self) -> list[tuple[int, bytes]]:
        """Writes of ``historical_encrypted_ledger_secret``, in order: seqno and value."""
    @property
    def stopped(self) -> str | None:
        """Why not everything was taken over; None if it was."""

@final
class RootSigner:
    """Keys of a node and of its service, which sign Merkle roots. Safe to use from several threads."""

    def __new__(cls, service_key: bytes, *, node_key: bytes | None, node_id: str, certificate: str) -> RootSigner:
        """Takes EC keys on P-256 or P-384, PKCS #8 DER; without ``node_key`` only the service signs.

        ``certificate`` is the node's, PEM. Issuer and subject are empty until :meth:`use_claims`.

        Raises:
            ValueError: a key is of another kind.
        """
    def use_certificate(self, certificate: str) -> None:
        """The node's certificate, PEM, that signatures carry from the next one on."""
    def use_claims(self, issuer: str, subject: str) -> None:
        """Issuer and subject that the service's signatures state from the next one on."""
    def sign(self, root: bytes, view: int, seqno: int) -> tuple[bytes, bytes, str, str]:
        """Signs a root of 32 bytes as of signature transaction ``view.seqno``.

        Returns:
            The node's ECDSA signature over the root used as a digest (DER; empty without a node key), the service's
            COSE_Sign1 with the root detached, the node's ID, its certificate.

        Raises:
            RuntimeError: a key refuses.
        """

@final
class NodeRuntime:
    """The data plane of one node: store, sequencer, ledger files, HTTP front. Threads of its own, no GIL needed."""

    def __new__(
        cls,
        ledger_directory: str | os.PathLike[str],
        ledger_secret: LedgerSecret | bytes,
        signer: RootSigner,
        observer: Callable[[int, int, str | None], object],
        *,
        read_only_directories: Sequence[str | os.PathLike[str]] = ...,
        view: int = 2,
        signature_tx_count: int = 5000,
        signature_delay_ms: int = 1000,
        chunk_size: int = 5_000_000,
        max_uncommitted: int = 10_000,
        cose_only: bool = False,
        sync: bool = True,
    ) -> NodeRuntime:
        """Starts a new service's data plane: an empty ledger directory, ``ledger_secret`` (32 bytes) from seqno 1 on.

        ``observer(view, seqno, None)`` hears of each batch that is committed, ``observer(0, 0, text)`` of
        trouble with the ledger. It is called on a thread of the runtime.

        Raises:
            ValueError: the secret is not 32 bytes long.
            RuntimeError: the ledger directory is not empty or cannot be written.
        """
    @staticmethod
    def recover(
        ledger_directory: str | os.PathLike[str],
        ledger_secret: LedgerSecret | bytes,
        signer: RootSigner,
        observer: Callable[[int, int, str | None], object],
        judge: Callable[[bytes, int, int, bytes | None, bytes | None, bytes | None], object],
        accept: Callable[[int, int], object],
        *,
        read_only_directories: Sequence[str | os.PathLike[str]] = ...,
        signature_tx_count: int = 5000,
        signature_delay_ms: int = 1000,
        chunk_size: int = 5_000_000,
        max_uncommitted: int = 10_000,
        cose_only: bool = False,
        sync: bool = True,
    ) -> tuple[NodeRuntime, NodeRecovery]:
        """Takes over the ledger in the directories: its public part, as far as its signatures are genuine.

        ``judge(root, view, seqno, signatures, cose_signatures, service_info)`` hears of each signature
        transaction, with the root over everything before it and three rows as they were then; it raises when the
        signature is not genuine. ``accept(view, seqno)`` hears of the last genuine one before anything is changed, and
        may raise. What follows the last genuine one is cut off. The node goes on two views later,
        under ``ledger_secret``; names of new chunks end in ``.recovery`` until :meth:`finish_recovery`.

        Raises:
            ValueError: the secret is not 32 bytes long.
            RuntimeError: no signature is genuine, or the files cannot be read or changed.
        """
    def recover_private(self, secrets: Sequence[tuple[int, LedgerSecret | bytes]]) -> None:
        """Reads the private part of the ledger that was taken over, under secrets by the seqno each is valid from.

        Raises:
            ValueError: a secret is not 32 bytes long.
            RuntimeError: a secret is missing or wrong, or an entry is not the one that was read before.
        """
    def finish_recovery(self) -> None:
        """Chunks written since the recovery began lose the mark of it in their names."""
    def begin(self) -> NodeTransaction: ...
    def begin_with_root(self) -> NodeTransaction:
        """A transaction that also knows the Merkle root over its snapshot."""
    def commit(
        self,
        transaction: NodeTransaction,
        *,
        claims_digest: bytes | None = None,
        close_chunk: bool = False,
        close_before: bool = False,
        install_secret: LedgerSecret | bytes | None = None,
    ) -> tuple[int, int]:
        """Commits locally and returns view and seqno; the batch that holds it is committed later.

        Without writes, the result is the version that was read. ``close_chunk`` ends the ledger chunk at the
        next signature transaction, ``close_before`` before this transaction. ``install_secret`` is the ledger
        secret (32 bytes) from the next transaction on.

        Raises:
            ConflictError: run it again from ``begin``.
            ValueError: a digest or secret of another length.
            RuntimeError: the runtime has stopped, or the root cannot be signed.
        """
    def sign_pending(self) -> tuple[int, int] | None:
        """Emits a signature transaction now, if anything waits for one."""
    def schedule_snapshots(self, interval: int) -> None:
        """Takes a snapshot every ``interval`` transactions; 0: only when asked."""
    def force_snapshot(self) -> None:
        """Takes a snapshot at the next signature transaction."""
    def take_snapshot(self) -> NodeSnapshot | None:
        """The oldest snapshot that is committed and not taken yet."""
    def wait_committed(self, seqno: int, timeout_ms: int) -> bool:
        """Whether ``seqno`` is committed by then. Releases the GIL."""
    def status(self, view: int, seqno: int) -> str:
        """``Unknown``, ``Pending``, ``Committed`` or ``Invalid``."""
    def view_at(self, seqno: int) -> int | None: ...
    def view_history(self) -> list[int]:
        """First seqno of each view; view v is at index v - 1."""
    @property
    def committed(self) -> tuple[int, int]:
        """View and seqno of the last committed transaction."""
    @property
    def last_seqno(self) -> int:
        """Last transaction executed here, committed or not."""
    @property
    def last_signature(self) -> int | None:
        """Seqno of the last signature transaction, committed or not."""
    @property
    def saturated(self) -> bool:
        """Whether so much waits for commit that writers should be told to come back later."""
    def latest_secret(self) -> tuple[int, bytes] | None:
        """First seqno and bytes of the newest ledger secret."""
    def secret_at(self, seqno: int) -> bytes | None:
        """The ledger secret in force at ``seqno``."""
    def evidence(self, view: int, seqno: int) -> tuple[bytes, bytes, int, str] | None:
        """Entry, covering signature's entry, its seqno, and commit evidence; None while it is not committed."""
    def read_entry(self, seqno: int) -> bytes:
        """The ledger entry of ``seqno``, header included.

        Raises:
            RuntimeError: no ledger file holds it, or the file is damaged.
        """
    def committed_chunks(self) -> list[tuple[int, int, pathlib.Path]]:
        """First and last seqno and path of each committed chunk, ascending."""
    def set_identity(self, identity: str, certificate_pem: str, private_key_pem: str) -> None:
        """What the interfaces that share ``identity`` present from the next handshake on. Empty until it is set.

        Raises:
            RuntimeError: a PEM cannot be read, or certificate and key do not fit.
        """
    def serve(
        self,
        interfaces: Sequence[tuple[str, str, str, str | None, dict[str, int]]],
        handler: Callable[[NodeRequest], tuple[int, list[tuple[str, str]], bytes, bool]],
        workers: int,
        *,
        app_log: tuple[int, int, bool] | None = None,
        app_gate: Callable[[str, str, str], tuple[int, str | None, str] | None] | None = None,
    ) -> list[tuple[str, str]]:
        """Opens interfaces and returns the name and bound address of each.

        Endpoints of the installed application are answered in native code; ``handler`` answers everything else.
        ``app_log`` says where the application's log lines go: file descriptor, least level (as in
        :class:`tallystick.node.log.Level`) and whether as JSON; without it they go nowhere. ``app_gate`` is given an
        interface, the path template of an endpoint and its redirection strategy, and says why that interface does
        not serve it: status, error code (None: no body) and message. It is asked once for each.

        An interface is its name, address, ``HTTP1`` or ``HTTP2``, name of its TLS identity (None: plain TCP) and
        limits by their names in CCF's configuration, with ``idle_timeout_ms`` (0: never). ``handler`` returns
        status, headers, body and whether to close the connection; it runs on up to ``workers`` threads.

        Raises:
            ValueError: an address or limit that is not one.
            RuntimeError: an address cannot be bound.
        """
    def session_counters(self) -> list[tuple[str, int, int, int, int, int]]:
        """Per interface: name, open sessions, most at once, parsing errors, bodies too large, headers too large."""
    def stop(self) -> None:
        """Closes the interfaces, signs and writes what is pending, ends every thread. Calling it again does nothing."""
