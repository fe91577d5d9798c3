"""The native data plane as Python holds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from tallystick._native import RootSigner
from tallystick.ledger.writer import ServiceSigner, cose_root_signature
from tallystick.node.keys import SigningKey
from tallystick.types import TxId

# An observer that takes a while, so that threads are inside Python, or want to be, when the runtime goes.
_SCRIPT = """
import sys, time
from tallystick import _native

from tallystick.node.keys import SigningKey

signer = _native.RootSigner(SigningKey.generate().pkcs8, node_key=None, node_id="0" * 64, certificate="")

def observe(view, seqno, trouble):
    time.sleep(0.05)

def runtime(number):
    directory = f"{sys.argv[1]}/{number}"
    made = _native.NodeRuntime(directory, bytes(32), signer, observe, signature_delay_ms=1, sync=False)
    made.serve([("rpc", "127.0.0.1:0", "HTTP1", None, {})], lambda request: (200, [], b"", False), 1)
    tx = made.begin()
    tx.set("public:x", b"k", b"v")
    made.commit(tx)
    time.sleep(0.01)
    return made

"""


@pytest.mark.parametrize(
    "end",
    [
        "for number in range(5):\n    runtime(number)\n",
        "kept = runtime(0)\n",
        "kept = runtime(0)\nkept.stop()\nkept.stop()\n",
    ],
    ids=["dropped", "alive-at-exit", "stopped"],
)
def test_a_runtime_that_goes_ends_its_threads(end: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT + end, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("curve", ["Secp384R1", "Secp256R1"])
def test_roots_are_signed_as_other_libraries_check_them(curve: str) -> None:
    node, service = SigningKey.generate(curve), SigningKey.generate(curve)
    signer = RootSigner(service.pkcs8, node_key=node.pkcs8, node_id=node.id, certificate="old")
    signer.use_claims("an issuer", "a subject")
    signer.use_certificate("new")
    for root in (bytes(range(32)), b"\0" * 4 + bytes(range(28)), b"\xff" * 32):
        raw, cose, node_id, certificate = signer.sign(root, 2, 19)
        assert (node_id, certificate) == (node.id, "new")
        public = node.private_key.public_key()
        public.verify(raw, root, ec.ECDSA(Prehashed(SHA256())))
        with pytest.raises(InvalidSignature):
            public.verify(raw, root[::-1][:31] + b"x", ec.ECDSA(Prehashed(SHA256())))
        # Byte for byte what the writer of ledgers makes, up to the time and the signature at its end.
        twin = ServiceSigner(service.id, service.cose_algorithm, service.sign_cose, "an issuer", "a subject")
        width = node.private_key.curve.key_size // 4
        issued_at = int.from_bytes(cose.split(b"\x06\x1a", 1)[1][:4], "big")
        assert cose[:-width] == cose_root_signature(twin, root, TxId(2, 19), issued_at)[:-width]
    with pytest.raises(ValueError, match="32"):
        signer.sign(b"short", 2, 19)


def test_keys_that_no_service_has_do_not_sign() -> None:
    with pytest.raises(ValueError, match="P-256 or P-384"):
        RootSigner(b"no key", node_key=None, node_id="", certificate="")
