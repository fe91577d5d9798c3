"""Messages that members sign."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from support.services import SOURCE
from tallystick._native import CborTag, CoseSign1, cbor_decode, cbor_encode
from tallystick.cose import certificate_fingerprint, create_sign1, key_fingerprint, verify_sign1
from tallystick.demo.identities import MemberIdentity
from tallystick.errors import FormatError, VerificationError

MEMBER = MemberIdentity.create(SOURCE, "member")
OTHER = MemberIdentity.create(SOURCE, "other")
MESSAGE = create_sign1(b"payload", MEMBER.key.private_key, MEMBER.certificate, {"ccf.gov.msg.type": "ack"})


def test_what_was_signed_comes_back() -> None:
    verified = verify_sign1(MESSAGE, MEMBER.certificate)
    assert verified.payload == b"payload"
    assert verified.protected_headers == {1: -35, 4: MEMBER.id.encode(), "ccf.gov.msg.type": "ack"}
    assert verified.unprotected_headers == {}


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_every_curve(curve: str) -> None:
    member = MemberIdentity.create(SOURCE, "member", curve)
    message = create_sign1(b"payload", member.key.private_key, member.certificate)
    assert verify_sign1(message, member.certificate).payload == b"payload"


def test_another_key_does_not_do() -> None:
    with pytest.raises(VerificationError, match=key_fingerprint(OTHER.certificate)):
        verify_sign1(MESSAGE, OTHER.certificate)
    with pytest.raises(ValueError, match="not that of the certificate"):
        create_sign1(b"", ec.generate_private_key(ec.SECP384R1()), MEMBER.certificate)


@given(st.integers(min_value=0, max_value=len(MESSAGE) * 8 - 1))
def test_any_flipped_bit_fails(bit: int) -> None:
    spoilt = bytearray(MESSAGE)
    spoilt[bit // 8] ^= 1 << bit % 8
    try:
        verified = verify_sign1(bytes(spoilt), MEMBER.certificate)
    except (FormatError, VerificationError):
        return
    # The unprotected header is not signed.
    assert verified.payload == b"payload"
    assert CoseSign1.parse(bytes(spoilt)).protected == CoseSign1.parse(MESSAGE).protected


def test_a_detached_payload_must_be_given_exactly_then() -> None:
    tag = cbor_decode(MESSAGE)
    assert isinstance(tag, CborTag)
    assert isinstance(tag.value, list)
    protected, unprotected, payload, signature = tag.value
    detached = cbor_encode(CborTag(18, [protected, unprotected, None, signature]))
    assert verify_sign1(detached, MEMBER.certificate, detached_payload=payload).payload == payload
    with pytest.raises(FormatError) as missing:
        verify_sign1(detached, MEMBER.certificate)
    assert missing.value.code == "cose-payload-missing"
    with pytest.raises(FormatError) as twice:
        verify_sign1(MESSAGE, MEMBER.certificate, detached_payload=payload)
    assert twice.value.code == "cose-payload-twice"


def test_fingerprints() -> None:
    assert certificate_fingerprint(MEMBER.certificate) == MEMBER.id
    assert key_fingerprint(MEMBER.certificate) == MEMBER.key.fingerprint
