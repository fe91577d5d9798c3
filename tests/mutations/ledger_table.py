"""Mutations of a ledger that is otherwise valid, and what a verifier pinned to its service must say.

The numbers are those of the reference's scorecard (section 16.1); ``official`` is what ccf 7.0.22 does with
the same bytes, as far as it is wrong.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support import slow
from support.mutation import (
    COSE_SIGNATURES,
    SIGNATURES,
    TREE,
    LedgerCopy,
    encode_domain,
    is_signature,
    reassemble,
)
from support.services import entries_after, new_service, outsider
from tallystick.demo.ledger import SINGLETON_KEY, json_bytes
from tallystick.demo.service import DemoService
from tallystick.ledger.writer import ServiceSigner, cose_root_signature
from tallystick.types import TxId

NODES_INFO = "public:ccf.gov.nodes.info"
SERVICE_INFO = "public:ccf.gov.service.info"


@dataclass
class Spoilt:
    """A spoilt ledger.

    Attributes:
        copy: the ledger.
        txid: where the finding must point, if anywhere.
        offset: offset in the file that the finding must name, if it is known.
        paths: what to verify; default: the directory.
        head: transaction ID that the caller already holds.
    """

    copy: LedgerCopy
    scratch: Path
    txid: str | None = None
    offset: int | None = None
    paths: list[Path] = field(default_factory=list)
    head: str | None = None

    def outsider(self) -> DemoService:
        return outsider(self.copy, self.scratch)


@dataclass(frozen=True)
class Mutation:
    """A row of the table.

    Attributes:
        verdict: the verdict of a run pinned to the service certificate.
        codes: of these findings, each must be there.
        official: what ccf 7.0.22 wrongly answers, "accepts" or "rejects".
    """

    number: str
    title: str
    verdict: str
    codes: tuple[str, ...]
    spoil: Callable[[Spoilt], None]
    official: str | None = None


MUTATIONS: list[Mutation] = []


def mutation(
    number: str, title: str, verdict: str, *codes: str, official: str | None = None
) -> Callable[[Callable[[Spoilt], None]], Callable[[Spoilt], None]]:
    def add(spoil: Callable[[Spoilt], None]) -> Callable[[Spoilt], None]:
        MUTATIONS.append(Mutation(number, title, verdict, codes, spoil, official))
        return spoil

    return add


def _signed_write(s: Spoilt) -> int:
    """Seqno of a transaction in the middle chunk that a signature covers and that writes a governance value."""
    chosen = [e for e in s.copy.entries(s.copy.middle_chunk) if not is_signature(e)]
    return chosen[1].seqno


def _replace_json(s: Spoilt, seqno: int, table: str, change: Callable[[dict[str, object]], None]) -> None:
    entry = s.copy.place(seqno).entry
    value = json.loads(entry.tables[table][SINGLETON_KEY] or b"")
    change(value)
    entry.tables[table][SINGLETON_KEY] = json_bytes(value)
    s.copy.replace(seqno, reassemble(entry, public=encode_domain(entry, entry.tables)))


@mutation("00", "unmodified copy", "verified")
def _control(s: Spoilt) -> None:
    pass


@mutation("01", "one bit of a governance value in a signed transaction", "failed", "leaf-differs")
def _governance_bit(s: Spoilt) -> None:
    seqno = _signed_write(s)
    place = s.copy.place(seqno)
    value = next(value for rows in place.entry.tables.values() for value in rows.values() if value)
    s.copy.flip_in(place, value)
    s.txid, s.offset = place.txid, place.entry.offset


@mutation("02", "one bit of a GCM tag", "failed", "leaf-differs")
def _tag_bit(s: Spoilt) -> None:
    place = s.copy.place(_signed_write(s))
    s.copy.flip(place.path, place.entry.offset + 8)
    s.txid, s.offset = place.txid, place.entry.offset


@mutation("03", "view in the IV of the last signature differs from its payload", "failed", "signature-txid")
def _iv_view(s: Spoilt) -> None:
    entry = s.copy.last_signature.entry
    s.copy.replace(entry.seqno, reassemble(entry, view=entry.view + 1))
    s.txid = f"{entry.view + 1}.{entry.seqno}"


@mutation(
    "04", "one bit of the compact tree in the last signature", "failed", "signature-tree-root", official="accepts"
)
def _tree_bit(s: Spoilt) -> None:
    place = s.copy.last_signature
    value = place.entry.tables[TREE][SINGLETON_KEY] or b""
    offset = place.entry.offset + place.entry.raw.index(value) + 16
    s.copy.flip(place.path, offset)
    s.txid = place.txid


@mutation(
    "06",
    "open chunk cut in the middle of its last transaction",
    "verified",
    "partial-tail",
    official="rejects",
)
def _cut_open_chunk(s: Spoilt) -> None:
    place = s.copy.last_signature
    with place.path.open("r+b") as file:
        file.truncate(place.entry.offset + 60)
    s.offset = place.entry.offset


@mutation(
    "07",
    "last chunks deleted; the caller holds a later transaction ID",
    "failed",
    "shorter-than-head",
    official="accepts",
)
def _rollback(s: Spoilt) -> None:
    s.head = s.copy.last_signature.txid
    s.copy.open_chunk.unlink()
    s.copy.last_committed.unlink()


@mutation("08", "a chunk in the middle deleted", "failed", "chunk-gap")
def _gap(s: Spoilt) -> None:
    s.copy.middle_chunk.unlink()


@mutation("09", "first chunk deleted: proven from the first tree in what is left", "verified", "no-genesis")
def _no_genesis(s: Spoilt) -> None:
    s.copy.genesis_chunk.unlink()


@mutation("10", "two entries of an offset table swapped", "failed", "chunk-offsets-differ")
def _offsets_swapped(s: Spoilt) -> None:
    path = s.copy.last_committed
    data = bytearray(path.read_bytes())
    (table,) = struct.unpack_from("<Q", data)
    data[table + 4 : table + 8], data[table + 8 : table + 12] = (
        data[table + 8 : table + 12],
        data[table + 4 : table + 8],
    )
    path.write_bytes(data)


@mutation(
    "11",
    "last three offsets removed and the file renamed: hidden transactions",
    "failed",
    "chunk-offsets-size",
    official="accepts",
)
def _hidden_entries(s: Spoilt) -> None:
    s.copy.open_chunk.unlink()
    path = s.copy.last_committed
    entries = s.copy.entries(path)
    signed = [i for i, e in enumerate(entries) if is_signature(e)]
    keep = signed[0] + 1 if signed[0] + 1 < len(entries) else len(entries) - 3
    data = path.read_bytes()[: -4 * (len(entries) - keep)]
    path.unlink()
    name = f"ledger_{entries[0].seqno}-{entries[keep - 1].seqno}.committed"
    (path.parent / name).write_bytes(data)


@mutation(
    "12",
    "foreign bytes between the last transaction and the offset table",
    "failed",
    "chunk-trailing-bytes",
    official="accepts",
)
def _foreign_bytes(s: Spoilt) -> None:
    path = s.copy.last_committed
    data = path.read_bytes()
    (table,) = struct.unpack_from("<Q", data)
    path.write_bytes(struct.pack("<Q", table + 1024) + data[8:table] + b"\x5a" * 1024 + data[table:])


@mutation("15", "two signed transactions swapped, offsets rebuilt", "failed", "seqno-gap")
def _swapped(s: Spoilt) -> None:
    path = s.copy.last_committed
    raw = [e.raw for e in s.copy.entries(path)]
    raw[0], raw[1] = raw[1], raw[0]
    s.copy.write(path, raw)


@mutation("16", "an old chunk replayed as the newest", "failed", "chunk-name")
def _replayed_chunk(s: Spoilt) -> None:
    last = s.copy.last_signature.entry.seqno
    entries = [e.raw for e in s.copy.entries(s.copy.middle_chunk)]
    _close_open_chunk(s)
    path = s.copy.directory / f"ledger_{last + 1}-{last + len(entries)}.committed"
    s.copy.write(path, entries, complete=True)


def _append_unsigned(s: Spoilt, **changes: object) -> None:
    forge = s.outsider()
    last = forge.seqno
    forge.append({"public:records": {b"a": b"never signed"}, "public:records2": {b"b": b"c"}})
    (raw,) = entries_after(forge, last)
    entry = slow.decode_entry(raw)
    if changes:
        raw = reassemble(entry, public=encode_domain(entry, entry.tables, **changes))
    s.copy.append([raw])
    s.txid = f"{entry.view}.{entry.seqno}"


@mutation("17", "a valid transaction after the last signature", "verified", "unsigned-tail", official="accepts")
def _unsigned(s: Spoilt) -> None:
    _append_unsigned(s)
    s.txid = None


@mutation(
    "19",
    "public version differs from the IV in an unsigned transaction",
    "failed",
    "entry-seqno-mismatch",
    official="accepts",
)
def _version(s: Spoilt) -> None:
    _append_unsigned(s, seqno=99)


@mutation(
    "19b",
    "a table appears twice in an unsigned transaction",
    "failed",
    "domain-map-order",
    official="accepts",
)
def _repeated_table(s: Spoilt) -> None:
    forge = s.outsider()
    last = forge.seqno
    forge.append({"public:records": {b"a": b"b"}})
    (raw,) = entries_after(forge, last)
    entry = slow.decode_entry(raw)
    block = slow.encode_tables(entry.tables)
    s.copy.append([reassemble(entry, public=entry.public_domain + block)])


@mutation("20", "a value's length runs past the end of the public domain", "failed", "domain-truncated")
def _long_value(s: Spoilt) -> None:
    forge = s.outsider()
    last = forge.seqno
    forge.append({"public:records": {b"a": b"never signed"}})
    (raw,) = entries_after(forge, last)
    entry = slow.decode_entry(raw)
    at = entry.public_domain.index(b"never signed") - 8
    domain = entry.public_domain[:at] + struct.pack("<Q", 1_000_000) + entry.public_domain[at + 8 :]
    s.copy.append([reassemble(entry, public=domain)])


def _own_node(
    s: Spoilt,
    *,
    status: str = "Trusted",
    cose: bool = False,
    more: dict | None = None,
    view: int | None = None,
    known: bool = True,
    retired: bool = False,
) -> None:
    """The outsider writes his own node and signs with it."""
    forge = s.outsider()
    last = forge.seqno
    if view is not None:
        forge.view = view
    if known:
        info = forge.node_info(forge.node, status)
        if retired:
            info["retired_committed"] = True
        rows = forge.node_rows(forge.node)
        rows[NODES_INFO][forge.node.id.encode()] = json_bytes(info)
        forge.append({**rows, **(more or {})})
        s.txid = f"{forge.view}.{forge.seqno}"
    forge.append({"public:records": {b"forged": b"by an outsider"}})
    forge.sign(mode="dual" if cose else "raw")
    if not known:
        s.txid = f"{forge.view}.{forge.seqno}"
    s.copy.append(entries_after(forge, last))


@mutation(
    "21",
    "an outsider adds a node of his own and signs with it",
    "failed",
    "node-not-endorsed",
    official="accepts",
)
def _node(s: Spoilt) -> None:
    _own_node(s)


@mutation(
    "22",
    "as 21, with a new constitution by a proposal that nobody signed",
    "failed",
    "node-not-endorsed",
    official="accepts",
)
def _node_and_constitution(s: Spoilt) -> None:
    proposal = hashlib.sha256(b"proposal").hexdigest().encode()
    more = {
        "public:ccf.gov.constitution": {SINGLETON_KEY: json_bytes("export function resolve () { return 'Accepted' }")},
        "public:ccf.gov.proposals": {proposal: b'{"actions": [{"name": "set_constitution"}]}'},
        "public:ccf.gov.proposals_info": {
            proposal: json_bytes({"ballots": {}, "proposer_id": "0" * 64, "state": "Accepted"})
        },
    }
    _own_node(s, more=more)


@mutation(
    "23",
    "as 21, with service.info rewritten to the outsider's certificate and signed by his key",
    "failed",
    "service-identity-changed",
    official="accepts",
)
def _node_and_service(s: Spoilt) -> None:
    taken = s.outsider()
    last = taken.seqno
    rows = taken.node_rows(taken.node)
    rows[SERVICE_INFO] = {SINGLETON_KEY: taken.service_info("Open")}
    taken.append(rows)
    s.txid = f"{taken.view}.{taken.seqno}"
    taken.append({"public:records": {b"forged": b"by an outsider"}})
    taken.sign()
    s.copy.append(entries_after(taken, last))


@mutation("24", "as 21, in view 1 after view 2", "failed", "view-decreases", official="accepts")
def _view_back(s: Spoilt) -> None:
    _own_node(s, view=1)


@mutation("26", "as 21, the node still Pending", "failed", "signer-not-trusted")
def _pending(s: Spoilt) -> None:
    _own_node(s, status="Pending")
    s.txid = None


@mutation("27", "signed by a node that was never written", "failed", "signer-unknown")
def _unknown_signer(s: Spoilt) -> None:
    _own_node(s, known=False)


@mutation("29", "the last signature without its COSE half", "verified", "cose-signature-missing", official="accepts")
def _downgrade(s: Spoilt) -> None:
    entry = s.copy.last_signature.entry
    tables = {name: rows for name, rows in entry.tables.items() if name != COSE_SIGNATURES}
    s.copy.replace(entry.seqno, reassemble(entry, public=encode_domain(entry, tables)))
    s.txid = f"{entry.view}.{entry.seqno}"


def _from_scratch(s: Spoilt, **signing: str) -> DemoService:
    for path in s.copy.chunks:
        path.unlink()
    forge = new_service(s.copy.directory, members=1)
    forge.append({**forge.node_rows(forge.node), SERVICE_INFO: {SINGLETON_KEY: forge.service_info("Opening")}})
    forge.sign(**signing)
    forge.complete_chunk()
    return forge


@mutation(
    "30",
    "a ledger of two transactions made from scratch",
    "failed",
    "anchor-mismatch",
    official="accepts",
)
def _scratch(s: Spoilt) -> None:
    _from_scratch(s)


@mutation("40", "as 30, COSE signature only", "failed", "anchor-mismatch", official="accepts")
def _scratch_cose(s: Spoilt) -> None:
    _from_scratch(s, mode="cose")


@mutation("41", "as 40, the COSE signature names another transaction", "failed", "signature-txid")
def _scratch_wrong_txid(s: Spoilt) -> None:
    forge = _from_scratch(s, mode="cose")
    key = forge.service.key
    signer = ServiceSigner(key.fingerprint, key.cose_algorithm, key.sign_cose)
    wrong = cose_root_signature(signer, forge.signed[-1].root, TxId(2, 999), 1_770_000_000)
    place = s.copy.place(2)
    place.entry.tables[COSE_SIGNATURES][SINGLETON_KEY] = json_bytes(base64.b64encode(wrong).decode())
    s.copy.replace(2, reassemble(place.entry, public=encode_domain(place.entry, place.entry.tables)))


@mutation("31", "two directories whose copies of a chunk differ", "failed", "copy-conflict", official="accepts")
def _conflict(s: Spoilt) -> None:
    other = LedgerCopy(s.copy.directory, s.scratch / "other")
    path = other.last_committed
    entries = other.entries(path)
    first = entries[0]
    other.flip(path, first.offset + 8)
    for spare in other.chunks:
        if spare != path:
            spare.unlink()
    s.paths = [s.copy.directory, other.directory]
    s.txid = f"{first.view}.{first.seqno}"


@mutation("32", "the directory's own name contains the name of a chunk", "verified", official="skips")
def _chunk_name_in_path(s: Spoilt) -> None:
    target = s.scratch / f"{s.copy.open_chunk.name}_backup"
    target.parent.mkdir()
    s.copy.directory.rename(target)
    s.copy.directory = target


@mutation("33", "a stale open prefix of a completed chunk beside it", "verified", "redundant-file")
def _stale_prefix(s: Spoilt) -> None:
    path = s.copy.last_committed
    entries = [e.raw for e in s.copy.entries(path)]
    s.copy.write(path.parent / f"ledger_{slow.first_seqno(path)}", entries[:2], complete=False)


@mutation("34", "an empty open file after a crash", "verified", "chunk-empty", official="rejects")
def _empty_file(s: Spoilt) -> None:
    last = s.copy.last_signature.entry.seqno
    _close_open_chunk(s)
    (s.copy.directory / f"ledger_{last + 1}").touch()


@mutation(
    "35",
    "as 21, the node Retired and committed as such",
    "failed",
    "node-not-endorsed",
    official="accepts",
)
def _retired(s: Spoilt) -> None:
    _own_node(s, status="Retired", retired=True)


@mutation("37", "a snapshot entry in a chunk", "failed", "domain-entry-type", official="accepts")
def _snapshot_entry(s: Spoilt) -> None:
    forge = s.outsider()
    domain = struct.pack("<BQQ", 1, forge.seqno + 1, 0) + struct.pack("<Q", 32) + bytes(32) + struct.pack("<Q", 0)
    s.copy.append([slow.assemble_entry(forge.view, forge.seqno + 1, domain, b"", bytes(16))])


@mutation(
    "38",
    "an unsigned transaction of entry type 2, which is valid",
    "verified",
    "unsigned-tail",
    official="rejects",
)
def _type_two(s: Spoilt) -> None:
    _append_unsigned(s, entry_type=2)
    s.txid = None


# ------------------------------------------------------------ reports of users (section 3), not numbered above


@mutation("R4", "a cut file whose header still points at a table", "failed", "chunk-offsets-missing")
def _no_table(s: Spoilt) -> None:
    path = s.copy.last_committed
    data = path.read_bytes()
    (table,) = struct.unpack_from("<Q", data)
    path.write_bytes(data[: table - 10])


@mutation("R6a", "entry version 0", "failed", "entry-version")
def _version_zero(s: Spoilt) -> None:
    entry = s.copy.last_signature.entry
    s.copy.replace(entry.seqno, reassemble(entry, version=0))


@mutation("R6b", "entry version 2", "failed", "entry-version")
def _version_two(s: Spoilt) -> None:
    entry = s.copy.last_signature.entry
    s.copy.replace(entry.seqno, reassemble(entry, version=2))


@mutation("R6c", "entry size smaller than its fixed part", "failed", "entry-too-small")
def _small_size(s: Spoilt) -> None:
    path = s.copy.last_committed
    entry = s.copy.entries(path)[1]
    data = bytearray(path.read_bytes())
    data[entry.offset + 2 : entry.offset + 8] = (20).to_bytes(6, "little")
    path.write_bytes(data)
    s.offset = entry.offset


@mutation("R6d", "public domain larger than its entry", "failed", "entry-public-domain-size")
def _large_domain(s: Spoilt) -> None:
    path = s.copy.last_committed
    entry = s.copy.entries(path)[1]
    data = bytearray(path.read_bytes())
    data[entry.offset + 36 : entry.offset + 44] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(data)


@mutation("R6e", "unknown entry flags", "failed", "entry-flags")
def _flags(s: Spoilt) -> None:
    entry = s.copy.last_signature.entry
    s.copy.replace(entry.seqno, reassemble(entry, flags=0x80))


@mutation("R11", "a signature transaction with no signature", "failed", "signature-missing", official="accepts")
def _no_signature(s: Spoilt) -> None:
    entry = s.copy.last_signature.entry
    tables = {name: rows for name, rows in entry.tables.items() if name == TREE}
    s.copy.replace(entry.seqno, reassemble(entry, public=encode_domain(entry, tables)))


@mutation("R12b", "the root inside the node's signature changed", "failed", "root-mismatch")
def _signature_root(s: Spoilt) -> None:
    entry = s.copy.last_signature.entry
    _replace_json(s, entry.seqno, SIGNATURES, lambda value: value.update(root="ab" * 32))
    s.txid = f"{entry.view}.{entry.seqno}"


@mutation("R12", "seqno inside the node's signature differs from the entry's", "failed", "signature-txid")
def _signature_seqno(s: Spoilt) -> None:
    entry = s.copy.last_signature.entry
    _replace_json(s, entry.seqno, SIGNATURES, lambda value: value.update(seqno=entry.seqno + 1))
    s.txid = f"{entry.view}.{entry.seqno}"


def _close_open_chunk(s: Spoilt) -> None:
    opened = s.copy.open_chunk
    entries = s.copy.entries(opened)
    s.copy.write(opened, [e.raw for e in entries], complete=True)
    opened.rename(opened.parent / f"ledger_{entries[0].seqno}-{entries[-1].seqno}.committed")


def _recover_as_outsider(s: Spoilt, *, vouched: bool) -> None:
    forge = s.outsider()
    _close_open_chunk(s)
    forge.writer.directory = s.copy.directory
    members = forge.members
    own = {
        "public:ccf.gov.members.certs": {m.id.encode(): m.certificate.encode() for m in members},
        "public:ccf.gov.members.info": {m.id.encode(): json_bytes({"status": "Active"}) for m in members},
    }
    forge.recover(vouched=vouched, boot_writes=own if vouched else None)
    forge.append({"public:records": {b"forged": b"by an outsider"}})
    forge.sign(close_chunk=True)
    s.txid = str(forge.boot)


@mutation("R16a", "a recovery appended by an outsider", "failed", "service-identity-unvouched", official="accepts")
def _outsider_recovery(s: Spoilt) -> None:
    _recover_as_outsider(s, vouched=False)


@mutation(
    "R16b",
    "as R16a, approved and opened by members of the outsider's own, the old key endorsed by the new",
    "failed",
    "service-identity-unvouched",
    official="accepts",
)
def _outsider_recovery_with_members(s: Spoilt) -> None:
    _recover_as_outsider(s, vouched=True)


@mutation("R18", "an empty directory", "undecided", "nothing-to-verify", official="accepts")
def _empty_directory(s: Spoilt) -> None:
    for path in s.copy.chunks:
        path.unlink()


@mutation("R18b", "a directory with .recovery files only", "undecided", "nothing-to-verify", official="accepts")
def _only_recovery(s: Spoilt) -> None:
    for path in s.copy.chunks:
        path.rename(f"{path}.recovery")


@mutation("R19", "an open chunk of 8 bytes", "verified")
def _header_only(s: Spoilt) -> None:
    _empty_file(s)
    empty = next(p for p in s.copy.directory.glob("ledger_*") if p.stat().st_size == 0)
    empty.write_bytes(bytes(8))


@mutation("R41", ".committed_prefix beside the chunks", "verified", "file-ignored")
def _committed_prefix(s: Spoilt) -> None:
    path = s.copy.last_committed
    entries = [e.raw for e in s.copy.entries(path)]
    first = slow.first_seqno(path)
    s.copy.write(path.parent / f"ledger_{first}-{first + 1}.committed_prefix", entries[:2], complete=False)


@mutation(
    "R63",
    "a file with an unknown name beside the chunks",
    "verified",
    "file-name-unknown",
    official="crashes",
)
def _unknown_name(s: Spoilt) -> None:
    path = s.copy.last_committed
    (path.parent / "invalidnameledger_1-14.committed").write_bytes(path.read_bytes())


@mutation("N2", "all chunks renamed by +100", "failed", "chunk-name", official="accepts")
def _renamed(s: Spoilt) -> None:
    for path in reversed(s.copy.chunks):
        numbers = path.name.removeprefix("ledger_").removesuffix(".committed").split("-")
        suffix = ".committed" if path.name.endswith(".committed") else ""
        path.rename(path.parent / f"ledger_{'-'.join(str(int(n) + 100) for n in numbers)}{suffix}")
