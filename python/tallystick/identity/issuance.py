"""Which service key stands behind a node certificate.

A node certificate is signed by the key of the service life in which it was issued. When that is not the
current life, receipts bring endorsement certificates along: the older service key, signed by a newer one,
possibly over several steps and in any order. They are linked by key here: their subject and issuer names are
equal in real ones although the keys differ, so names say nothing. Dates are not judged. That they are
certificate authorities is: a node certificate must not pass for an endorsement.

The outcome depends on the certificates alone, so it is computed once for all the receipts of a node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tallystick._native import Certificate, PublicKey
from tallystick.errors import FormatError
from tallystick.findings import Finding, finding
from tallystick.identity import codes as _codes  # noqa: F401 -- registers the codes of this area
from tallystick.identity.service_keys import OpenedKey, ServiceKey, ServiceKeys

__all__ = ["Issuance", "NodeCertificate", "NodeCertificates"]

# Endorsement certificates in one receipt. Real ones hold one; each stands for a disaster recovery.
_MAX_ENDORSEMENTS = 64


class NodeCertificate(NamedTuple):
    """A parsed certificate and its key.

    Attributes:
        certificate: the certificate.
        key: its public key.
        node_id: lower-case hex SHA-256 of the key: the ID that a node with this key has.
    """

    certificate: Certificate
    key: PublicKey
    node_id: str


class Issuance(NamedTuple):
    """Who vouches for a node certificate.

    Attributes:
        service: the believed service key at the end of the chain, None if there is none.
        via: fingerprints of the older service keys in between, nearest to the node first.
        findings: why there is none, or what is worth a note.
    """

    service: ServiceKey | None
    via: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


class NodeCertificates:
    """Parses node certificates and finds who issued them, remembering both.

    Args:
        keys: the service keys that may be believed.
    """

    def __init__(self, keys: ServiceKeys) -> None:
        self.keys = keys
        self._parsed: dict[str, NodeCertificate | Finding] = {}
        self._issued: dict[tuple[str, tuple[str, ...]], Issuance] = {}

    def parse(self, pem: str) -> NodeCertificate | Finding:
        """The certificate, or a ``certificate-malformed`` finding."""
        known = self._parsed.get(pem)
        if known is None:
            known = self._parsed[pem] = _parse(pem)
        return known

    def issuance(self, pem: str, endorsements: Sequence[str] = ()) -> Issuance:
        """Who issued the certificate ``pem``, given the endorsement certificates that came with it."""
        question = (pem, tuple(endorsements))
        known = self._issued.get(question)
        if known is None:
            known = self._issued[question] = self._find(pem, endorsements)
        return known

    def _find(self, pem: str, endorsements: Sequence[str]) -> Issuance:
        node = self.parse(pem)
        if isinstance(node, Finding):
            return Issuance(None, findings=(node,))
        if len(endorsements) > _MAX_ENDORSEMENTS:
            return _refused(
                "certificate-malformed",
                f"service endorsements: expected at most {_MAX_ENDORSEMENTS} certificates, got {len(endorsements)}",
            )
        links: list[NodeCertificate] = []
        for text in endorsements:
            link = self.parse(text)
            if isinstance(link, Finding):
                return Issuance(None, findings=(link,))
            links.append(link)
        # A pin given as a fingerprint may be met here: an older key, which an endorsement certificate holds.
        keys = self.keys.learning(link.certificate.spki for link in links)
        return self._walk(node, links, keys)

    def _walk(self, node: NodeCertificate, links: list[NodeCertificate], keys: ServiceKeys) -> Issuance:
        via: list[str] = []
        current, left = node, links
        while True:
            service = next((key for key in keys if _signed_by(current.certificate, key.key)), None)
            if service is not None:
                return Issuance(service, tuple(via), _notes(service, via))
            step = next((link for link in left if _signed_by(current.certificate, link.key)), None)
            if step is None:
                return _unanchored(keys, current, via)
            if not step.certificate.is_ca:
                # A node certificate is signed by the service too. If it passed for an endorsement, whoever holds
                # one node's key could issue certificates to nodes of his own.
                return _refused(
                    "endorsement-certificate-not-ca",
                    f"endorsement certificate of key {step.node_id}: expected a certificate authority, got none",
                )
            via.append(step.node_id)
            left = [link for link in left if link is not step]
            current = step


def _parse(pem: str) -> NodeCertificate | Finding:
    try:
        certificate = Certificate.parse(pem.encode())
        key = PublicKey.from_spki(certificate.spki)
    except FormatError as error:
        return finding("certificate-malformed", error.message)
    except UnicodeEncodeError:
        return finding("certificate-malformed", "certificate is not PEM: it holds lone surrogates")
    return NodeCertificate(certificate, key, certificate.spki_sha256)


def _signed_by(certificate: Certificate, key: PublicKey) -> bool:
    hash_name = certificate.ecdsa_hash
    if hash_name is None or key.kind == "RSA":
        return False
    return key.verifies(certificate.tbs, certificate.signature, hash_name)


def _notes(service: ServiceKey, via: Sequence[str]) -> tuple[Finding, ...]:
    notes = []
    if via:
        notes.append(
            finding(
                "service-endorsed",
                f"the node belongs to an older life of the service, with key {via[0]}; endorsement certificates lead "
                f"from there to service key {service.fingerprint}, and they name no epoch",
            )
        )
    if service.links:
        notes.append(endorsed_note(service))
    return tuple(notes)


def endorsed_note(service: ServiceKey) -> Finding:
    """The note for a verdict that rests on links between identities."""
    first = service.links[0]
    if isinstance(first, OpenedKey):
        further = len(service.links) - 1
        return finding(
            "service-opened",
            f"openings by members lead from pinned service key {service.pinned} to service key {service.fingerprint}"
            + (f", with {further} endorsement(s) at the end" if further else "")
            + f", for transactions {service.epoch}",
        )
    return finding(
        "service-endorsed",
        f"service key {service.fingerprint} is endorsed by pinned service key {service.pinned}, "
        f"over {len(service.links)} link(s), for transactions {service.epoch}",
    )


def _unanchored(keys: ServiceKeys, last: NodeCertificate, via: Sequence[str]) -> Issuance:
    if not keys.anchored:
        return _refused("anchor-missing", no_anchor_message(via))
    if keys.missing:
        return _refused("service-key-needed", key_needed_message(keys.missing))
    for fingerprint, (key, reason) in keys.claimed.items():
        if _signed_by(last.certificate, key):
            return _refused("identity-unproven", unproven_message(fingerprint, reason))
    what = "last endorsement certificate" if via else "node certificate"
    known = ", ".join(sorted(key.fingerprint for key in keys))
    return _refused(
        "node-certificate-issuer",
        f"{what} (issuer name {last.certificate.issuer_text!r}): expected it to be signed by service key {known}, "
        "but it is not",
    )


def no_anchor_message(candidates: Iterable[str] = ()) -> str:
    """What to say, and which option to add, when the caller pinned nothing."""
    seen = ", ".join(candidates)
    if seen:
        return (
            "consistent, but no service identity is pinned: add --service-cert FILE, or --service-key-sha256 of a "
            f"service key that you trust for reasons outside this file (it names {seen})"
        )
    return (
        "consistent, but no service identity is pinned: add --service-cert FILE with the service's certificate, "
        "obtained from outside this file (which does not hold the service's key, so its fingerprint cannot be told)"
    )


def key_needed_message(missing: Iterable[str]) -> str:
    """What to say when a pin is a fingerprint whose key is not at hand."""
    return (
        f"service key {', '.join(sorted(missing))} is pinned by its fingerprint, and the key itself is not at hand: "
        "add --service-cert FILE, or --ledger PATH or --endorsements FILE, where it may be found"
    )


def unproven_message(fingerprint: str, reason: str) -> str:
    """What to say, and which option to add, when a bundle names a key that it does not prove."""
    return (
        f"service key {fingerprint} is named by the bundle of identities, but not proven from your anchor: {reason}; "
        f"if you know that key, add --service-key-sha256 {fingerprint}"
    )


def _refused(code: str, message: str) -> Issuance:
    return Issuance(None, findings=(finding(code, message),))
