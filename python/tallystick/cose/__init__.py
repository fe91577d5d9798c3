"""COSE_Sign1: see :mod:`tallystick.cose.sign1`."""

from __future__ import annotations

from tallystick.cose.sign1 import (
    UnsignedSign1,
    VerifiedSign1,
    certificate_fingerprint,
    create_sign1,
    key_fingerprint,
    prepare_sign1,
    verify_sign1,
)

__all__ = [
    "UnsignedSign1",
    "VerifiedSign1",
    "certificate_fingerprint",
    "create_sign1",
    "key_fingerprint",
    "prepare_sign1",
    "verify_sign1",
]
