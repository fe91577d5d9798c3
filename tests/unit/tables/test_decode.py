"""How keys and values are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import Ledger
from tallystick.errors import UsageError
from tallystick.tables import decode_key, decode_value, names, parse_key

APP = "public:records"


@pytest.mark.parametrize(
    ("table", "key", "shown"),
    [
        (names.SERVICE_INFO, bytes(8), {"u64": 0}),
        (names.SERVICE_INFO, b"odd", "odd"),
        (APP, b"42", "42"),
        (APP, "schl\u00fcssel".encode(), "schl\u00fcssel"),
        (APP, (7).to_bytes(8, "little"), {"u64": 7}),
        (APP, b"12345678", "12345678"),
        (APP, b"\xff\x00", {"hex": "ff00"}),
        (APP, b"a\x1b", {"hex": "611b"}),
        (APP, b"", {"hex": ""}),
        (names.NODES_INFO, b"\x01\x00\x00\x00\x00\x00\x00\x00", {"hex": "0100000000000000"}),
    ],
)
def test_keys(table: str, key: bytes, shown: object) -> None:
    assert decode_key(table, key).key_json() == shown


@pytest.mark.parametrize(
    ("table", "value", "shown"),
    [
        (names.SERVICE_INFO, b'{"status":"Open"}', {"json": {"status": "Open"}}),
        (names.SERVICE_INFO, b"{broken", {"text": "{broken"}),
        (names.TREE, b"{}", {"hex": "7b7d"}),
        (names.CONSTITUTION, b'"export function validate(){}"', {"json": "export function validate(){}"}),
        ("public:ccf.gov.members.certs", b"-----BEGIN\nX\n", {"text": "-----BEGIN\nX\n"}),
        (APP, b"17", {"text": "17"}),
        (APP, b'"text"', {"json": "text"}),
        (APP, b"[1,2]", {"json": [1, 2]}),
        (APP, b"line\r\nline", {"text": "line\r\nline"}),
        (APP, b"over\rwritten", {"hex": b"over\rwritten".hex()}),
        (APP, b"\xa1\x61a\x41\x00", {"cbor": {"a": {"hex": "00"}}, "hex": "a161614100"}),
        (
            APP,
            b"\xd2\x84\x40\xa0\xf6\x40",
            {"cbor": {"tag": 18, "value": [{"hex": ""}, {}, None, {"hex": ""}]}, "hex": "d28440a0f640"},
        ),
        (APP, b"\x00\x01", {"hex": "0001"}),
        (APP, b"", {"text": ""}),
        # A parsed form would hide one of the two, or change what was written.
        (APP, b'{"a":1,"a":2}', {"text": '{"a":1,"a":2}'}),
        (APP, b"[NaN]", {"text": "[NaN]"}),
        # Too deep to print, or to parse.
        (APP, b"[" * 100 + b"]" * 100, {"text": "[" * 100 + "]" * 100}),
        (APP, b"[" * 100_000, {"text": "[" * 100_000}),
        (APP, b"[" + b"9" * 5000 + b"]", {"text": "[" + "9" * 5000 + "]"}),
    ],
)  # fmt: skip
def test_values(table: str, value: bytes, shown: object) -> None:
    assert decode_value(table, value).to_json() == shown


@given(st.binary(max_size=200))
def test_every_value_has_a_form_and_keeps_its_bytes(value: bytes) -> None:
    for table in (APP, names.SERVICE_INFO, names.TREE, "public:ccf.gov.modules"):
        decoded = decode_value(table, value)
        json.dumps(decoded.to_json())
        decoded.text()
        decoded.line()
        assert decoded.data == value
    json.dumps(decode_key(APP, value).key_json())


@given(st.binary(min_size=1, max_size=30))
def test_keys_can_be_named_as_they_are_shown(key: bytes) -> None:
    shown = decode_key(APP, key).key_json()
    if isinstance(shown, str):
        assert key in parse_key(f"text:{shown}")
    else:
        ((kind, value),) = shown.items()
        assert parse_key(f"{kind}:{value}") == {key}


def test_a_number_may_be_text_or_a_number() -> None:
    assert parse_key("42") == {b"42", (42).to_bytes(8, "little")}
    assert parse_key("0x00ff") == {b"\x00\xff"}
    assert parse_key("text:0x00ff") == {b"0x00ff"}
    assert parse_key("18446744073709551616") == {b"18446744073709551616"}


@pytest.mark.parametrize("text", ["0xabc", "hex:zz", "u64:-1", "u64:18446744073709551616", "u64:"])
def test_malformed_keys(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_key(text)
    assert caught.value.code == "key-malformed"


def test_catalogue_covers_every_table_that_real_services_write(ledgers: Path, ccf_built: Path) -> None:
    places = [*sorted(ledgers.glob("*/ledger")), ccf_built / "js1" / "ledger"]
    unknown, misfits = set(), set()
    for place in places:
        for transaction in Ledger(place, uncommitted=True):
            for table, writes in transaction.tables.items():
                if not table.startswith("public:ccf."):
                    continue
                info = names.CATALOGUE.get(table)
                if info is None:
                    unknown.add(table)
                    continue
                for key, value in writes.items():
                    if info.keys is names.KeyKind.U64 and len(key) != 8:
                        misfits.add((table, key))
                    if value is not None and info.values is names.ValueKind.JSON:
                        kind = decode_value(table, value).kind
                        if kind != "json":
                            misfits.add((table, kind))
    assert unknown == set()
    assert misfits == set()
