"""The official names over this engine: what scripts rely on, and what is refused with which exception."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from support import slow
from support.mutation import COSE_SIGNATURES, SIGNATURES, LedgerCopy, reassemble
from support.services import base, entries_after, new_service, outsider, recovered_base, write_some
from tallystick.compat import ccf
from tallystick.demo.receipts import cose_receipt, json_receipt

FULL = ccf.ledger.VerificationLevel.FULL
MERKLE = ccf.ledger.VerificationLevel.MERKLE


def validate(*paths: Path, level: object = FULL, **options: object) -> object:
    validator = ccf.ledger.LedgerValidator(verification_level=level, **options)
    for chunk in ccf.ledger.Ledger([str(path) for path in paths], committed_only=False):
        for transaction in chunk:
            validator.add_transaction(transaction)
    return validator


@pytest.fixture
def copy(tmp_path: Path) -> LedgerCopy:
    return base("6.x").copy(tmp_path / "ledger")


# ------------------------------------------------------------------------------------------------ imports


def test_modules_come_when_they_are_used() -> None:
    program = (
        "import sys\n"
        "from tallystick.compat import ccf\n"
        "assert 'tallystick.compat.ccf.ledger' not in sys.modules\n"
        "print(ccf.tx_id.TxID.from_str('2.15'), ccf.ledger.NodeStatus.TRUSTED.value)\n"
        "import tallystick.compat.ccf.ledger as ledger\n"
        "assert ledger is ccf.ledger and 'cryptography' not in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "2.15 Trusted\n"), run.stderr
    with pytest.raises(AttributeError):
        _ = ccf.nothing


def test_names_that_moved_warn() -> None:
    with pytest.warns(DeprecationWarning, match=r"import InvalidRootException from ccf\.signatures"):
        moved = ccf.ledger.InvalidRootException
    assert moved is ccf.signatures.InvalidRootException
    with pytest.raises(AttributeError):
        _ = ccf.ledger.nothing


# ----------------------------------------------------------------------------------------------- validator


@pytest.mark.parametrize("style", ["1.x", "2.x", "4.x", "6.x", "7.x"])
def test_valid_ledgers_of_every_style(style: str) -> None:
    forged = recovered_base(style)
    validator = validate(forged.directory)

    last = max(entry.seqno for entry in slow.read_ledger(forged.directory))
    assert validator.transaction_count == last
    assert validator.last_verified_txid().seqno == last
    assert validator.service_status == "Open"


def _signature_flipped(copy: LedgerCopy, table: str) -> None:
    place = copy.find(lambda entry: table in entry.tables and entry.seqno > 10)
    value = place.entry.tables[table][bytes(8)] or b""
    marker = value.index(b'"sig":"') + 40 if table == SIGNATURES else len(value) - 40
    at = place.entry.offset + place.entry.raw.index(value) + marker
    # Another base64 digit, so that it is the signature that is wrong and not its encoding.
    data = bytearray(place.path.read_bytes())
    data[at] = ord("B") if data[at] != ord("B") else ord("C")
    place.path.write_bytes(data)


def _transaction_flipped(copy: LedgerCopy) -> None:
    copy.flip_in(copy.find(lambda entry: "public:records" in entry.tables), b"public value")


def _signed_by_an_outsider(copy: LedgerCopy) -> None:
    forge = outsider(copy, copy.directory.parent / "scratch")
    write_some(forge, 1)
    forge.sign()
    copy.append(entries_after(forge, 26))


def _out_of_order(copy: LedgerCopy) -> None:
    path = copy.middle_chunk
    entries = [entry.raw for entry in copy.entries(path)]
    copy.write(path, [*entries[:4], entries[5], entries[4], *entries[6:]])


def _other_version(copy: LedgerCopy) -> None:
    place = copy.place(20)
    copy.replace(20, reassemble(place.entry, version=2))


@pytest.mark.parametrize(
    ("spoil", "exception", "verified"),
    [
        (lambda copy: _signature_flipped(copy, SIGNATURES), "InvalidRootSignatureException", 9),
        (lambda copy: _signature_flipped(copy, COSE_SIGNATURES), "InvalidRootCoseSignatureException", 9),
        (_transaction_flipped, "InvalidRootException", 13),
        (_signed_by_an_outsider, "UntrustedNodeException", 26),
        (_out_of_order, "ValueError", 2),
        (_other_version, "ValueError", 18),
    ],
)
def test_exceptions(spoil: Callable[[LedgerCopy], None], exception: str, verified: int, copy: LedgerCopy) -> None:
    spoil(copy)
    expected = getattr(ccf.signatures, exception, ValueError)
    validator = ccf.ledger.LedgerValidator()

    with pytest.raises(expected, match=r"\w") as raised:
        _add_all(validator, copy)

    assert str(copy.directory) in str(raised.value) or exception == "ValueError"
    assert validator.last_verified_txid().seqno == verified


def _add_all(validator: ccf.ledger.LedgerValidator, copy: LedgerCopy) -> None:
    for transaction in ccf.ledger.Ledger([str(copy.directory)], committed_only=False).transactions():
        validator.add_transaction(transaction)


def test_after_a_failure_nothing_is_verified(copy: LedgerCopy) -> None:
    _transaction_flipped(copy)
    validator = ccf.ledger.LedgerValidator()
    failures = 0
    for transaction in ccf.ledger.Ledger([str(copy.directory)], committed_only=False).transactions():
        try:
            validator.add_transaction(transaction)
        except ccf.signatures.InvalidRootException:
            failures += 1

    assert failures == 26 - 18 + 1
    assert validator.last_verified_txid().seqno == 13


def test_a_transaction_left_out(copy: LedgerCopy) -> None:
    validator = ccf.ledger.LedgerValidator()
    transactions = list(ccf.ledger.Ledger([str(copy.directory)]).transactions())
    validator.add_transaction(transactions[0])
    with pytest.raises(ValueError, match="expected seqno 2 next"):
        validator.add_transaction(transactions[2])


def test_one_chunk_alone(copy: LedgerCopy) -> None:
    """At MERKLE the first signature's tree is where to begin; at FULL the signer is not known."""
    assert validate(copy.middle_chunk, level=MERKLE).last_verified_txid().seqno == 13
    with pytest.raises(ccf.signatures.UntrustedNodeException):
        validate(copy.middle_chunk)
    _transaction_flipped(copy)
    with pytest.raises(ccf.signatures.InvalidRootException):
        validate(*copy.chunks[2:], level=MERKLE)


def test_levels_below_merkle(copy: LedgerCopy) -> None:
    _transaction_flipped(copy)
    for level in (ccf.ledger.VerificationLevel.NONE, ccf.ledger.VerificationLevel.HEADERS):
        validator = validate(copy.directory, level=level)
        assert str(validator.last_verified_txid()) == "0.0"
        assert (validator.transaction_count, validator.signature_count) == (26, 6)


def test_deprecated_entry_types() -> None:
    validate(recovered_base("4.x").directory, accept_deprecated_entry_types=False)
    with pytest.raises(AssertionError, match="entry type 0"):
        validate(recovered_base("1.x").directory, accept_deprecated_entry_types=False)


def test_transactions_of_other_classes(copy: LedgerCopy) -> None:
    class Mine:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def get_raw_tx(self) -> bytes:
            return self._data

    validator = ccf.ledger.LedgerValidator()
    for entry in slow.read_ledger(copy.directory):
        validator.add_transaction(Mine(entry.raw))
    assert str(validator.last_verified_txid()) == "2.26"
    with pytest.raises(ValueError, match=r"\w"):
        validator.add_transaction(Mine(b"nothing of use"))


def test_the_scratch_file_goes(copy: LedgerCopy) -> None:
    from tallystick.compat.ccf._validation import Validation

    validation = Validation(full=True)
    path = Path(validation._path)
    assert path.exists()
    del validation
    gc.collect()
    assert not path.exists()


# ------------------------------------------------------------------------------------------ chunks, ledgers


def test_half_written_transactions(copy: LedgerCopy) -> None:
    data = copy.open_chunk.read_bytes()
    copy.open_chunk.write_bytes(data[:-7])
    chunk = ccf.ledger.LedgerChunk(str(copy.open_chunk))

    assert len(chunk) == 3
    assert str(chunk[1].get_txid()) == "2.25"
    for wrong in (2, -1):
        with pytest.raises(ValueError, match="bytes are available"):
            _ = chunk[wrong]
    with pytest.raises(ValueError, match="bytes are available"):
        list(chunk)
    with pytest.raises(ValueError, match="extends beyond file size"):
        ccf.ledger.LedgerChunk(str(copy.open_chunk), ccf.ledger.VerificationLevel.OFFSETS)
    with pytest.warns(RuntimeWarning, match="state after seqno 25 only"):
        state, seqno = ccf.ledger.Ledger([str(copy.directory)], committed_only=False).get_latest_public_state()
    assert seqno == 25
    assert state["public:ccf.gov.service.info"]


def test_indexes(copy: LedgerCopy) -> None:
    ledger = ccf.ledger.Ledger([str(copy.directory)])
    chunk = ledger[1]
    assert [str(x.get_txid()) for x in chunk[-2:]] == ["2.12", "2.13"]
    assert [c.get_seqnos() for c in ledger[::2]] == [(1, 2), (14, 23)]
    with pytest.raises(IndexError):
        _ = chunk[11]
    with pytest.raises(KeyError):
        _ = chunk["3"]
    with pytest.raises(KeyError):
        _ = ledger["3"]
    with pytest.raises(ccf.ledger.UnknownTransaction):
        ledger.get_transaction(24)
    with pytest.raises(ValueError, match="1 or more"):
        ledger.get_transaction(0)


def test_gaps_and_suffixes(copy: LedgerCopy) -> None:
    copy.middle_chunk.unlink()
    with pytest.raises(ValueError, match="not contiguous"):
        ccf.ledger.Ledger([str(copy.directory)])
    suffix = ccf.ledger.Ledger([str(copy.directory)], contiguous_suffix=True)
    assert [chunk.get_seqnos() for chunk in suffix] == [(14, 23)]


def test_copies_must_be_equal(copy: LedgerCopy, tmp_path: Path) -> None:
    other = tmp_path / "ledger_3"
    other.mkdir()
    shutil.copy(copy.middle_chunk, other)

    # The directory's name holds that of a chunk; it is names of files that are compared.
    ledger = ccf.ledger.Ledger([str(other), str(copy.directory)])
    assert len(ledger) == 3

    copy.flip(other / copy.middle_chunk.name, 200)
    with pytest.raises(ValueError, match="differs from"):
        ccf.ledger.Ledger([str(copy.directory), str(other)])


@pytest.mark.parametrize(
    "name", ["ledger_103-113.committed", "ledger_3-14.committed", "ledger_3-12.committed", "notes"]
)
def test_names_must_fit(name: str, copy: LedgerCopy) -> None:
    path = copy.directory / name
    copy.middle_chunk.rename(path)
    with pytest.raises(ValueError, match=r"\w"):
        ccf.ledger.LedgerChunk(str(path))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a ledger directory or ledger chunk"):
        ccf.ledger.Ledger([str(tmp_path / "nowhere")])
    with pytest.raises(FileNotFoundError):
        ccf.ledger.LedgerChunk(str(tmp_path / "ledger_1"))
    (tmp_path / "ledger_1").write_bytes(b"short")
    with pytest.raises(ValueError, match="expected 8 bytes"):
        ccf.ledger.LedgerChunk(str(tmp_path / "ledger_1"))
    assert ccf.ledger.get_range_from_file(str(tmp_path / "ledger_1")) == (1, None)


def test_layout_is_walked_from_offsets_on(copy: LedgerCopy) -> None:
    path = copy.middle_chunk
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ValueError, match="offset table"):
        list(ccf.ledger.Ledger([str(copy.directory)], verification_level=ccf.ledger.VerificationLevel.OFFSETS))


def test_malformed_domains_are_value_errors() -> None:
    domain = slow.encode_public_domain(3, {"public:a": {b"k": b"v"}})
    assert ccf.ledger.PublicDomain(domain).get_tables() == {"public:a": {b"k": b"v"}}
    for wrong in (b"", domain[:-1], b"\x09" + domain[1:], domain[:20]):
        with pytest.raises(ValueError, match=r"\w"):
            ccf.ledger.PublicDomain(wrong)


def test_entries_are_context_managers(copy: LedgerCopy) -> None:
    with ccf.ledger.Ledger([str(copy.directory)]).get_transaction(3) as transaction:
        again = ccf.ledger.Transaction(ccf.ledger.SimpleBuffer("bytes", b"??" + transaction.get_raw_tx(), 2))
    assert again.get_offsets() == (2, transaction.get_len())
    assert again.get_tx_digest() == transaction.get_tx_digest()
    with pytest.raises(TypeError):
        ccf.ledger.Entry()


# ------------------------------------------------------------------------------------------------ receipts


def test_receipts(tmp_path: Path) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.x509 import load_pem_x509_certificate

    service = new_service(tmp_path / "ledger", "6.x")
    service.genesis()
    service.open()
    write_some(service)
    service.sign()
    seqno = service.last_signed.seqno - 1
    certificate = load_pem_x509_certificate(service.service.certificate.encode())
    other = load_pem_x509_certificate(base("6.x").certificates[0])
    receipt = cose_receipt(service, seqno)

    assert ccf.receipt.verify_cose(receipt, certificate.public_key(), bytes(32))[395] == 2
    with pytest.raises(ValueError, match="claims digest"):
        ccf.receipt.verify_cose(receipt, certificate.public_key(), b"\x01" * 32)
    with pytest.raises(ValueError, match="not signed by the key"):
        ccf.receipt.verify_cose(receipt, other.public_key(), bytes(32))
    flipped = bytearray(receipt)
    flipped[-40] ^= 1
    with pytest.raises(ccf.signatures.InvalidRootCoseSignatureException):
        ccf.receipt.verify_cose(bytes(flipped), certificate.public_key(), bytes(32))
    with pytest.warns(DeprecationWarning, match="verify_cose"):
        ccf.cose.verify_receipt(receipt, certificate.public_key(), bytes(32))

    document = json.loads(json_receipt(service, seqno))
    node = load_pem_x509_certificate(document["cert"].encode())
    ccf.receipt.check_endorsements(node, certificate, [])
    with pytest.raises(InvalidSignature):
        ccf.receipt.check_endorsement(node, other)
    with pytest.raises(InvalidSignature):
        ccf.receipt.verify("00" * 32, document["signature"], node)


@pytest.mark.parametrize(
    "proof", [[{"left": "00"}], [{"middle": "00" * 32}], [{}], [{"left": "00" * 32, "right": "00" * 32}]]
)
def test_malformed_paths(proof: list[dict[str, str]]) -> None:
    with pytest.raises(ValueError, match=r"digest|step"):
        ccf.receipt.root("00" * 32, proof)


def test_snapshots_that_do_not_hold(tmp_path: Path) -> None:
    (tmp_path / "snapshot_1_2.committed").write_bytes(b"")
    (tmp_path / "snapshot_3_4").write_bytes(b"nothing of use" * 9)
    for path in tmp_path.iterdir():
        with pytest.raises(ccf.ledger.InvalidSnapshotException):
            ccf.ledger.Snapshot(str(path))


# ---------------------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize("value", [b"{}", b"[]", b"1", b'{"node": 1}', b"{", b"\xff", b"[" * 100_000])
def test_malformed_signature_values(value: bytes) -> None:
    tables = {SIGNATURES: {bytes(8): value}, COSE_SIGNATURES: {bytes(8): value}}
    with pytest.raises(ValueError, match=r"\w"):
        ccf.signatures.parse_raw_signature_from_tx(tables)
    with pytest.raises(ValueError, match=r"\w"):
        ccf.signatures.parse_cose_signature_from_tx(tables)


def test_no_signature_is_none() -> None:
    assert ccf.signatures.parse_raw_signature_from_tx({}) is None
    assert ccf.signatures.parse_cose_signature_from_tx({COSE_SIGNATURES: {b"other": b"row"}}) is None
    assert not ccf.signatures.is_signature_transaction({"public:a": {}})


def test_a_signature_made_elsewhere_must_hold(tmp_path: Path) -> None:
    certificate = base("6.x").certificates[0].decode()
    with pytest.raises(ValueError, match="does not hold"):
        ccf.cose.create_cose_sign1_finish(b"payload", certificate, "AAAA")


def test_nothing_warns_on_valid_input(copy: LedgerCopy) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        validate(copy.directory)
