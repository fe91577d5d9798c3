"""The smallest input for each code about receipts and snapshots that no spoilt document triggers.

``build`` gets a directory and returns the whole command line.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mutations.receipt_table import CLAIMS, Holder, holder
from mutations.snapshot_table import _with_snapshots
from support import cbor
from support.cbor import Tagged
from support.run import tallystick
from support.services import new_service, recovered_base
from tallystick._native import CoseReceipt, CoseSign1
from tallystick.demo.ledger import json_bytes
from tallystick.demo.receipts import cose_receipt, json_receipt, signature_receipt
from tallystick.demo.service import DemoService

Arguments = list[str | Path]


@dataclass(frozen=True)
class DocumentExample:
    """How to trigger one code."""

    code: str
    build: Callable[[Path], Arguments]


DOCUMENTS: list[DocumentExample] = []


def example(code: str) -> Callable[[Callable[[Path], Arguments]], Callable[[Path], Arguments]]:
    def add(build: Callable[[Path], Arguments]) -> Callable[[Path], Arguments]:
        DOCUMENTS.append(DocumentExample(code, build))
        return build

    return add


def _file(directory: Path, data: bytes | str, name: str = "receipt") -> Path:
    path = directory / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def _verify(directory: Path, data: bytes, *more: str | Path, certificate: bytes | None = None) -> Arguments:
    pin = _file(directory, holder().certificate if certificate is None else certificate, "pin.pem")
    return ["receipt", "verify", _file(directory, data), "--service-cert", pin, *more]


def _good(h: Holder | None = None) -> bytes:
    h = h or holder()
    return json_receipt(h.service, h.seqno)


# ---------------------------------------------------------------- receipts


@example("anchor-missing")
def _no_anchor(directory: Path) -> Arguments:
    return ["receipt", "verify", _file(directory, _good())]


@example("service-key-needed")
def _fingerprint_only(directory: Path) -> Arguments:
    pin = holder().service.service.fingerprint
    return ["receipt", "verify", _file(directory, _good()), "--service-key-sha256", pin]


@example("merkle-proof-only")
def _bare_proof(directory: Path) -> Arguments:
    h = holder()
    proof = CoseReceipt.parse(cose_receipt(h.service, h.seqno)).proofs[0]
    path = [[left, sibling] for left, sibling in proof.path]
    leaf = [proof.write_set_digest, proof.commit_evidence, proof.claims_digest]
    return _verify(directory, cbor.encode({1: leaf, 2: path}))


@example("cose-signature-only")
def _bare_signature(directory: Path) -> Arguments:
    return _verify(directory, holder().service.signed[-1].cose or b"")


def _endorsement(service: DemoService) -> bytes:
    value = json.loads(service.value("public:ccf.internal.previous_service_identity_endorsement") or b"{}")
    return base64.b64decode(value["endorsement"])


@example("endorsement-only")
def _bare_endorsement(directory: Path) -> Arguments:
    return _verify(directory, _endorsement(recovered_base("6.x").service))


@example("receipt-contradictory")
def _contradictory(directory: Path) -> Arguments:
    value = json.loads(_good())
    value["is_signature_transaction"] = True
    return _verify(directory, json.dumps(value).encode())


@example("commit-evidence-malformed")
def _evidence(directory: Path) -> Arguments:
    value = json.loads(_good())
    value["leaf_components"]["commit_evidence"] = "ce:none"
    return _verify(directory, json.dumps(value).encode())


@example("claims-not-in-receipt")
def _leaf_only(directory: Path) -> Arguments:
    h = holder()
    return _verify(directory, signature_receipt(h.service, h.service.signed[-1]), "--claims-digest", CLAIMS.hex())


@example("claims-malformed")
def _no_claims(directory: Path) -> Arguments:
    return _verify(directory, _good(), "--claims", _file(directory, "[]", "claims.json"))


@example("txid-mismatch")
def _other_txid(directory: Path) -> Arguments:
    return _verify(directory, _good(), "--txid", "2.3")


@example("issuer-mismatch")
def _other_issuer(directory: Path) -> Arguments:
    h = holder()
    return _verify(directory, cose_receipt(h.service, h.seqno), "--issuer", "elsewhere.example.com")


@example("unprotected-header")
def _header(directory: Path) -> Arguments:
    h = holder()
    parsed = CoseSign1.parse(cose_receipt(h.service, h.seqno))
    header = {**parsed.unprotected_headers, "note": b"hello"}
    return _verify(directory, cbor.encode(Tagged(18, [parsed.protected, header, None, parsed.signature])))


@example("statement-signature-invalid")
def _statement(directory: Path) -> Arguments:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    h = holder()
    # A statement that brings the certificate of its issuer, and another's signature.
    member = h.service.members[0]
    der = x509.load_pem_x509_certificate(member.certificate.encode()).public_bytes(Encoding.DER)
    protected = cbor.encode({1: -35, 33: der})
    signature = h.issuer.sign_cose(cbor.encode(["Signature1", protected, b"", b"payload"]))
    receipts = {394: [cose_receipt(h.service, h.seqno)]}
    return _verify(directory, cbor.encode(Tagged(18, [protected, receipts, b"payload", signature])))


@example("ledger-leaf-mismatch")
def _other_ledger(directory: Path) -> Arguments:
    other = new_service(directory / "ledger")
    other.genesis()
    other.open()
    for i in range(holder().seqno):
        other.append({"public:records": {b"%d" % i: b"other"}})
    other.sign(close_chunk=True)
    return _verify(directory, _good(), "--ledger", directory / "ledger")


@example("ledger-lacks-transaction")
def _short_ledger(directory: Path) -> Arguments:
    other = new_service(directory / "ledger")
    other.genesis()
    return _verify(directory, _good(), "--ledger", directory / "ledger")


@example("node-certificate-needed")
def _old_receipt(directory: Path) -> Arguments:
    service = new_service(directory / "ledger", "1.x")
    service.genesis()
    service.open()
    return _verify(directory, json_receipt(service, 3), certificate=service.service.certificate.encode())


@example("certificate-malformed")
def _certificate(directory: Path) -> Arguments:
    value = json.loads(_good())
    value["cert"] = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    return _verify(directory, json.dumps(value).encode())


@example("unsupported")
def _too_long(directory: Path) -> Arguments:
    return _verify(directory, b"\xd2" + bytes(64 * 1024 * 1024))


# ---------------------------------------------------------------- receipts of older lives


@cache
def _recovered() -> tuple[DemoService, int]:
    """A service that recovered once, and a transaction of its first life."""
    import tempfile

    service = new_service(Path(tempfile.mkdtemp(prefix="tallystick-lives-")) / "ledger")
    service.genesis()
    service.open()
    seqno = service.append({"public:records": {b"k": b"v"}}).txid.seqno
    service.sign()
    service.recover()
    return service, seqno


def _old_life(directory: Path, data: bytes, *more: str | Path) -> Arguments:
    service, _ = _recovered()
    return _verify(directory, data, *more, certificate=service.service.certificate.encode())


@example("service-endorsed")
def _endorsed(directory: Path) -> Arguments:
    service, seqno = _recovered()
    endorsement = _file(directory, _endorsement(service), "endorsement.cose")
    return _old_life(directory, cose_receipt(service, seqno), "--endorsements", endorsement)


@example("epoch-mismatch")
def _outside_the_epoch(directory: Path) -> Arguments:
    service, seqno = _recovered()
    from tallystick.demo.cose_messages import sign_endorsement

    first, second = service.identities
    link = sign_endorsement(
        second.key, first.key.spki, issued_at=1, epoch_begin="2.1", epoch_end="2.3", last_root=bytes(32)
    )
    endorsement = _file(directory, link, "endorsement.cose")
    return _old_life(directory, cose_receipt(service, seqno), "--endorsements", endorsement)


@example("epoch-unknown")
def _no_txid(directory: Path) -> Arguments:
    service, _ = _recovered()
    endorsement = _file(directory, _endorsement(service), "endorsement.cose")
    return _old_life(directory, signature_receipt(service, service.signed[0]), "--endorsements", endorsement)


@example("endorsement-certificate-not-ca")
def _not_ca(directory: Path) -> Arguments:
    service, seqno = _recovered()
    value = json.loads(json_receipt(service, seqno))
    # The present service issued this certificate, but for a node, not for a service.
    value["service_endorsements"] = [service.node.certificate]
    outsider = new_service(directory / "ledger")
    outsider.service.key = service.node.key
    node = outsider.new_node()
    root = service.signed[-1].root
    value.update(cert=node.certificate, node_id=node.id, signature=base64.b64encode(node.key.sign_root(root)).decode())
    return _old_life(directory, json_bytes(value))


def _with_bundle(directory: Path, *more: str) -> Arguments:
    """A receipt of the second life, pinned to the first, with a bundle of identities between them."""
    service = recovered_base("6.x").service
    pin = _file(directory, service.identities[0].certificate, "pin.pem")
    bundle = directory / "identities.json"
    made = tallystick("identity", service.directory, "--uncommitted", "--service-cert", pin, "--bundle", bundle, *more)
    assert made.exit_code == 0
    later = [signed for signed in service.signed if signed.service is service.identities[1]][-1].txid.seqno - 1
    receipt = _file(directory, cose_receipt(service, later))
    return ["receipt", "verify", receipt, "--service-cert", pin, "--identities", bundle]


@example("service-opened")
def _opened(directory: Path) -> Arguments:
    return _with_bundle(directory)


@example("identity-unproven")
def _unproven(directory: Path) -> Arguments:
    return _with_bundle(directory, "--without-history")


# ---------------------------------------------------------------- snapshots


def _snapshot(directory: Path, data: bytes, name: str, certificate: str, *more: str | Path) -> Arguments:
    pin = _file(directory, certificate, "pin.pem")
    return ["snapshot", "verify", _file(directory, data, name), "--service-cert", pin, *more]


@cache
def _made() -> tuple[DemoService, list[Path]]:
    return _with_snapshots("6.x")


def _as_made(directory: Path, data: bytes | None = None, name: str | None = None, *more: str | Path) -> Arguments:
    service, (_, path) = _made()
    return _snapshot(
        directory, path.read_bytes() if data is None else data, name or path.name, service.service.certificate, *more
    )


@example("snapshot-malformed")
def _cut(directory: Path) -> Arguments:
    return _as_made(directory, _made()[1][1].read_bytes()[:500])


@example("snapshot-name-unknown")
def _name(directory: Path) -> Arguments:
    return _as_made(directory, None, "downloaded.bin")


def _forge_snapshot(directory: Path, **changes: object) -> Arguments:
    """A snapshot that the service itself vouches for, though it is not what the ledger says."""
    from support.forged_snapshot import forged_snapshot

    service = new_service(directory / "ledger")
    path = forged_snapshot(service, directory / "snapshots", **changes)
    service.leave_chunk_open()
    pin = _file(directory, service.service.certificate, "pin.pem")
    return ["snapshot", "verify", path, "--service-cert", pin, "--ledger", directory / "ledger"]


@example("snapshot-evidence-order")
def _evidence_first(directory: Path) -> Arguments:
    return _forge_snapshot(directory, seqno_shift=1_000)


@example("snapshot-leaf-mismatch")
def _leaf(directory: Path) -> Arguments:
    return _forge_snapshot(directory, hash_at_snapshot=b"\xab" * 32)


@example("snapshot-evidence-mismatch")
def _other_evidence(directory: Path) -> Arguments:
    return _forge_snapshot(directory, evidence_hash="ab" * 32)


@example("snapshot-state-mismatch")
def _state(directory: Path) -> Arguments:
    return _forge_snapshot(directory, extra_row=True)


@example("snapshot-state-not-compared")
def _suffix(directory: Path) -> Arguments:
    service, _ = _made()
    import shutil

    ledger = directory / "ledger"
    shutil.copytree(service.directory, ledger)
    (ledger / "ledger_1-2.committed").unlink()
    return _as_made(directory, None, None, "--ledger", ledger)
