"""CBOR values, keys, batches and trees as Python sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tallystick import _native
from tallystick.errors import FormatError, LimitExceededError

KEYS = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | KEYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.builds(_native.CborTag, st.integers(0, 2**64 - 1), inner)
    ),
    max_leaves=12,
)
CURVES = [(ec.SECP256R1(), "P-256"), (ec.SECP384R1(), "P-384"), (ec.SECP521R1(), "P-521")]


def spki(public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@given(VALUES)
def test_cbor_round_trip(value: object) -> None:
    encoded = _native.cbor_encode(value)
    decoded = _native.cbor_decode(encoded)
    assert decoded == value
    assert _native.cbor_encode(decoded) == encoded


@pytest.mark.parametrize(
    ("encoded", "code", "offset"),
    [
        ("", "cbor-truncated", 0),
        ("1800", "cbor-not-shortest", 0),
        ("819f", "cbor-indefinite-length", 1),
        ("a200000000", "cbor-duplicate-key", 3),
        ("f93c00", "cbor-simple-value", 0),
        ("f7", "cbor-simple-value", 0),
        ("61ff", "cbor-not-utf8", 1),
        ("0000", "cbor-trailing-bytes", 1),
        ("a1a000", "cbor-key-type", 1),
    ],
)
def test_cbor_that_is_not_strict(encoded: str, code: str, offset: int) -> None:
    with pytest.raises(FormatError) as caught:
        _native.cbor_decode(bytes.fromhex(encoded))
    assert (caught.value.code, caught.value.location.offset) == (code, offset)


def test_cbor_limits() -> None:
    with pytest.raises(LimitExceededError, match="at most 64 levels"):
        _native.cbor_decode(b"\x81" * 1000)
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match="at most 64 levels"):
        _native.cbor_encode(deep)


@pytest.mark.parametrize("value", [1.5, {None: 1}, {True: 1}, {(): 1}, object(), bytearray(b"x"), {1, 2}])
def test_cbor_of_other_types(value: object) -> None:
    with pytest.raises(TypeError, match="CBOR: expected"):
        _native.cbor_encode(value)


@pytest.mark.parametrize("value", [2**64, -(2**64) - 1])
def test_cbor_integers_beyond_64_bits(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        _native.cbor_encode(value)


@pytest.mark.parametrize(("curve", "name"), CURVES)
def test_keys_agree_with_another_library(curve: ec.EllipticCurve, name: str) -> None:
    private = ec.generate_private_key(curve)
    public = spki(private.public_key())
    key = _native.PublicKey.from_spki(public)
    assert (key.kind, key.spki, key.sha256) == (name, public, hashlib.sha256(public).hexdigest())
    assert key == _native.PublicKey.from_spki(public)
    root = hashlib.sha256(b"root").digest()
    signature = private.sign(root, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    assert key.verifies_prehashed(root, signature)
    assert not key.verifies_prehashed(bytes(32), signature)
    for hash_name, algorithm in (("sha256", hashes.SHA256()), ("sha384", hashes.SHA384()), ("sha512", hashes.SHA512())):
        signature = private.sign(b"message", ec.ECDSA(algorithm))
        for other in ("sha256", "sha384", "sha512"):
            assert key.verifies(b"message", signature, other) == (other == hash_name)
    with pytest.raises(ValueError, match="expected 32 bytes, got 31"):
        key.verifies_prehashed(bytes(31), signature)
    with pytest.raises(ValueError, match="expected sha256, sha384 or sha512"):
        key.verifies(b"", signature, "md5")


def test_rsa_keys_take_pss() -> None:
    private = rsa.generate_private_key(65537, 2048)
    key = _native.PublicKey.from_spki(spki(private.public_key()))
    assert key.kind == "RSA"
    signature = private.sign(b"message", padding.PSS(padding.MGF1(hashes.SHA384()), 48), hashes.SHA384())
    assert [key.verifies_cose(b"message", signature, algorithm) for algorithm in (-37, -38, -39, -35)] == [
        False,
        True,
        False,
        False,
    ]


def test_only_canonical_keys_are_keys() -> None:
    private = ec.generate_private_key(ec.SECP384R1()).public_key()
    compressed = private.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    for data in (b"", spki(private) + b"\0", compressed, spki(private)[:-1]):
        with pytest.raises(FormatError) as caught:
            _native.PublicKey.from_spki(data)
        assert caught.value.code in {"key-not-spki", "key-not-canonical"}


@pytest.mark.parametrize("jobs", [0, 1, 3])
def test_batch_names_exactly_what_does_not_hold(jobs: int) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    key = _native.PublicKey.from_spki(spki(private.public_key()))
    digests = [hashlib.sha256(bytes([i])).digest() for i in range(40)]
    signatures = [private.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))) for digest in digests]
    batch = _native.SignatureBatch(jobs=jobs)
    for tag, (digest, signature) in enumerate(zip(digests, signatures, strict=True)):
        batch.submit_prehashed(tag, key, digest if tag % 5 else bytes(32), signature)
    assert batch.finish() == list(range(0, 40, 5))
    again = [(100 + tag, key, digests[tag], signatures[tag - 1]) for tag in range(1, 40)]
    batch.submit_prehashed_many(again + again)
    batch.submit_cose(500, key, b"message", bytes(64), -7)
    assert batch.finish() == [*range(101, 140), 500]
    assert batch.finish() == []
    assert batch.checked == 40 + 78 + 1


@pytest.mark.parametrize(
    "question",
    [
        lambda tree: tree.leaf(5),
        lambda tree: tree.leaf(1),
        lambda tree: tree.root_at(6),
        lambda tree: tree.root_at(1),
        lambda tree: tree.path(1, 5),
        lambda tree: tree.path(4, 4),
        lambda tree: tree.path(4, 6),
        lambda tree: tree.flush(1),
        lambda tree: tree.flush(6),
        lambda _: _native.merkle_path_directions(3, 3),
    ],
)
def test_trees_refuse_what_they_cannot_answer(question: Callable[[_native.MerkleTree], object]) -> None:
    tree = _native.MerkleTree()
    tree.append_many(bytes(range(128)))
    tree.flush(2)
    assert (tree.size, tree.first_kept) == (5, 2)
    with pytest.raises(IndexError, match="expected"):
        question(tree)


def test_leaves_are_32_bytes() -> None:
    tree = _native.MerkleTree()
    with pytest.raises(ValueError, match="got 31"):
        tree.append(bytes(31))
    with pytest.raises(ValueError, match="got 65"):
        tree.append_many(bytes(65))
    assert tree.size == 1
    assert _native.merkle_root_of_path(bytes(32), []) == bytes(32)
    with pytest.raises(ValueError, match="path: expected 32 bytes"):
        _native.merkle_root_of_path(bytes(32), [(True, b"")])
