"""Who issued a node's certificate: chains of several lives in any order, and what must not pass for one."""

from __future__ import annotations

import datetime
import itertools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tallystick.identity.issuance import Issuance, NodeCertificates
from tallystick.identity.service_keys import ServiceKeys
from tallystick.identity.trust_anchor import TrustAnchor

_NOW = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


class Authority:
    """A key that can issue certificates, for other keys too."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP384R1())

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def issue(self, subject: Authority, *, ca: bool = True) -> str:
        """A certificate for ``subject``; names are the same for all, dates lie in the past, as in old receipts."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CCF Service")])
        builder = x509.CertificateBuilder(name, name, subject.key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(_NOW).not_valid_after(_NOW + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        return builder.sign(self.key, SHA384()).public_bytes(Encoding.PEM).decode()


@pytest.fixture(scope="module")
def lives() -> list[Authority]:
    return [Authority() for _ in range(4)]


def _issuance(pin: Authority | None, node: str, endorsements: tuple[str, ...] = ()) -> Issuance:
    anchor = TrustAnchor.from_keys([pin.spki]) if pin is not None else TrustAnchor.none()
    return NodeCertificates(ServiceKeys(anchor)).issuance(node, endorsements)


def test_chains_of_any_length_in_any_order(lives: list[Authority]) -> None:
    node = lives[0].issue(Authority(), ca=False)
    steps = [newer.issue(older) for older, newer in itertools.pairwise(lives)]
    for length in range(4):
        for order in itertools.permutations(steps[:length]):
            issuance = _issuance(lives[length], node, order)
            assert issuance.service is not None
            assert len(issuance.via) == length
    # A certificate that has no part in the chain does not break it.
    stray = Authority().issue(Authority())
    assert _issuance(lives[1], node, (stray, steps[0])).service is not None


def test_a_missing_step_breaks_the_chain(lives: list[Authority]) -> None:
    node = lives[0].issue(Authority(), ca=False)
    steps = [newer.issue(older) for older, newer in itertools.pairwise(lives)]
    issuance = _issuance(lives[3], node, (steps[0], steps[2]))
    assert issuance.service is None
    assert issuance.findings[0].code == "node-certificate-issuer"


def test_a_ring_of_certificates_ends(lives: list[Authority]) -> None:
    node = lives[0].issue(Authority(), ca=False)
    ring = (lives[1].issue(lives[0]), lives[0].issue(lives[1]), lives[0].issue(lives[0]))
    assert _issuance(lives[3], node, ring).service is None


def test_a_node_certificate_must_not_pass_for_an_endorsement(lives: list[Authority]) -> None:
    stolen = Authority()
    honest = lives[0].issue(stolen, ca=False)
    forged = stolen.issue(Authority(), ca=False)
    issuance = _issuance(lives[0], forged, (honest,))
    assert issuance.service is None
    assert issuance.findings[0].code == "endorsement-certificate-not-ca"
    assert _issuance(lives[0], forged, (lives[0].issue(stolen),)).service is not None


def test_an_outsiders_endorsement_of_an_old_key_says_nothing(lives: list[Authority]) -> None:
    outsider = Authority()
    node = outsider.issue(Authority(), ca=False)
    # The outsider endorses the pinned key, and himself: trust runs backwards only.
    issuance = _issuance(lives[0], node, (outsider.issue(lives[0]), outsider.issue(outsider)))
    assert issuance.findings[0].code == "node-certificate-issuer"


def test_malformed_certificates_are_findings() -> None:
    good = Authority().issue(Authority())
    for text in ("", "no certificate", good.replace("MII", "MIX", 1), good[:200], "\ud800"):
        assert _issuance(None, text).findings[0].code == "certificate-malformed"
        assert _issuance(None, good, (text,)).findings[0].code == "certificate-malformed"
    assert _issuance(None, good, (good,) * 65).findings[0].code == "certificate-malformed"


def test_without_an_anchor_the_message_names_the_option(lives: list[Authority]) -> None:
    node = lives[0].issue(Authority(), ca=False)
    [finding] = _issuance(None, node).findings
    assert finding.code == "anchor-missing"
    assert "--service-cert FILE" in finding.message
    assert "fingerprint cannot be told" in finding.message
