"""Spoilt receipts and transparent statements, and what a verifier pinned to the service must say.

R numbers are those of the reference's COSE scorecard (16.3), J and T are JSON receipts and transparent
statements after users' reports. ``official`` says where the official tools answer wrongly.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support import cbor
from support.cbor import Pairs, Raw, Tagged
from support.services import new_service
from tallystick._native import CoseReceipt
from tallystick.demo.cose_messages import sign1
from tallystick.demo.identities import SigningKey
from tallystick.demo.receipts import cose_receipt, json_receipt, signature_receipt
from tallystick.demo.service import DemoService

CLAIMS = hashlib.sha256(b"the claims").digest()


@dataclass
class Holder:
    """A service and what it handed out.

    Attributes:
        seqno: a transaction with application claims ``CLAIMS``.
        statement: a signed statement, and the seqno that registered it.
    """

    service: DemoService
    seqno: int
    statement: bytes
    statement_seqno: int
    issuer: SigningKey

    @property
    def certificate(self) -> bytes:
        return self.service.service.certificate.encode()


def _statement(issuer: SigningKey, unprotected: dict[int | str, object] | None = None) -> bytes:
    header: dict[int | str, object] = {
        1: issuer.cose_algorithm,
        3: "application/json",
        15: {1: "did:example:issuer", 2: "feed"},
    }
    return sign1(issuer, header, b'{"hello": "world"}', unprotected=unprotected)


@cache
def holder() -> Holder:
    """One service for all rows."""
    service = new_service(Path(tempfile.mkdtemp(prefix="tallystick-receipts-")) / "ledger")
    service.genesis()
    service.open()
    for i in range(5):
        service.append({"public:records": {b"%d" % i: b"x"}})
    seqno = service.append({"public:records": {b"claimed": b"y"}}, claims=CLAIMS).txid.seqno
    issuer = SigningKey("P-384")
    statement = _statement(issuer)
    claims = hashlib.sha256(statement).digest()
    registered = service.append({"public:scitt.entry": {bytes(8): statement}}, claims=claims).txid.seqno
    service.append({"public:records": {b"last": b"z"}})
    service.sign(close_chunk=True)
    return Holder(service, seqno, statement, registered, issuer)


@dataclass(frozen=True)
class ReceiptMutation:
    """A row.

    Attributes:
        options: further options of ``receipt verify``.
        codes: of these findings, each must be there.
    """

    number: str
    title: str
    verdict: str
    codes: tuple[str, ...]
    build: Callable[[Holder], bytes]
    options: tuple[str, ...] = ()
    suffix: str = ".cose"
    official: str | None = None


RECEIPTS: list[ReceiptMutation] = []


def row(
    number: str,
    title: str,
    verdict: str,
    *codes: str,
    options: tuple[str, ...] = (),
    official: str | None = None,
) -> Callable[[Callable[[Holder], bytes]], Callable[[Holder], bytes]]:
    def add(build: Callable[[Holder], bytes]) -> Callable[[Holder], bytes]:
        suffix = ".json" if number.startswith("J") else ".cose"
        RECEIPTS.append(ReceiptMutation(number, title, verdict, codes, build, options, suffix, official))
        return build

    return add


# ---------------------------------------------------------------- COSE


def _parts(h: Holder) -> tuple[bytes, bytes, list[bytes], bytes, str, bytes, list[list[object]]]:
    """protected, signature, proofs as bytes, and the pieces of the only proof."""
    parsed = CoseReceipt.parse(cose_receipt(h.service, h.seqno))
    proof = parsed.proofs[0]
    path: list[list[object]] = [[left, sibling] for left, sibling in proof.path]
    encoded = cbor.encode({1: [proof.write_set_digest, proof.commit_evidence, proof.claims_digest], 2: path})
    return (
        parsed.sign1.protected, parsed.sign1.signature, [encoded], proof.write_set_digest, proof.commit_evidence,
        proof.claims_digest, path,
    )  # fmt: skip


def _message(
    protected: bytes, signature: bytes, proofs: list[bytes], *, payload: bytes | None = None, tagged: bool = True,
    more: list[tuple[object, object]] | None = None,
) -> bytes:  # fmt: skip
    body = [protected, Pairs([(396, {-1: proofs}), *(more or [])]), payload, signature]
    return cbor.encode(Tagged(18, body) if tagged else body)


@row("R0", "control", "verified")
def _control(h: Holder) -> bytes:
    return cose_receipt(h.service, h.seqno)


@row("R0b", "one receipt with proofs of two transactions", "verified")
def _two_proofs(h: Holder) -> bytes:
    return cose_receipt(h.service, h.seqno, h.statement_seqno)


@row("R1", "claims digest changed", "failed", "root-signature-invalid")
def _claims(h: Holder) -> bytes:
    protected, signature, _, wsd, evidence, _, path = _parts(h)
    return _message(protected, signature, [cbor.encode({1: [wsd, evidence, bytes(32)], 2: path})])


@row("R2", "the same proof twice", "failed", "proof-duplicate", official="accepts")
def _duplicate_proof(h: Holder) -> bytes:
    protected, signature, proofs, *_ = _parts(h)
    return _message(protected, signature, proofs * 2)


@row("R3", "an unprotected header that means nothing here", "verified")
def _extra_header(h: Holder) -> bytes:
    protected, signature, proofs, *_ = _parts(h)
    return _message(protected, signature, proofs, more=[("note", b"hello")])


@row("R4", "no tag", "failed", "receipt-malformed")
def _untagged(h: Holder) -> bytes:
    protected, signature, proofs, *_ = _parts(h)
    return _message(protected, signature, proofs, tagged=False)


@row("R5", "directions as integers", "failed", "receipt-malformed", official="accepts")
def _integer_directions(h: Holder) -> bytes:
    protected, signature, _, wsd, evidence, claims, path = _parts(h)
    numbers = [[int(bool(left)), sibling] for left, sibling in path]
    return _message(protected, signature, [cbor.encode({1: [wsd, evidence, claims], 2: numbers})])


@row("R6", "a byte after the message", "failed", "receipt-malformed", official="accepts")
def _trailing(h: Holder) -> bytes:
    return cose_receipt(h.service, h.seqno) + b"\x00"


@row("R6b", "a byte after the proof", "failed", "receipt-malformed")
def _trailing_in_proof(h: Holder) -> bytes:
    protected, signature, proofs, *_ = _parts(h)
    return _message(protected, signature, [proofs[0] + b"\x00"])


@row("R8", "empty path", "failed", "path-shape")
def _empty_path(h: Holder) -> bytes:
    protected, signature, _, wsd, evidence, claims, _ = _parts(h)
    return _message(protected, signature, [cbor.encode({1: [wsd, evidence, claims], 2: []})])


@row("R9", "commit evidence changed", "failed", "root-signature-invalid")
def _evidence(h: Holder) -> bytes:
    protected, signature, _, wsd, evidence, claims, path = _parts(h)
    other = evidence[:-1] + ("0" if evidence[-1] != "0" else "1")
    return _message(protected, signature, [cbor.encode({1: [wsd, other, claims], 2: path})])


@row("R10", "payload attached", "failed", "receipt-malformed")
def _attached(h: Holder) -> bytes:
    protected, signature, proofs, *_ = _parts(h)
    return _message(protected, signature, proofs, payload=bytes(32))


def _resigned(h: Holder, header: dict[object, object]) -> bytes:
    """A receipt whose protected header the service itself signed, so that only the header is at fault."""
    _, _, proofs, *_ = _parts(h)
    root = CoseReceipt.parse(cose_receipt(h.service, h.seqno)).proofs[0].root
    protected = cbor.encode(header)
    signature = h.service.service.key.sign_cose(cbor.encode(["Signature1", protected, b"", root]))
    return _message(protected, signature, proofs)


def _header(h: Holder, **changes: object) -> dict[object, object]:
    txid = str(h.service.signed[-1].txid)
    values: dict[object, object] = {
        1: -35, 4: h.service.service.fingerprint.encode(), 395: 2,
        15: {6: 1_700_000_000, 1: "service.example.com", 2: "ledger.signature"}, "ccf.v1": {"txid": txid},
    }  # fmt: skip
    values.update({int(key.removeprefix("h")): value for key, value in changes.items()})
    return values


@row("R11", "verifiable data structure 1", "failed", "data-structure-unknown")
def _vds(h: Holder) -> bytes:
    return _resigned(h, _header(h, h395=1))


@row("R11b", "header made anew by the service: control of the two rows around", "verified")
def _resigned_control(h: Holder) -> bytes:
    return _resigned(h, _header(h))


@row("R11c", "key ID of another key", "failed", "service-key-mismatch")
def _kid(h: Holder) -> bytes:
    return _resigned(h, _header(h, h4=("ab" * 32).encode()))


@row("R12", "one bit of the signature", "failed", "root-signature-invalid")
def _signature_bit(h: Holder) -> bytes:
    protected, signature, proofs, *_ = _parts(h)
    return _message(protected, signature[:-1] + bytes([signature[-1] ^ 1]), proofs)


@row("R13", "a header key twice", "failed", "receipt-malformed", official="accepts")
def _duplicate_key(h: Holder) -> bytes:
    protected, signature, proofs, *_ = _parts(h)
    return _message(protected, signature, proofs, more=[(396, {-1: proofs})])


@row("R33", "a path of a hundred thousand steps", "failed", "receipt-malformed")
def _long_path(h: Holder) -> bytes:
    protected, signature, _, wsd, evidence, claims, _ = _parts(h)
    long = [[True, bytes(32)]] * 100_000
    return _message(protected, signature, [cbor.encode({1: [wsd, evidence, claims], 2: long})])


@row("R34", "a leaf of four parts", "failed", "receipt-malformed")
def _four_parts(h: Holder) -> bytes:
    protected, signature, _, wsd, evidence, claims, path = _parts(h)
    return _message(protected, signature, [cbor.encode({1: [wsd, evidence, claims, b""], 2: path})])


@row("R35", "nested a hundred thousand levels deep", "failed", "receipt-malformed")
def _deep_cbor(h: Holder) -> bytes:
    protected, signature, proofs, *_ = _parts(h)
    return _message(protected, signature, proofs, more=[("deep", Raw(b"\x81" * 100_000 + b"\x00"))])


# ---------------------------------------------------------------- JSON


def _json(h: Holder, **changes: object) -> dict[str, object]:
    value: dict[str, object] = json.loads(json_receipt(h.service, h.seqno))
    value.update(changes)
    return value


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()


@row("J0", "control", "verified")
def _json_control(h: Holder) -> bytes:
    return json_receipt(h.service, h.seqno)


@row("J1", "claims digest left out, not given", "undecided", "claims-digest-needed")
def _no_claims(h: Holder) -> bytes:
    return json_receipt(h.service, h.seqno, with_claims=False)


@row("J1b", "claims digest left out, given", "verified", options=("--claims-digest", CLAIMS.hex()))
def _given_claims(h: Holder) -> bytes:
    return json_receipt(h.service, h.seqno, with_claims=False)


@row(
    "J1c",
    "claims digest left out, another given",
    "failed",
    "root-signature-invalid",
    options=("--claims-digest", "ab" * 32),
)
def _other_claims(h: Holder) -> bytes:
    return json_receipt(h.service, h.seqno, with_claims=False)


@row(
    "J1d",
    "claims digest in the receipt, another given",
    "failed",
    "claims-digest-mismatch",
    options=("--claims-digest", "ab" * 32),
)
def _contradicting_claims(h: Holder) -> bytes:
    return json_receipt(h.service, h.seqno)


@row("J28", "receipt of a signature transaction", "verified", "signed-root-only")
def _of_signature(h: Holder) -> bytes:
    return signature_receipt(h.service, h.service.signed[-1])


def _camel(value: object) -> object:
    if isinstance(value, dict):
        return {
            "".join(w.capitalize() if i else w for i, w in enumerate(k.split("_"))): _camel(v) for k, v in value.items()
        }
    return value


@row("J35", "camelCase", "verified")
def _camel_case(h: Holder) -> bytes:
    return _dump(_camel(_json(h)))


def _spoil_path(h: Holder, change: Callable[[list[dict[str, str]]], None]) -> bytes:
    value = _json(h)
    path = value["proof"]
    assert isinstance(path, list)
    change(path)
    return _dump(value)


@row("J2", "a digest of 31 bytes in the path", "failed", "receipt-malformed")
def _short_digest(h: Holder) -> bytes:
    return _spoil_path(h, lambda path: path[0].update({k: v[2:] for k, v in path[0].items()}))


@row("J3", "a step with both sides", "failed", "receipt-malformed")
def _both_sides(h: Holder) -> bytes:
    return _spoil_path(h, lambda path: path[0].update(left="00" * 32, right="00" * 32))


@row("J4", "a step with no side", "failed", "receipt-malformed")
def _no_side(h: Holder) -> bytes:
    return _spoil_path(h, lambda path: path[0].clear())


@row("J5", "a step removed", "failed", "path-shape")
def _step_removed(h: Holder) -> bytes:
    return _spoil_path(h, lambda path: path.pop(0))


@row("J6", "a step to the other side", "failed", "path-shape")
def _other_side(h: Holder) -> bytes:
    def turn(path: list[dict[str, str]]) -> None:
        ((side, digest),) = path[0].items()
        path[0] = {"right" if side == "left" else "left": digest}

    return _spoil_path(h, turn)


@row("J7", "a path of a hundred thousand steps", "failed", "receipt-malformed")
def _long_json_path(h: Holder) -> bytes:
    return _dump(_json(h, proof=[{"left": "00" * 32}] * 100_000))


@row("J8", "node ID of another node", "failed", "node-id-mismatch")
def _node_id(h: Holder) -> bytes:
    return _dump(_json(h, node_id="ab" * 32))


@row("J9", "signed by an outsider's node", "failed", "node-certificate-issuer")
def _outsider_node(h: Holder) -> bytes:
    forge = new_service(Path(tempfile.mkdtemp(prefix="tallystick-outsider-")) / "ledger")
    root = bytes.fromhex(json.loads(signature_receipt(h.service, h.service.signed[-1]))["leaf"])
    signature = base64.b64encode(forge.node.key.sign_root(root)).decode()
    return _dump(_json(h, signature=signature, cert=forge.node.certificate, node_id=forge.node.id))


@row("J10", "claims digest changed", "failed", "root-signature-invalid")
def _json_claims(h: Holder) -> bytes:
    value = _json(h)
    components = value["leaf_components"]
    assert isinstance(components, dict)
    components["claims_digest"] = "00" * 32
    return _dump(value)


@row("J11", "a key twice", "failed", "receipt-malformed")
def _json_duplicate(h: Holder) -> bytes:
    return json_receipt(h.service, h.seqno)[:-1] + b',"node_id":"' + b"ab" * 32 + b'"}'


@row("J12", "bytes after the object", "failed", "receipt-malformed")
def _json_trailing(h: Holder) -> bytes:
    return json_receipt(h.service, h.seqno) + b"{}"


@row("J58", "nested a hundred thousand levels deep", "failed", "receipt-malformed")
def _deep_json(h: Holder) -> bytes:
    return b'{"proof": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@row("J13", "signature bit", "failed", "root-signature-invalid")
def _json_signature(h: Holder) -> bytes:
    value = _json(h)
    signature = bytearray(base64.b64decode(str(value["signature"])))
    signature[-1] ^= 1
    return _dump({**value, "signature": base64.b64encode(signature).decode()})


@row("J14", "nothing at all", "undecided", "not-a-receipt")
def _nothing(h: Holder) -> bytes:
    return b""


# ---------------------------------------------------------------- transparent statements


def _transparent(h: Holder, receipts: list[bytes] | None) -> bytes:
    return _statement_again(h, {} if receipts is None else {394: receipts})


def _statement_again(h: Holder, unprotected: dict[int | str, object]) -> bytes:
    from tallystick._native import CoseSign1

    parsed = CoseSign1.parse(h.statement)
    return cbor.encode(Tagged(18, [parsed.protected, unprotected, parsed.payload, parsed.signature]))


@row("T0", "transparent statement", "verified")
def _statement_control(h: Holder) -> bytes:
    return _transparent(h, [cose_receipt(h.service, h.statement_seqno)])


@row("T30", "empty list of receipts", "failed", "no-receipt", official="accepts")
def _no_receipts(h: Holder) -> bytes:
    return _transparent(h, [])


@row("T30b", "statement without a header of receipts", "failed", "no-receipt")
def _plain_statement(h: Holder) -> bytes:
    return _transparent(h, None)


@row("T1", "receipt of another transaction", "failed", "claims-digest-mismatch")
def _foreign_receipt(h: Holder) -> bytes:
    return _transparent(h, [cose_receipt(h.service, h.seqno)])


@row("T2", "one receipt that holds and one that does not", "failed")
def _one_bad(h: Holder) -> bytes:
    return _transparent(h, [cose_receipt(h.service, h.statement_seqno), cose_receipt(h.service, h.seqno)])
