"""Finding codes of attestation."""

from __future__ import annotations

from tallystick.findings import CodeInfo, Effect, Severity, register

__all__ = ["CODES"]


def _error(summary: str, advice: str) -> CodeInfo:
    return CodeInfo(Severity.ERROR, summary, advice)


CODES = {
    "attestation-malformed": _error(
        "attestation evidence cannot be parsed", "The node joined on evidence that no verifier can have accepted."
    ),
    "attestation-chain": _error(
        "a certificate of the hardware maker's chain is not signed by the next",
        "The evidence was put together from parts that do not belong together.",
    ),
    "attestation-root": _error(
        "the chain does not end in the hardware maker's root key",
        "Somebody else's certificates vouch for this node's hardware.",
    ),
    "attestation-signature": _error(
        "a signature in the evidence does not hold", "The evidence was changed or made up."
    ),
    "attestation-vcek": _error(
        "the report's signing key is for another chip or TCB version", "The report and its endorsements do not fit."
    ),
    "attestation-binding": _error(
        "the evidence is not bound to the node's key",
        "The node presents another node's evidence: nothing says that its key lives in that hardware.",
    ),
    "attestation-debug": _error(
        "the guest or enclave can be debugged", "Whoever runs it can read its memory, keys included."
    ),
    "attestation-migration": _error(
        "the guest may be migrated", "Its memory may have been handed to another host by a migration agent."
    ),
    "attestation-vmpl": _error("the report was not made at VMPL 0", "Something beneath the guest answers for it."),
    "attestation-measurement": _error(
        "the measurement was not allowed to join",
        "Code that governance had not approved at that point ran as a trusted node.",
    ),
    "attestation-host-data": _error(
        "the host data was not allowed to join",
        "The security policy under which the containers run was not approved at that point.",
    ),
    "attestation-policy-text": _error(
        "a security policy in the ledger does not have the digest that it is filed under",
        "The text shown to members is not the policy that the hardware enforces.",
    ),
    "attestation-tcb": _error(
        "the TCB version is below the minimum in force, or the minimum has no row for the processor that can be read",
        "The node's firmware was older than governance required, or nobody said how old it may be: a node of CCF would "
        "not have let it join.",
    ),
    "attestation-code-digest": _error(
        "the node's recorded code digest is not the measurement in its evidence",
        "Tools that trust the recorded digest are misled about what ran.",
    ),
    "attestation-missing": _error(
        "a node is trusted without any attestation evidence",
        "Nothing says what code this node ran, or on what hardware.",
    ),
    "uvm-malformed": _error("a UVM endorsement cannot be parsed", "The utility VM's measurement is not vouched for."),
    "uvm-signature": _error("a UVM endorsement's signature does not hold", "It was changed or made up."),
    "uvm-issuer": _error(
        "a UVM endorsement's chain does not fit the issuer it names", "Somebody else signed in the issuer's name."
    ),
    "uvm-measurement": _error(
        "a UVM endorsement is for another measurement", "It does not speak of the guest that this node ran in."
    ),
    "attestation-virtual": CodeInfo(
        Severity.WARNING,
        "the evidence is virtual: it proves nothing",
        "Virtual nodes are for development. Anybody can make this evidence; treat the service as unattested.",
        Effect.UNDECIDES,
    ),
    "attestation-debug-enclave": CodeInfo(
        Severity.WARNING,
        "the enclave can be debugged",
        "Whoever runs it can read its memory, keys included: it proves nothing about confidentiality.",
        Effect.UNDECIDES,
    ),
    "attestation-platform-unknown": CodeInfo(
        Severity.WARNING,
        "the evidence is of a platform that is not known here",
        "It was neither accepted nor refuted.",
        Effect.UNDECIDES,
    ),
    "attestation-start-unknown": CodeInfo(
        Severity.NOTE,
        "the ledger does not start at the first transaction",
        "The join policy in force at the start is not known, so what nodes were allowed to run cannot be judged.",
        Effect.UNDECIDES,
    ),
}

register("attestation", CODES)
