"""What a CCF version writes differently, as far as a ledger's bytes show it (formats: version timeline)."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.ledger.writer import SignatureMode

__all__ = ["STYLES", "Style"]


@dataclass(frozen=True)
class Style:
    """The shape of what a service writes.

    Attributes:
        name: label of the CCF versions that write so.
        entry_type: 0 write set; 3 + commit evidence; 4 + claims and commit evidence.
        mode: which signatures a signature transaction holds.
        certificate_in_signature: the node's signature carries the node's certificate.
        certificate_in_info: node certificates stand in ``nodes.info``, not in a table of their own (1.x).
        http_requests: members sign HTTP requests (removed in 4.0), not COSE messages.
        endorsements: openings write an endorsement of the previous service identity.
        boot_seqno_in_info: ``previous_service_identity_version`` is the boot seqno of the previous life.
        cose_snapshots: snapshot receipts are COSE.
    """

    name: str
    entry_type: int = 4
    mode: SignatureMode = SignatureMode.RAW
    certificate_in_signature: bool = True
    certificate_in_info: bool = False
    http_requests: bool = False
    endorsements: bool = False
    boot_seqno_in_info: bool = False
    cose_snapshots: bool = False

    @property
    def has_claims(self) -> bool:
        """Whether entries hold a claims digest."""
        return self.entry_type == 4


STYLES = {
    style.name: style
    for style in (
        Style(
            "1.x", entry_type=0, certificate_in_signature=False, certificate_in_info=True, http_requests=True,
        ),
        Style("2.x", entry_type=3, http_requests=True),
        Style("4.x"),
        Style("6.x", mode=SignatureMode.DUAL, endorsements=True),
        Style(
            "7.x", mode=SignatureMode.COSE, endorsements=True, boot_seqno_in_info=True,
            cose_snapshots=True,
        ),
    )
}  # fmt: skip
