"""The explorer's pages: what each shows, from the index, the ledger and the verifier.

What is shown of a transaction is what the file holds. Whether it is proven is said beside it: by the verdict on
the whole ledger once there is one, and on a transaction's own page by verifying its path and signatures at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from tallystick import _native
from tallystick.errors import TallystickError
from tallystick.evidence.compare import Copy
from tallystick.explore.html import (
    Content,
    Markup,
    definition_list,
    hexdump,
    join,
    link,
    path_drawing,
    preformatted,
    table,
    tag,
)
from tallystick.explore.index import Index
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.transaction import Transaction
from tallystick.tables.decode import decode_key, decode_value, parse_key

__all__ = ["Explorer", "NotFoundError"]

_PAGE = 100
_SHORT = 160
_MAX_SHOWN_BYTES = 256 * 1024
_MAX_DUMP_BYTES = 64 * 1024

# What makes an identity of the verdict trusted.
_TRUST: Mapping[str | None, str] = {
    "pinned": "pinned by you",
    "genesis": "of the first transaction, which you trust",
    "opening": "opened by the members of the identity before it",
    "endorsement": "endorsed by a newer identity that is trusted",
    None: "not trusted",
}

View = Callable[[Mapping[str, str]], tuple[str, Markup]]


class NotFoundError(Exception):
    """There is no such page."""


@dataclass
class Explorer:
    """A ledger opened for looking at.

    Attributes:
        ledger: the ledger; access is serialised, since its open chunks are shared.
        verdict: of the whole ledger, as JSON; None while the verifier is at work.
        governance: events as JSON; None while the replay is at work.
        trouble: why one of them ended without a result.
    """

    ledger: Ledger
    index: Index
    copy: Copy
    verdict: dict[str, object] | None = None
    governance: dict[str, object] | None = None
    trouble: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def render(self, path: str, query: Mapping[str, str]) -> tuple[str, Markup]:
        """Title and body of the page at ``path``.

        Raises:
            NotFoundError: there is none.
            TallystickError: the ledger does not give what the page needs.
        """
        fixed: dict[str, View] = {
            "/": self._overview,
            "/transactions": self._transactions,
            "/tables": self._tables,
            "/governance": self._governance,
            "/search": self._search,
        }
        if path in fixed:
            return fixed[path](query)
        kind, _, rest = path.lstrip("/").partition("/")
        if kind == "transaction" and rest.isascii() and rest.isdigit() and len(rest) < 19:
            return self._transaction(int(rest))
        if kind == "table" and rest:
            return self._table(unquote(rest), query)
        raise NotFoundError(path)

    def raw(self, seqno: int) -> bytes:
        """The entry of a transaction, as in the file."""
        return self._get(seqno).raw

    def status(self) -> Markup:
        """A few words on what is proven, for every page's head."""
        if self.verdict is None:
            return tag("span", self.trouble.get("verdict", "verifying…"), class_="undecided")
        verdict = str(self.verdict["verdict"])
        return tag("span", f"ledger {verdict}", class_=verdict)

    def _get(self, seqno: int) -> Transaction:
        if not self._holds(seqno):
            raise NotFoundError(str(seqno))
        with self._lock:
            return self.ledger.get_transaction(seqno)

    # ------------------------------------------------------------------------------------------- pages

    def _overview(self, _query: Mapping[str, str]) -> tuple[str, Markup]:
        transactions, signatures = self.index.counts()
        facts = definition_list(
            [
                ("Transactions", f"{transactions:,}"),
                ("Signature transactions", f"{signatures:,}"),
                ("Seqnos", f"{self.ledger.first_seqno} to {self.ledger.last_seqno}"),
                ("Files", str(len(self.ledger.files.parts))),
                ("Public tables", str(len(self.index.tables()))),
            ]
        )
        return "Overview", join([facts, self._verdict_section(), self._files_section()])

    def _verdict_section(self) -> Markup:
        heading = tag("h2", "What is proven")
        verdict = self.verdict
        if verdict is None:
            text = self.trouble.get("verdict", "The verifier is at work; load this page again in a moment.")
            return join([heading, tag("p", text)])
        proven = verdict.get("proven")
        rows: list[tuple[str, Content]] = [
            ("Verdict", tag("span", str(verdict["verdict"]), class_=str(verdict["verdict"]))),
            ("Proven", _range(proven) if isinstance(proven, dict) else "nothing"),
        ]
        parts: list[Markup] = [heading, definition_list(rows)]
        identities = verdict.get("identities")
        if isinstance(identities, list) and identities:
            parts += [
                tag("h2", "Service identities"),
                table(
                    ["key (SHA-256)", "from", "last signed", "status", "signatures", "trust"],
                    [
                        [
                            tag("code", _text(item.get("service_key_sha256")) or "unknown"),
                            _text(item.get("first_txid")) or "before the start",
                            _text(item.get("last_signed_txid")) or "never",
                            _text(item.get("status")) or "unknown",
                            _text(item.get("signatures")),
                            _TRUST[item.get("trusted_by")],
                        ]
                        for item in identities
                    ],
                ),
            ]
        findings = verdict.get("findings")
        if isinstance(findings, list) and findings:
            rows_of = [
                [
                    str(item["severity"]),
                    tag("code", str(item["code"])),
                    str(item["message"]),
                    self._txid_link(item.get("txid")),
                ]
                for item in findings
            ]
            parts += [tag("h2", "Findings"), table(["severity", "code", "message", "transaction"], rows_of)]
        not_checked = verdict.get("not_checked")
        if isinstance(not_checked, list):
            parts += [tag("h2", "Not checked"), tag("ul", *(tag("li", str(item)) for item in not_checked))]
        return join(parts)

    def _files_section(self) -> Markup:
        rows = [[part.file.path, part.first, part.last] for part in self.ledger.files.parts[:_PAGE]]
        more = len(self.ledger.files.parts) - len(rows)
        note = tag("p", f"… and {more} more files") if more > 0 else Markup("")
        return join([tag("h2", "Files"), table(["file", "first", "last"], rows), note])

    def _transactions(self, query: Mapping[str, str]) -> tuple[str, Markup]:
        before, chosen, kind = _number(query.get("before")), query.get("table") or None, query.get("kind") or None
        rows = self.index.transactions(before=before, table=chosen, kind=kind, limit=_PAGE)
        body = table(
            ["transaction", "kind", "bytes", "public tables"],
            [
                [
                    link(f"{row.view}.{row.seqno}", f"/transaction/{row.seqno}"),
                    row.kind,
                    row.size,
                    join((_table_link(name) for name in row.tables), ", "),
                ]
                for row in rows
            ],
        )
        filters = [("all", None), ("writes", "writes"), ("private only", "private"), ("signatures", "signature")]
        choice = join((link(name, "/transactions", kind=value, table=chosen) for name, value in filters), " · ")
        pages: list[Markup] = [link("newest", "/transactions", table=chosen, kind=kind)]
        if len(rows) == _PAGE:
            pages.append(link("older", "/transactions", before=rows[-1].seqno, table=chosen, kind=kind))
        jump = Markup(
            '<form action="/transactions"><label>before seqno <input name="before" size="10"></label> '
            "<button>Go</button></form>"
        )
        title = "Transactions" if chosen is None else f"Transactions that write {chosen}"
        return title, join([tag("p", choice), body, tag("nav", *pages, jump, class_="pages", aria_label="More")])

    def _transaction(self, seqno: int) -> tuple[str, Markup]:
        transaction = self._get(seqno)
        facts = definition_list(
            [
                ("File", transaction.file),
                ("Offset", str(transaction.offset)),
                ("Size", f"{transaction.size} bytes, {transaction.private_size} of them encrypted"),
                ("Entry type", str(transaction.entry_type)),
                ("Flags", str(transaction.flags)),
                ("Write set digest", tag("code", transaction.write_set_digest.hex())),
                ("Commit evidence digest", _digest(transaction.commit_evidence_digest)),
                ("Claims digest", _digest(transaction.claims_digest)),
                ("Leaf", tag("code", transaction.leaf.hex())),
            ]
        )
        neighbours = [
            link(name, f"/transaction/{other}")
            for name, other in (("previous", seqno - 1), ("next", seqno + 1))
            if self.ledger.first_seqno is not None and self.ledger.first_seqno <= other <= (self.ledger.last_seqno or 0)
        ]
        parts = [
            tag("nav", *neighbours, class_="pages", aria_label="Neighbours"),
            facts,
            self._writes_section(transaction),
            self._proof_section(transaction),
            tag("h2", "Bytes"),
            tag("p", link("the whole entry", f"/raw/{seqno}")),
            hexdump(transaction.raw, _MAX_DUMP_BYTES),
        ]
        return f"Transaction {transaction.txid}", join(parts)

    def _writes_section(self, transaction: Transaction) -> Markup:
        parts = [tag("h2", "Public writes")]
        for name, writes in transaction.tables.items():
            parts.append(tag("h3", _table_link(name)))
            for key, value in writes.items():
                shown = link(decode_key(name, key).line(), f"/table/{quote(name, safe='')}", key=f"0x{key.hex()}")
                parts.append(tag("p", shown, " removed" if value is None else ""))
                if value is not None:
                    parts.append(_value(name, value))
        if len(parts) == 1:
            parts.append(tag("p", "none: what it wrote is private"))
        return join(parts)

    def _proof_section(self, transaction: Transaction) -> Markup:
        heading = tag("h2", "Proof")
        signature = self.index.covering_signature(transaction.seqno)
        if signature is None:
            return join(
                [heading, tag("p", "No signature follows: nothing proves that it is committed.", class_="undecided")]
            )
        try:
            with self._lock:
                statement = self.copy.statement(transaction.seqno)
            verified = statement.verify()
        except TallystickError as error:
            return join([heading, tag("p", f"It does not hold: {error.message}", class_="failed")])
        signed_at = verified.signature_txid
        nodes, current = [], verified.leaf
        for step in statement.path:
            current = _native.merkle_root_of_path(current, [step])
            nodes.append(current.hex())
        rows: list[tuple[str, Content]] = [
            ("Signed at", link(str(signed_at), f"/transaction/{signed_at.seqno}") if signed_at else "not known"),
            ("Signatures that hold", " and ".join(verified.signed_by)),
            ("Service key", tag("code", verified.service_key_sha256)),
            ("Root", tag("code", verified.root.hex())),
        ]
        note = tag(
            "p", "The path and these signatures were verified now. Whose the service key is, the verdict above says."
        )
        drawing = path_drawing(verified.leaf.hex(), statement.path, nodes, verified.root.hex())
        return join([heading, note, definition_list(rows), drawing])

    def _tables(self, _query: Mapping[str, str]) -> tuple[str, Markup]:
        rows: list[list[Content]] = [
            [_table_link(name), count, link("transactions", "/transactions", table=name)]
            for name, count in self.index.tables()
        ]
        return "Tables", table(["table", "writes", ""], rows)

    def _table(self, name: str, query: Mapping[str, str]) -> tuple[str, Markup]:
        if "key" in query:
            return self._key(name, query)
        after = query.get("after")
        rows = self.index.keys(name, after=None if after is None else _hex(after), limit=_PAGE)
        if not rows and after is None:
            raise NotFoundError(name)
        here = f"/table/{quote(name, safe='')}"
        shown: list[list[Content]] = []
        for row in rows:
            value = None if row.removed else (self._get(row.seqno).table(name) or {}).get(row.key)
            text = "removed" if value is None else _cut(decode_value(name, value).line())
            shown.append(
                [
                    link(_cut(decode_key(name, row.key).line()), here, key=f"0x{row.key.hex()}"),
                    link(str(row.seqno), f"/transaction/{row.seqno}"),
                    row.writes,
                    text,
                ]
            )
        parts: list[Markup] = [table(["key", "last written at", "writes", "value"], shown)]
        if len(rows) == _PAGE:
            parts.append(
                tag("nav", link("more keys", here, after=rows[-1].key.hex()), class_="pages", aria_label="More")
            )
        return name, join(parts)

    def _key(self, name: str, query: Mapping[str, str]) -> tuple[str, Markup]:
        keys = parse_key(query["key"])
        before = _number(query.get("before"))
        parts = []
        for key in sorted(keys):
            for seqno, removed in self.index.history(name, key, before=before, limit=_PAGE):
                transaction = self._get(seqno)
                parts.append(
                    tag("h2", link(str(transaction.txid), f"/transaction/{seqno}"), " removed" if removed else "")
                )
                value = (transaction.table(name) or {}).get(key)
                if value is not None:
                    parts.append(_value(name, value))
        if not parts:
            raise NotFoundError(name)
        return f"History of {query['key']} in {name}", join([tag("p", _table_link(name)), *parts])

    def _governance_verdict(self, replayed: str) -> Markup:
        """What the replay says; it rests on the ledger, and is worth no more than that."""
        ledger = None if self.verdict is None else str(self.verdict["verdict"])
        if ledger == "verified" or replayed != "verified":
            return tag("p", "Replayed and compared with the ledger: ", tag("span", replayed, class_=replayed))
        because = "is not verified yet" if ledger is None else f"itself is {ledger}"
        text = f"consistent, but the ledger {because}"
        return tag("p", "Replayed as the ledger tells it: ", tag("span", text, class_=ledger or "undecided"))

    def _governance(self, _query: Mapping[str, str]) -> tuple[str, Markup]:
        if self.governance is None:
            text = self.trouble.get("governance", "The replay is at work; load this page again in a moment.")
            return "Governance", tag("p", text)
        events = self.governance.get("events")
        rows: list[list[Content]] = []
        for event in events if isinstance(events, list) else []:
            vote = event.get("vote")
            told = [
                ", ".join(event.get("actions") or ()),
                "" if vote is None else "for" if vote else "against",
                _text(event.get("outcome")),
                _text(event.get("summary")),
            ]
            rows.append(
                [
                    self._txid_link(event.get("txid")),
                    _text(event.get("created_at")),
                    tag("span", _text(event.get("kind")), class_="keep"),
                    "; ".join(text for text in told if text),
                    _beginning(event.get("member_id")),
                    _beginning(event.get("proposal_id")),
                ]
            )
        head = self._governance_verdict(str(self.governance.get("verdict", "")))
        return "Governance", join(
            [head, table(["transaction", "when (as signed)", "what", "", "member", "proposal"], rows)]
        )

    def _search(self, query: Mapping[str, str]) -> tuple[str, Markup]:
        text = query.get("q", "").strip()[:_SHORT]
        found: list[Markup] = []
        number = text.rsplit(".", 1)[-1]
        if number.isascii() and number.isdigit() and len(number) < 19 and self._holds(int(number)):
            found.append(link(f"transaction {number}", f"/transaction/{int(number)}"))
        if text:
            for name, _ in self.index.tables():
                if text in name:
                    found.append(_table_link(name))
            for key in sorted(parse_key(text)) if text else ():
                for name, hit in self.index.find_keys(key, _PAGE):
                    label = f"{_cut(decode_key(name, hit).line())} in {name}"
                    found.append(link(label, f"/table/{quote(name, safe='')}", key=f"0x{hit.hex()}"))
        if not found:
            return f"Nothing found for {text!r}", tag(
                "p", "Give a transaction ID, a seqno, or the beginning of a key or table."
            )
        return f"Found for {text!r}", tag("ul", *(tag("li", item) for item in found[: 2 * _PAGE]))

    def _holds(self, seqno: int) -> bool:
        return self.ledger.first_seqno is not None and self.ledger.first_seqno <= seqno <= (self.ledger.last_seqno or 0)

    def _txid_link(self, txid: object) -> Content:
        if not isinstance(txid, str):
            return ""
        seqno = txid.rsplit(".", 1)[-1]
        return link(txid, f"/transaction/{seqno}") if seqno.isdigit() and self._holds(int(seqno)) else txid


def _range(proven: Mapping[str, object]) -> str:
    return f"transactions {proven.get('first_seqno')} to {proven.get('last_seqno')} ({proven.get('last_txid')})"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _beginning(identifier: object) -> Content:
    return tag("code", f"{str(identifier)[:8]}…", class_="keep") if identifier else ""


def _digest(value: bytes | None) -> Content:
    return None if value is None else tag("code", value.hex())


def _table_link(name: str) -> Markup:
    return link(name, f"/table/{quote(name, safe='')}")


def _value(name: str, value: bytes) -> Markup:
    if len(value) > _MAX_SHOWN_BYTES:
        return join([tag("p", f"{len(value)} bytes, the beginning:"), hexdump(value, _MAX_DUMP_BYTES)])
    return preformatted(decode_value(name, value).text())


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else text[:_SHORT] + "…"


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise NotFoundError(text) from None
