"""The smallest input for each code of a ledger's findings that no mutation of a whole ledger triggers.

Most are written by a service that misbehaves with its own keys, so that nothing else is at fault.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support import slow
from support.mutation import SIGNATURES, LedgerCopy, encode_domain, reassemble
from support.services import SOURCE, base, entries_after, new_service, outsider, recovered_base, write_some
from tallystick.demo.cose_messages import sign_endorsement
from tallystick.demo.identities import NodeIdentity, ServiceIdentity
from tallystick.demo.ledger import SINGLETON_KEY, json_bytes
from tallystick.demo.receipts import json_receipt
from tallystick.demo.service import DemoService

GOV = "public:ccf.gov."
SERVICE_INFO = GOV + "service.info"
NODES_INFO = GOV + "nodes.info"
ENDORSED = GOV + "nodes.endorsed_certificates"
ENDORSEMENT = "public:ccf.internal.previous_service_identity_endorsement"

Arguments = list[str | Path]


@dataclass(frozen=True)
class Example:
    """How to trigger one code: ``build`` gets a directory and returns the arguments of ``verify``."""

    code: str
    build: Callable[[Path], Arguments]


EXAMPLES: list[Example] = []


def example(code: str) -> Callable[[Callable[[Path], Arguments]], Callable[[Path], Arguments]]:
    def add(build: Callable[[Path], Arguments]) -> Callable[[Path], Arguments]:
        EXAMPLES.append(Example(code, build))
        return build

    return add


def _pin(directory: Path, *certificates: str | bytes) -> Arguments:
    options: Arguments = []
    for number, certificate in enumerate(certificates):
        path = directory / f"pin-{number}.pem"
        path.write_bytes(certificate.encode() if isinstance(certificate, str) else certificate)
        options += ["--service-cert", path]
    return options


def _opened(directory: Path, style: str = "6.x", **options: object) -> DemoService:
    """A service that is open, its last transaction a signature."""
    service = new_service(directory / "ledger", style, **options)
    service.genesis()
    service.open()
    return service


def _verify(directory: Path, service: DemoService, *more: str | Path) -> Arguments:
    """Signs what is unsigned and verifies the ledger pinned to its first identity."""
    service.leave_chunk_open()
    return [directory / "ledger", "--uncommitted", *_pin(directory, service.identities[0].certificate), *more]


def _copy(directory: Path, style: str = "6.x") -> LedgerCopy:
    return base(style).copy(directory / "ledger")


def _verify_copy(directory: Path, copy: LedgerCopy, *more: str | Path) -> Arguments:
    return [copy.directory, "--uncommitted", *_pin(directory, *base("6.x").certificates), *more]


# ---------------------------------------------------------------- files


@example("chunk-incomplete")
def _no_table(directory: Path) -> Arguments:
    copy = _copy(directory)
    path = copy.last_committed
    copy.write(path, [e.raw for e in copy.entries(path)], complete=False)
    return _verify_copy(directory, copy)


def _two_ends(directory: Path, *, committed: bool) -> Arguments:
    """Two copies of one service: an end of view 2, and another of a later view in its place."""
    service = _opened(directory)
    service.leave_chunk_open()
    trunk = LedgerCopy(directory / "ledger", directory / "other")
    write_some(service, 2)
    service.sign(close_chunk=committed)
    if not committed:
        service.leave_chunk_open()
    # The same service, its end forgotten, goes on from the same place in another way.
    other = outsider(trunk, directory / "scratch")
    other.service, other.node, other.members = service.service, service.node, service.members
    other.writer.directory = trunk.directory
    last = other.seqno
    other.elect()
    write_some(other, 1)
    other.sign()
    other.leave_chunk_open()
    assert entries_after(other, last)
    pins = _pin(directory, service.service.certificate)
    return [directory / "ledger", trunk.directory, "--uncommitted", *pins]


@example("ledger-fork")
def _fork(directory: Path) -> Arguments:
    return _two_ends(directory, committed=True)


@example("replaced-suffix")
def _replaced(directory: Path) -> Arguments:
    return _two_ends(directory, committed=False)


@example("copy-unreadable")
def _unreadable_copy(directory: Path) -> Arguments:
    copy = _copy(directory)
    other = LedgerCopy(copy.directory, directory / "other")
    for path in other.chunks[1:]:
        path.unlink()
    path = other.genesis_chunk
    path.write_bytes(path.read_bytes()[:30])
    return [copy.directory, *_verify_copy(directory, other)]


@example("discarded-suffix")
def _discarded(directory: Path) -> Arguments:
    service = _opened(directory)
    write_some(service, 1)
    signed = service.sign()
    service.leave_chunk_open()
    # The old node wrote one more transaction before it was lost; nobody signed it.
    lost = outsider(LedgerCopy(service.directory, directory / "copy"), directory / "scratch")
    lost.append({"public:records": {b"lost": b"never signed"}})
    name = f"ledger_{signed.txid.seqno - 1}"
    entries = [service.written[n].entry for n in (signed.txid.seqno - 1, signed.txid.seqno)]
    (service.directory / name).write_bytes(
        slow.encode_chunk([*entries, *entries_after(lost, signed.txid.seqno)], complete=False)
    )
    service.recover()
    return _verify(directory, service)


@example("file-unreadable")
def _unreadable(directory: Path) -> Arguments:
    copy = _copy(directory)
    path = copy.open_chunk
    path.unlink()
    path.mkdir()
    return _verify_copy(directory, copy)


@example("path-missing")
def _no_path(directory: Path) -> Arguments:
    return [directory / "nowhere", "--trust-genesis"]


@example("chunk-end-not-signature")
def _unsigned_end(directory: Path) -> Arguments:
    service = _opened(directory)
    write_some(service, 2)
    service.complete_chunk()
    write_some(service, 1)
    service.sign(close_chunk=True)
    return _verify(directory, service)


@example("chunk-empty")
def _header_alone(directory: Path) -> Arguments:
    copy = _copy(directory)
    (copy.directory / f"ledger_{copy.last_signature.entry.seqno + 1}").write_bytes(bytes(8))
    return _verify_copy(directory, copy)


@example("tail-damaged")
def _size_reaches_past_the_end(directory: Path) -> Arguments:
    copy = _copy(directory)
    content = bytearray((copy.directory / copy.open_chunk).read_bytes())
    content[8 + 4] ^= 1  # the size of the first entry grows by 64 KiB
    (copy.directory / copy.open_chunk).write_bytes(content)
    return _verify_copy(directory, copy)


@example("findings-not-listed")
def _too_many(directory: Path) -> Arguments:
    copy = _copy(directory)
    opened = copy.open_chunk
    entries = [entry.raw for entry in copy.entries(opened)]
    copy.write(opened, entries + [entries[-1]] * 20_000)
    return _verify_copy(directory, copy)


# ---------------------------------------------------------------- trust


@example("anchor-missing")
def _no_anchor(directory: Path) -> Arguments:
    return [_copy(directory).directory, "--uncommitted"]


@example("anchor-mismatch")
def _other_service(directory: Path) -> Arguments:
    return [_copy(directory).directory, "--uncommitted", *_pin(directory, *base("4.x").certificates)]


@example("anchor-no-genesis")
def _suffix_genesis(directory: Path) -> Arguments:
    copy = _copy(directory)
    copy.genesis_chunk.unlink()
    return [copy.directory, "--uncommitted", "--trust-genesis"]


@example("service-identity-unreached")
def _unreached(directory: Path) -> Arguments:
    valid = recovered_base("4.x")
    return [valid.directory, "--uncommitted", *_pin(directory, valid.certificates[-1])]


@example("service-key-unknown")
def _unknown_key(directory: Path) -> Arguments:
    copy = _copy(directory, "6.x")
    for path in copy.chunks[:-2]:
        path.unlink()
    return [copy.directory, "--uncommitted", "--service-key-sha256", base("6.x").service.service.fingerprint]


@example("opening-undecided")
def _minority(directory: Path) -> Arguments:
    service = _opened(directory)
    # A constitution may let one member of three decide; only `gov verify` asks it.
    service.members_needed = 1
    service.recover()
    return _verify(directory, service)


@example("opening-identity-mismatch")
def _other_opening(directory: Path) -> Arguments:
    service = new_service(directory / "ledger")
    service.genesis()
    for member in service.members:
        service.acknowledge(member)
    service.sign()
    other = ServiceIdentity(SOURCE)
    service.decide("transition_service_to_open", {"next_service_identity": other.certificate}, dict)
    service.sign()
    return _verify(directory, service)


@example("service-status")
def _status(directory: Path) -> Arguments:
    service = _opened(directory)
    service.append({SERVICE_INFO: {SINGLETON_KEY: service.service_info("Opening")}})
    service.sign()
    return _verify(directory, service)


@example("genesis-malformed")
def _no_service(directory: Path) -> Arguments:
    service = new_service(directory / "ledger")
    service.append(service.node_rows(service.node))
    service.sign()
    return _verify(directory, service)


@example("recovery-boot")
def _wrong_view(directory: Path) -> Arguments:
    service = _opened(directory)
    service.view += 1
    service.recover()
    return _verify(directory, service)


@example("recovery-flag")
def _no_flag(directory: Path) -> Arguments:
    service = _opened(directory)
    service.boot_flags = 0
    service.recover()
    return _verify(directory, service)


@example("recovery-previous-identity")
def _wrong_previous(directory: Path) -> Arguments:
    service = _opened(directory)
    other = ServiceIdentity(SOURCE)
    service.recover(
        boot_writes={GOV + "service.previous_service_identity": {SINGLETON_KEY: json_bytes(other.certificate)}}
    )
    return _verify(directory, service)


@example("recovery-last-root")
def _wrong_root(directory: Path) -> Arguments:
    service = _opened(directory)
    service.recover(
        boot_writes={"public:ccf.internal.previous_service_last_signed_root": {SINGLETON_KEY: json_bytes("00" * 32)}}
    )
    return _verify(directory, service)


def _write_endorsement(service: DemoService, message: bytes, begin: str, end: str) -> None:
    value = {
        "endorsement": base64.b64encode(message).decode(),
        "endorsing_key": base64.b64encode(service.service.key.spki).decode(),
        "endorsement_epoch_begin": begin,
        "endorsement_epoch_end": end,
    }
    service.append({ENDORSEMENT: {SINGLETON_KEY: json_bytes(value)}})
    service.sign()


@example("endorsement-invalid")
def _bad_endorsement(directory: Path) -> Arguments:
    service = _opened(directory)
    other = ServiceIdentity(SOURCE)
    message = sign_endorsement(
        other.key, service.service.key.spki, issued_at=1, epoch_begin="2.1", epoch_end="2.5", last_root=bytes(32)
    )
    _write_endorsement(service, message, "2.1", "2.5")
    return _verify(directory, service)


@example("endorsement-epoch-reversed")
def _reversed(directory: Path) -> Arguments:
    service = _opened(directory)
    message = sign_endorsement(
        service.service.key, service.service.key.spki, issued_at=1, epoch_begin="4.9", epoch_end="2.8",
        last_root=bytes(32),
    )  # fmt: skip
    _write_endorsement(service, message, "4.9", "2.8")
    return _verify(directory, service)


# ---------------------------------------------------------------- signatures and signers


def _change_signature(copy: LedgerCopy, change: Callable[[dict[str, object]], None]) -> None:
    entry = copy.last_signature.entry
    value = json.loads(entry.tables[SIGNATURES][SINGLETON_KEY] or b"")
    change(value)
    entry.tables[SIGNATURES][SINGLETON_KEY] = json_bytes(value)
    copy.replace(entry.seqno, reassemble(entry, public=encode_domain(entry, entry.tables)))


@example("signature-invalid")
def _bad_signature(directory: Path) -> Arguments:
    copy = _copy(directory)
    good = base64.b64encode(base("6.x").service.node.key.sign_root(b"another root, of 32 bytes too...")).decode()
    _change_signature(copy, lambda value: value.update(sig=good))
    return _verify_copy(directory, copy)


@example("cose-signature-invalid")
def _bad_cose(directory: Path) -> Arguments:
    service = _opened(directory)
    write_some(service, 1)
    kept, service.service = service.service, ServiceIdentity(SOURCE)
    # Signed by another key that calls itself by the service's name.
    key = service.service.key
    key.__class__ = type("Impostor", (type(key),), {"fingerprint": property(lambda _: kept.fingerprint)})
    service.sign()
    return _verify(directory, service)


@example("cose-kid-mismatch")
def _other_kid(directory: Path) -> Arguments:
    service = _opened(directory)
    write_some(service, 1)
    service.service = ServiceIdentity(SOURCE)
    service.sign()
    return _verify(directory, service)


@example("signer-not-endorsed")
def _old_node_signs(directory: Path) -> Arguments:
    service = _opened(directory)
    node = service.node
    service.recover()
    write_some(service, 1)
    service.sign(node=node)
    return _verify(directory, service)


@example("signer-key-mismatch")
def _other_certificate(directory: Path) -> Arguments:
    copy = _copy(directory)
    other = NodeIdentity(SOURCE, base("6.x").service.service)
    _change_signature(copy, lambda value: value.update(cert=other.certificate))
    return _verify_copy(directory, copy)


@example("signer-certificate")
def _no_certificate(directory: Path) -> Arguments:
    copy = _copy(directory)
    _change_signature(
        copy, lambda value: value.update(cert="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    )
    return _verify_copy(directory, copy)


@example("signer-before-start")
def _old_suffix(directory: Path) -> Arguments:
    copy = _copy(directory, "1.x")
    for path in copy.chunks[:-2]:
        path.unlink()
    return [copy.directory, "--uncommitted", *_pin(directory, *base("1.x").certificates)]


def _retire(service: DemoService, node: NodeIdentity, *, committed: bool) -> None:
    info = {**service.node_info(node, "Retired"), **({"retired_committed": True} if committed else {})}
    service.append({NODES_INFO: {node.id.encode(): json_bytes(info)}})


@example("signer-retired")
def _retiring(directory: Path) -> Arguments:
    service = _opened(directory)
    _retire(service, service.node, committed=False)
    service.sign()
    return _verify(directory, service)


@example("signer-retired-committed")
def _retired(directory: Path) -> Arguments:
    service = _opened(directory)
    _retire(service, service.node, committed=False)
    _retire(service, service.node, committed=True)
    service.sign()
    return _verify(directory, service)


@example("nothing-signed")
def _unsigned(directory: Path) -> Arguments:
    service = new_service(directory / "ledger")
    service.append({**service.node_rows(service.node), SERVICE_INFO: {SINGLETON_KEY: service.service_info("Opening")}})
    return _verify(directory, service)


# ---------------------------------------------------------------- rows


@example("row-malformed")
def _row(directory: Path) -> Arguments:
    service = _opened(directory)
    service.append({SERVICE_INFO: {SINGLETON_KEY: b"not JSON"}})
    service.sign()
    return _verify(directory, service)


@example("node-id-mismatch")
def _node_id(directory: Path) -> Arguments:
    service = _opened(directory)
    other = service.new_node()
    info = service.node_info(service.new_node(), "Pending")
    service.append({NODES_INFO: {other.id.encode(): json_bytes(info)}})
    service.sign()
    return _verify(directory, service)


@example("node-certificate-stray")
def _stray(directory: Path) -> Arguments:
    service = _opened(directory)
    node = service.new_node()
    service.append({ENDORSED: {node.id.encode(): node.certificate.encode()}})
    service.sign()
    return _verify(directory, service)


@example("node-status")
def _node_status(directory: Path) -> Arguments:
    service = _opened(directory)
    service.append({NODES_INFO: {service.node.id.encode(): json_bytes(service.node_info(service.node, "Pending"))}})
    service.sign()
    return _verify(directory, service)


@example("member-id-mismatch")
def _member(directory: Path) -> Arguments:
    service = _opened(directory)
    service.append({GOV + "members.certs": {b"00" * 32: service.members[0].certificate.encode()}})
    service.sign()
    return _verify(directory, service)


# ---------------------------------------------------------------- what the caller holds


@example("level-below-full")
def _level(directory: Path) -> Arguments:
    return _verify_copy(directory, _copy(directory), "--level", "merkle")


@example("head-mismatch")
def _other_head(directory: Path) -> Arguments:
    return _verify_copy(directory, _copy(directory), "--expect-head", "3.5")


def _receipt(directory: Path, data: bytes) -> list[str | Path]:
    path = directory / "receipt.json"
    path.write_bytes(data)
    return ["--receipt", path]


@example("receipt-beyond-ledger")
def _cut(directory: Path) -> Arguments:
    service = base("6.x").service
    copy = _copy(directory)
    copy.open_chunk.unlink()
    receipt = json_receipt(service, service.last_signed.seqno - 1)
    return _verify_copy(directory, copy, *_receipt(directory, receipt))


@example("receipt-mismatch")
def _other_receipt(directory: Path) -> Arguments:
    service = _opened(directory / "elsewhere")
    write_some(service, 8)
    service.sign()
    receipt = json_receipt(service, 14)
    return _verify_copy(directory, _copy(directory), *_receipt(directory, receipt))


@example("receipt-root-mismatch")
def _other_path(directory: Path) -> Arguments:
    value = json.loads(json_receipt(base("6.x").service, 15))
    side = "left" if "left" in value["proof"][0] else "right"
    value["proof"][0][side] = "00" * 32
    return _verify_copy(directory, _copy(directory), *_receipt(directory, json.dumps(value).encode()))


@example("receipt-unusable")
def _no_evidence(directory: Path) -> Arguments:
    receipt = json_receipt(base("6.x").service, 15, with_claims=False)
    copy = _copy(directory)
    for path in copy.chunks[:-2]:
        path.unlink()
    first = slow.first_seqno(copy.chunks[0])
    receipt = json_receipt(base("6.x").service, first - 3)
    return _verify_copy(directory, copy, *_receipt(directory, receipt))


# ---------------------------------------------------------------- checkpoints


def _checkpoint(directory: Path, copy: LedgerCopy, *pins: str | Path) -> Path:
    from support.run import tallystick

    path = directory / "checkpoint"
    outcome = tallystick("verify", *_verify_copy(directory, copy), "--checkpoint", path)
    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    return path


@example("checkpoint-malformed")
def _bad_checkpoint(directory: Path) -> Arguments:
    path = directory / "checkpoint"
    path.write_text("{}")
    return _verify_copy(directory, _copy(directory), "--checkpoint", path)


@example("checkpoint-anchor")
def _other_anchor(directory: Path) -> Arguments:
    copy = _copy(directory)
    path = _checkpoint(directory, copy)
    return [copy.directory, "--uncommitted", "--trust-genesis", "--checkpoint", path]


@example("checkpoint-rollback")
def _rolled_back(directory: Path) -> Arguments:
    copy = _copy(directory)
    path = _checkpoint(directory, copy)
    copy.open_chunk.unlink()
    return _verify_copy(directory, copy, "--checkpoint", path)


@example("checkpoint-fork")
def _rewritten(directory: Path) -> Arguments:
    copy = _copy(directory)
    path = _checkpoint(directory, copy)
    last = copy.last_signature
    copy.flip(last.path, last.entry.offset + 8)
    return _verify_copy(directory, copy, "--checkpoint", path)


@example("checkpoint-start")
def _later_chunk(directory: Path) -> Arguments:
    valid = recovered_base("6.x")
    service = _opened(directory)
    pins = _pin(directory, service.service.certificate)
    from support.run import tallystick

    service.leave_chunk_open()
    path = directory / "checkpoint"
    assert tallystick("verify", service.directory, *pins, "--checkpoint", path).exit_code == 0
    write_some(service, 2)
    service.sign(close_chunk=True)
    write_some(service, 2)
    service.sign(close_chunk=True)
    del valid
    last = slow.chunk_paths(service.directory)[-1]
    return [last, *pins, "--checkpoint", path]
