"""Which service keys may be believed: pins, published keys, and endorsements that lead backwards, never forwards."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support import cbor
from support.cbor import Tagged
from tallystick.errors import FormatError, UsageError, VerificationError
from tallystick.identity.endorsements import Endorsement, parse_endorsements, verify_endorsement_record
from tallystick.identity.published_keys import parse_published_keys
from tallystick.identity.service_keys import ServiceKeys
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.types import TxId


class Key:
    def __init__(self, curve: ec.EllipticCurve | None = None) -> None:
        self.private = ec.generate_private_key(curve or ec.SECP384R1())

    @property
    def spki(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.spki).hexdigest()

    def endorse(self, older: Key, begin: str, end: str | None, root: bytes | None = bytes(32)) -> bytes:
        epoch: dict[str, object] = {"epoch.start.txid": begin}
        if end is not None:
            epoch["epoch.end.txid"] = end
            epoch["epoch.end.merkle.root"] = root
        protected = cbor.encode({1: -35, 15: {6: 1_700_000_000}, "ccf.v1": epoch})
        message = cbor.encode(["Signature1", protected, b"", older.spki])
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(SHA384())))
        signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
        return cbor.encode(Tagged(18, [protected, {}, older.spki, signature]))


@pytest.fixture(scope="module")
def lives() -> list[Key]:
    return [Key() for _ in range(4)]


@pytest.fixture(scope="module")
def links(lives: list[Key]) -> list[bytes]:
    first, second, third, fourth = lives
    return [
        second.endorse(first, "2.1", "3.100"),
        third.endorse(second, "5.101", "5.200"),
        fourth.endorse(third, "7.201", "8.300"),
    ]


def _keys(pin: Key, endorsements: list[bytes]) -> ServiceKeys:
    return ServiceKeys(TrustAnchor.from_keys([pin.spki]), endorsements=map(Endorsement.parse, endorsements))


def test_chains_lead_backwards_in_any_order(lives: list[Key], links: list[bytes]) -> None:
    for order in itertools.permutations(links):
        keys = _keys(lives[3], list(order))
        assert {key.fingerprint for key in keys} == {life.fingerprint for life in lives}
        [oldest] = keys.find(lives[0].fingerprint)
        assert (oldest.pinned, len(oldest.links), oldest.epoch) == (lives[3].fingerprint, 3, "2.1 to 3.100")
        assert oldest.covers(TxId(3, 100))
        assert not oldest.covers(TxId(3, 101))
        assert not oldest.covers(TxId(4, 100))
        assert keys.unused == ()


def test_no_endorsement_leads_forwards(lives: list[Key], links: list[bytes]) -> None:
    keys = _keys(lives[0], links)
    assert [key.fingerprint for key in keys] == [lives[0].fingerprint]
    assert len(keys.unused) == 3


def test_a_missing_link_and_a_gap_between_epochs_break_the_chain(lives: list[Key], links: list[bytes]) -> None:
    assert not _keys(lives[3], [links[0], links[2]]).find(lives[0].fingerprint)
    for begin in ("5.102", "6.101", "5.100"):
        moved = lives[2].endorse(lives[1], begin, "5.200")
        assert not _keys(lives[3], [links[0], moved, links[2]]).find(lives[0].fingerprint)


def test_open_and_reversed_epochs_link_nothing(lives: list[Key]) -> None:
    first, second, *_ = lives
    for link in (second.endorse(first, "2.1", None), second.endorse(first, "4.484", "2.483")):
        assert not _keys(second, [link]).find(first.fingerprint)
    # A service endorses itself at its first opening.
    assert [key.links for key in _keys(first, [first.endorse(first, "2.1", None)])] == [()]


def test_a_flipped_bit_unlinks(lives: list[Key], links: list[bytes]) -> None:
    data = bytearray(links[2])
    data[-1] ^= 1
    assert not _keys(lives[3], [bytes(data)]).find(lives[2].fingerprint)


def test_a_pinned_key_needs_no_epoch(lives: list[Key], links: list[bytes]) -> None:
    anchor = TrustAnchor.from_keys([lives[3].spki, lives[2].spki])
    keys = ServiceKeys(anchor, endorsements=map(Endorsement.parse, links))
    assert [key.links for key in keys.find(lives[2].fingerprint)] == [()]


def test_fingerprints_are_completed_and_never_widened(lives: list[Key], links: list[bytes]) -> None:
    anchor = TrustAnchor.from_options(service_key_sha256=[lives[2].fingerprint.upper()])
    keys = ServiceKeys(anchor)
    assert keys.missing == {lives[2].fingerprint}
    assert list(keys) == []
    learned = keys.learning([lives[0].spki, lives[2].spki])
    assert [key.fingerprint for key in learned] == [lives[2].fingerprint]
    assert learned.missing == frozenset()
    assert keys.learning([lives[0].spki]) is keys


def test_every_form_that_endorsements_come_in(lives: list[Key], links: list[bytes]) -> None:
    texts = [base64.b64encode(link).decode() for link in links]
    record = {"endorsement": texts[0], "endorsing_key": base64.b64encode(lives[1].spki).decode()}
    for data, count in (
        (links[0], 1),
        (cbor.encode(links), 3),
        (json.dumps({"endorsements": texts}).encode(), 3),
        (json.dumps(texts).encode(), 3),
        (json.dumps(record).encode(), 1),
    ):
        assert [link.raw for link in parse_endorsements(data)] == links[:count]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"endorsements": []}',
        b'{"endorsements": [1]}',
        b'["!"]',
        b"\x80",
        b"\xd2\x80",
        b"\x81\x40",
    ],
)
def test_malformed_endorsements_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_endorsements(data)


def test_endorsements_that_lack_a_part(lives: list[Key]) -> None:
    good = lives[1].endorse(lives[0], "2.1", "3.100")
    for change in ("2.01", "x", 7):
        with pytest.raises(FormatError):
            Endorsement.parse(lives[1].endorse(lives[0], change, "3.100"))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(FormatError):
        Endorsement.parse(lives[1].endorse(lives[0], "2.1", "3.100", bytes(31)))
    assert Endorsement.parse(good).end == TxId(3, 100)


def test_records_say_what_is_signed(lives: list[Key], links: list[bytes]) -> None:
    record = {
        "endorsement": base64.b64encode(links[0]).decode(),
        "endorsing_key": base64.b64encode(lives[1].spki).decode(),
        "endorsement_epoch_begin": "2.1",
        "endorsement_epoch_end": "3.100",
    }
    verified = verify_endorsement_record(json.dumps(record).encode(), seqno=9)
    assert (verified.endorsing, verified.endorsed) == (lives[1].fingerprint, lives[0].fingerprint)
    assert not verified.is_self
    assert not verified.epoch_is_reversed
    other = base64.b64encode(lives[2].spki).decode()
    for change in ({"endorsing_key": other}, {"endorsement_epoch_end": "3.101"}, {"endorsement_epoch_begin": None}):
        with pytest.raises(VerificationError) as caught:
            verify_endorsement_record(json.dumps({**record, **change}).encode())
        assert caught.value.code == "endorsement-invalid"


def _jwk(key: Key, curve: str, width: int, **more: object) -> dict[str, object]:
    numbers = key.private.public_key().public_numbers()
    x, y = (
        base64.urlsafe_b64encode(number.to_bytes(width, "big")).rstrip(b"=").decode()
        for number in (numbers.x, numbers.y)
    )
    return {"kty": "EC", "crv": curve, "x": x, "y": y, **more}


@pytest.mark.parametrize(
    ("curve", "name", "width"),
    [(ec.SECP256R1(), "P-256", 32), (ec.SECP384R1(), "P-384", 48), (ec.SECP521R1(), "P-521", 66)],
)
def test_published_keys(curve: ec.EllipticCurve, name: str, width: int) -> None:
    key = Key(curve)
    jwks = {"keys": [{"kty": "RSA"}, _jwk(key, name, width, kid=key.fingerprint)]}
    assert parse_published_keys(json.dumps(jwks).encode()) == [key.spki]
    wrong = {"keys": [_jwk(key, name, width, kid="ab" * 32)]}
    with pytest.raises(FormatError, match="kid"):
        parse_published_keys(json.dumps(wrong).encode())
    assert key.private.sign(b"", ec.ECDSA(SHA256()))


@pytest.mark.parametrize(
    "document",
    [
        "text",
        {},
        {"keys": []},
        {"keys": [1]},
        {"keys": [{"kty": "EC", "crv": "P-224"}]},
        {"keys": [{"kty": "EC", "crv": "P-256"}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}]},
        {"parameters": [{}]},
        {"parameters": [{"serviceCertificate": "!"}]},
    ],
)
def test_malformed_published_keys_are_refused(document: object) -> None:
    with pytest.raises(FormatError):
        parse_published_keys(json.dumps(document).encode())


def test_anchors_from_options(lives: list[Key]) -> None:
    with pytest.raises(UsageError):
        TrustAnchor.from_options(service_key_sha256=["abcd"])
    with pytest.raises(UsageError):
        TrustAnchor.from_options(service_key_sha256=[lives[0].fingerprint], trust_genesis=True)
    assert not TrustAnchor.none()
    assert TrustAnchor.genesis().kind == "genesis"
    assert TrustAnchor.from_keys([lives[0].spki]).to_json() == {
        "kind": "service-cert",
        "service_key_sha256": lives[0].fingerprint,
    }
