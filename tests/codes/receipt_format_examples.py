"""Receipts that are malformed in one way each, and the code that the core gives for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from codes.native_examples import NativeExample
from support import cbor
from support.cbor import Tagged
from support.services import base
from tallystick import _native
from tallystick.demo.receipts import json_receipt

HEADERS: dict[object, object] = {1: -35, 395: 2, "ccf.v1": {"txid": "2.9"}}
EVIDENCE = f"ce:2.5:{'0' * 64}"
LEAF = [bytes(32), EVIDENCE, bytes(32)]
# Leaf 5 in the tree that the signature at seqno 9 signs.
PATH = [[True, bytes(32)], [False, bytes(32)], [True, bytes(32)], [False, bytes(32)]]


@cache
def _receipt() -> dict[str, Any]:
    made = json_receipt(base("6.x").service, 5)
    parsed: dict[str, Any] = json.loads(made if isinstance(made, bytes) else json.dumps(made))
    return parsed


def _json(change: Callable[[dict[str, Any]], object]) -> Callable[[object], object]:
    def call(_: object) -> object:
        receipt = json.loads(json.dumps(_receipt()))
        change(receipt)
        return _native.JsonReceipt.parse(json.dumps(receipt).encode())

    return call


def _proof(leaf: object = LEAF, path: object = PATH, **more: object) -> bytes:
    return cbor.encode({1: leaf, 2: path, **{int(name[1:]): value for name, value in more.items()}})


def _cose(
    *proofs: bytes, headers: dict[object, object] = HEADERS, payload: bytes | None = None, tag: bool = True
) -> Callable[[object], object]:
    message: list[object] = [cbor.encode(headers), {396: {-1: list(proofs)}}, payload, bytes(96)]
    data = cbor.encode(Tagged(18, message) if tag else message)
    return lambda _: _native.CoseReceipt.parse(data)


def _without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda receipt: receipt.pop(name)


RECEIPT_FORMATS = [
    NativeExample(code, call)
    for code, call in {
        "receipt-too-large": lambda _: _native.JsonReceipt.parse(b" " * (17 << 20)),
        "receipt-field-missing": _json(_without("signature")),
        "receipt-field-twice": _json(lambda receipt: receipt.update(nodeId=receipt["node_id"])),
        "receipt-leaf-ambiguous": _json(lambda receipt: receipt.update(leaf="00" * 32)),
        "receipt-hex": _json(lambda receipt: receipt["leaf_components"].update(write_set_digest="00")),
        "receipt-base64": _json(lambda receipt: receipt.update(signature="%")),
        "receipt-commit-evidence": _json(lambda receipt: receipt["leaf_components"].update(commit_evidence="ce:2.5")),
        "receipt-path-step": _json(lambda receipt: receipt["proof"].append({})),
        "receipt-path-too-long": _json(lambda receipt: receipt.update(proof=[{"left": "00" * 32}] * 65)),
        "receipt-too-many-endorsements": _json(lambda receipt: receipt.update(service_endorsements=["x"] * 5000)),
        "receipt-path-shape": _cose(_proof(path=PATH[:1])),
        "receipt-untagged": _cose(_proof(), tag=False),
        "receipt-payload-attached": _cose(_proof(), payload=bytes(32)),
        "receipt-header-missing": _cose(_proof(), headers={1: -35}),
        "receipt-vds": _cose(_proof(), headers={**HEADERS, 395: 1}),
        "receipt-proofs": _cose(),
        "receipt-proof-duplicate": _cose(_proof(), _proof()),
        "receipt-proof-members": _cose(_proof(_3=0)),
        "receipt-leaf-members": _cose(_proof(leaf=LEAF[:2])),
        "receipt-digest-size": _cose(_proof(leaf=[bytes(31), EVIDENCE, bytes(32)])),
        "receipt-view-order": _cose(_proof(leaf=[bytes(32), EVIDENCE.replace("2.5", "3.5"), bytes(32)])),
        "shares-box": lambda _: _native.open_secret_box(bytes(32), bytes(64)),
    }.items()
]
