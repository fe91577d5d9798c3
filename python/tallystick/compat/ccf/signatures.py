"""``ccf.signatures``: what signature transactions carry, and the exceptions of its verification."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from tallystick import _native
from tallystick.compat.ccf._errors import as_value_error
from tallystick.compat.ccf.cose import verify_cose_sign1_with_cert
from tallystick.compat.ccf.merkletree import MerkleTree
from tallystick.identity.certificates import parse_certificate
from tallystick.tables.names import COSE_SIGNATURES, SIGNATURES, SINGLETON_KEY

__all__ = [
    "COSE_SIGNATURE_TX_TABLE_NAME",
    "SIGNATURE_TABLE_NAMES",
    "SIGNATURE_TX_TABLE_NAME",
    "WELL_KNOWN_SINGLETON_TABLE_KEY",
    "InvalidRootCoseSignatureException",
    "InvalidRootException",
    "InvalidRootSignatureException",
    "RawSignaturePayload",
    "UntrustedNodeException",
    "is_signature_transaction",
    "parse_cose_signature_from_tx",
    "parse_raw_signature_from_tx",
    "spki_from_cert",
    "verify_cose_root_signature",
    "verify_merkle_root",
    "verify_raw_root_signature",
]

SIGNATURE_TX_TABLE_NAME = SIGNATURES
COSE_SIGNATURE_TX_TABLE_NAME = COSE_SIGNATURES
WELL_KNOWN_SINGLETON_TABLE_KEY = SINGLETON_KEY
SIGNATURE_TABLE_NAMES = frozenset({SIGNATURES, COSE_SIGNATURES})


class InvalidRootException(Exception):  # noqa: N818 -- the official name
    """The root of the transactions is not the one that was signed."""


class InvalidRootSignatureException(Exception):  # noqa: N818 -- the official name
    """A node's signature over a root does not hold."""


class InvalidRootCoseSignatureException(Exception):  # noqa: N818 -- the official name
    """The service's COSE signature over a root does not hold."""


class UntrustedNodeException(Exception):  # noqa: N818 -- the official name
    """The node that signed was not entitled to."""


def spki_from_cert(cert: bytes) -> bytes:
    """DER SubjectPublicKeyInfo of a PEM certificate.

    Raises:
        ValueError: it is not one certificate.
    """
    with as_value_error():
        return parse_certificate(cert).spki


@dataclass(frozen=True)
class RawSignaturePayload:
    """A node's signature, as it stands in a signature transaction; nothing about it is verified.

    Attributes:
        seqno, view: of the signature transaction, by its own word.
        signing_node: node id, hex.
        root: 32 bytes.
        signature: DER.
        embedded_cert: PEM; None where there is none (1.x).
    """

    seqno: int
    view: int
    signing_node: str
    root: bytes
    signature: bytes
    embedded_cert: bytes | None


def parse_raw_signature_from_tx(tx_tables: Mapping[str, Any]) -> RawSignaturePayload | None:
    """The node's signature in the tables of a transaction; None when there is none.

    Raises:
        ValueError: there is one, but malformed.
    """
    value = _singleton(tx_tables, SIGNATURE_TX_TABLE_NAME)
    if value is None:
        return None
    try:
        fields = json.loads(value)
        certificate = fields.get("cert")
        return RawSignaturePayload(
            seqno=int(fields["seqno"]),
            view=int(fields["view"]),
            signing_node=str(fields["node"]),
            root=bytes.fromhex(fields["root"]),
            signature=base64.b64decode(fields["sig"], validate=True),
            embedded_cert=None if certificate is None else certificate.encode(),
        )
    except (AttributeError, KeyError, RecursionError, TypeError, UnicodeError) as error:
        raise ValueError(f"{SIGNATURE_TX_TABLE_NAME}: malformed: {error!r}") from error


def parse_cose_signature_from_tx(tx_tables: Mapping[str, Any]) -> bytes | None:
    """The service's COSE_Sign1 in the tables of a transaction; None when there is none.

    Raises:
        ValueError: there is one, but malformed.
    """
    value = _singleton(tx_tables, COSE_SIGNATURE_TX_TABLE_NAME)
    if value is None:
        return None
    try:
        return base64.b64decode(json.loads(value), validate=True)
    except (TypeError, RecursionError, UnicodeError, binascii.Error) as error:
        raise ValueError(f"{COSE_SIGNATURE_TX_TABLE_NAME}: malformed: {error!r}") from error


def _singleton(tables: Mapping[str, Any], name: str) -> bytes | None:
    rows = tables.get(name)
    value = None if rows is None else rows.get(WELL_KNOWN_SINGLETON_TABLE_KEY)
    return None if value is None else bytes(value)


def verify_raw_root_signature(node_cert: bytes, root: bytes, signature: bytes) -> None:
    """Verifies a node's signature over a root, which ECDSA takes as the digest.

    Raises:
        InvalidRootSignatureException: it does not hold.
        ValueError: the certificate is malformed.
    """
    with as_value_error():
        key = _native.PublicKey.from_spki(parse_certificate(node_cert).spki)
    if not key.verifies_prehashed(root, signature):
        raise InvalidRootSignatureException(f"signature over root {root.hex()} does not hold under node {key.sha256}")


def verify_cose_root_signature(
    service_cert: str, root: bytes, cose_sign1: bytes
) -> tuple[dict[int | str, Any], dict[int | str, Any], bytes]:
    """Verifies the service's COSE signature over a root; returns headers and payload.

    Raises:
        InvalidRootCoseSignatureException: it does not hold, or anything is malformed.
    """
    try:
        return verify_cose_sign1_with_cert(service_cert.encode("ascii"), cose_sign1, use_key=True, payload=root)
    except ValueError as error:
        raise InvalidRootCoseSignatureException(f"COSE signature over root {root.hex()}: {error}") from error


def verify_merkle_root(merkle_tree: MerkleTree, existing_root: bytes) -> None:
    """Compares the root of a tree with another.

    Raises:
        InvalidRootException: they differ.
    """
    computed = merkle_tree.get_merkle_root()
    if computed != existing_root:
        raise InvalidRootException(f"root: expected {computed.hex()} (computed), got {existing_root.hex()}")


def is_signature_transaction(tx_tables: Container[str]) -> bool:
    """Whether a transaction with these tables is a signature transaction."""
    return any(name in tx_tables for name in SIGNATURE_TABLE_NAMES)
