"""Every single bit of a real receipt counts: flip it, and the receipt does not verify."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tallystick.findings import Verdict
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt.verify import audit_receipts

RECEIPTS = [
    ("svc1/2.24-private.node.json", "service-cert-1.pem"),
    ("svc1/2.24-private.cose_receipt.cose", "service-cert-1.pem"),
    ("svc3-of-svc1/2.1030-private.node.json", "service-cert-3.pem"),
]


@pytest.mark.parametrize(("name", "certificate"), RECEIPTS)
def test_every_flipped_bit(ccf_built: Path, name: str, certificate: str) -> None:
    cpp3 = ccf_built / "cpp3"
    data = (cpp3 / "receipts" / name).read_bytes()
    anchor = TrustAnchor.from_options(service_certs=[cpp3 / certificate])
    # A misspelt name makes an optional field absent, and white space around a certificate means nothing.
    start = data.find(b'"node_id"')
    harmless = set(range(start + 1, start + 8)) if start >= 0 else set()
    harmless |= {found.end() - 1 for found in re.finditer(rb"END CERTIFICATE-----\\n", data)}

    changed = []
    for bit in range(len(data) * 8):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        changed.append((str(bit // 8), bytes(spoilt)))
    results = audit_receipts(changed, anchor)

    verified = {int(result.file or "") for result in results if result.verdict is Verdict.VERIFIED}
    assert verified <= harmless, [data[position - 20 : position + 20] for position in verified - harmless]
