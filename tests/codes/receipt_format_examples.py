"""Bytes that are no receipt, one for each code that the core's receipt parsers give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from codes.native_examples import NativeExample
from support import cbor
from support.cbor import Tagged
from tallystick import _native

_DIGEST = "ab" * 32
_EVIDENCE = f"ce:2.7:{_DIGEST}"
# The path of leaf 7 in a tree of 9 leaves.
_PATH = [{"left": _DIGEST}, {"left": _DIGEST}, {"left": _DIGEST}, {"right": _DIGEST}]


def _json(**changes: object) -> Callable[[Path], object]:
    document: dict[str, object] = {
        "cert": "pem",
        "node_id": _DIGEST,
        "signature": "AAAA",
        "proof": _PATH,
        "leaf_components": {
            "write_set_digest": _DIGEST,
            "commit_evidence": _EVIDENCE,
            "claims_digest": _DIGEST,
        },
        **changes,
    }
    data = json.dumps({name: value for name, value in document.items() if value is not ...}).encode()
    return lambda _: _native.JsonReceipt.parse(data)


def _cose(
    header: dict[object, object] | None = None,
    proofs: object = None,
    *,
    payload: bytes | None = None,
    tagged: bool = True,
) -> Callable[[Path], object]:
    protected = cbor.encode(
        {1: -35, 4: _DIGEST.encode(), 395: 2, "ccf.v1": {"txid": "2.9"}} if header is None else header
    )
    body = [protected, {396: {-1: [_proof()] if proofs is None else proofs}}, payload, bytes(96)]
    data = cbor.encode(Tagged(18, body) if tagged else body)
    return lambda _: _native.CoseReceipt.parse(data)


def _proof(leaf: list[object] | None = None, path: list[object] | None = None, **more: object) -> bytes:
    digest = bytes(32)
    whole: dict[object, object] = {
        1: [digest, _EVIDENCE, digest] if leaf is None else leaf,
        2: [[True, digest], [True, digest], [True, digest], [False, digest]] if path is None else path,
    }
    if more.get("without_path"):
        del whole[2]
    return cbor.encode(whole)


RECEIPT_FORMATS = [
    NativeExample(code, call)
    for code, call in {
        "receipt-field-missing": _json(signature=...),
        "receipt-field-twice": _json(nodeId=_DIGEST),
        "receipt-leaf-ambiguous": _json(leaf=_DIGEST),
        "receipt-hex": _json(node_id="AB" * 32),
        "receipt-base64": _json(signature="***"),
        "receipt-commit-evidence": _json(
            leaf_components={"write_set_digest": _DIGEST, "commit_evidence": "ce:none", "claims_digest": _DIGEST}
        ),
        "receipt-path-step": _json(proof=[{}]),
        "receipt-path-too-long": _json(proof=[{"left": _DIGEST}] * 65),
        "receipt-path-shape": _cose(None, [_proof(path=[[True, bytes(32)]])]),
        "receipt-too-many-endorsements": _json(service_endorsements=["pem"] * 5_000),
        "receipt-too-large": lambda _: _native.JsonReceipt.parse(b" " * (17 << 20)),
        "receipt-untagged": _cose(tagged=False),
        "receipt-payload-attached": _cose(payload=bytes(32)),
        "receipt-header-missing": _cose({1: -35}),
        "receipt-vds": _cose({1: -35, 4: _DIGEST.encode(), 395: 1, "ccf.v1": {"txid": "2.9"}}),
        "receipt-proofs": _cose(None, []),
        "receipt-proof-duplicate": _cose(None, [_proof(), _proof()]),
        "receipt-proof-members": _cose(None, [_proof(without_path=True)]),
        "receipt-leaf-members": _cose(None, [_proof(leaf=[bytes(32), _EVIDENCE])]),
        "receipt-digest-size": _cose(None, [_proof(leaf=[bytes(31), _EVIDENCE, bytes(32)])]),
        "receipt-view-order": _cose({1: -35, 4: _DIGEST.encode(), 395: 2, "ccf.v1": {"txid": "1.9"}}),
    }.items()
]
