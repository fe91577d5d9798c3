"""COSE_Sign1: see :mod:`tallystick.cose.sign1`."""

from __future__ import annotations

from tallystick.cose.sign1 import (
    VerifiedSign1,
    certificate_fingerprint,
    create_sign1,
    key_fingerprint,
    verify_sign1,
)

__all__ = ["VerifiedSign1", "certificate_fingerprint", "create_sign1", "key_fingerprint", "verify_sign1"]
