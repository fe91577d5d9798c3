"""The codes of findings about governance: severity, meaning and advice, said once."""

from __future__ import annotations

from tallystick.findings import CodeInfo, Effect, Severity, register

__all__ = ["GOVERNANCE_CODES"]

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE
_UNDECIDES = Effect.UNDECIDES

_RECORDS: dict[str, CodeInfo] = {
    "gov-record-malformed": CodeInfo(
        _E,
        "a governance record is not what its table holds",
        "The service never writes such a value. What depends on it was not replayed.",
    ),
    "gov-no-genesis": CodeInfo(
        _W,
        "the ledger does not start at its first transaction",
        "Members, constitution and open proposals are not known from there, so nothing was replayed. Add the first "
        "chunks.",
        _UNDECIDES,
    ),
    "gov-findings-not-listed": CodeInfo(
        _N, "more findings of the same code were met than are listed", "Mend the listed ones first."
    ),
    "gov-read-stopped": CodeInfo(
        _W,
        "the ledger could not be read to its end",
        "Governance was replayed up to there. The verdict on the ledger says what is wrong.",
        _UNDECIDES,
    ),
}

_REQUESTS: dict[str, CodeInfo] = {
    "gov-request-missing": CodeInfo(
        _E,
        "a proposal changed, and no member's request for it is in the transaction",
        "Every proposal, ballot and withdrawal is recorded with the member's signed request. This one was made up.",
    ),
    "gov-request-unknown-member": CodeInfo(
        _E,
        "a request is in the name of somebody who was not a member before the transaction",
        "There is no certificate to check it against: the service must have refused it.",
    ),
    "gov-request-signature": CodeInfo(
        _E,
        "the signature of a member's request does not hold",
        "The member whose name it bears did not sign it, or it was altered afterwards.",
    ),
    "gov-request-mismatch": CodeInfo(
        _E,
        "what was recorded is not what the member's request asks for",
        "The request is genuine, but its type, proposal ID or content differ from what the service recorded: "
        "something was altered after signing.",
    ),
    "gov-request-unused": CodeInfo(
        _E,
        "a member's request was recorded, and no proposal changed with it",
        "A ballot or withdrawal was received and not counted.",
    ),
    "gov-request-replayed": CodeInfo(
        _E,
        "the same signed request was used for two proposals",
        "A member signed one proposal; the service accepted it twice.",
    ),
    "gov-request-too-old": CodeInfo(
        _E,
        "a proposal was created with a request older than the window against replay allows",
        "The service must refuse a request that is older than the median of the recent ones.",
    ),
    "gov-replay-window": CodeInfo(
        _E,
        "the window against replay was not kept as it must be",
        "Entries are missing, foreign or left over, so that an old request could be accepted again.",
    ),
    "gov-member-inactive": CodeInfo(
        _E,
        "a member proposed or voted before its status was Active",
        "A member must acknowledge the state of the service before it takes part.",
    ),
    "gov-ack-wrong": CodeInfo(
        _E,
        "an acknowledgement or its state digest is not what it must be",
        "The digest is that of the latest signed root, and the acknowledgement is signed by the member for exactly "
        "that digest.",
    ),
}

_LIFE: dict[str, CodeInfo] = {
    "gov-proposal-id": CodeInfo(
        _E,
        "the ID of a proposal is not the one that its request gets at this place of the ledger",
        "The proposal was signed for another place or another service, or its request was replaced.",
    ),
    "gov-proposal-not-open": CodeInfo(
        _E,
        "a ballot or withdrawal changed a proposal that was not open",
        "Only open proposals take ballots and can be withdrawn.",
    ),
    "gov-proposal-changed": CodeInfo(
        _E,
        "a record of a proposal changed where it must not",
        "Proposer, text and earlier ballots stay as they are; a ballot was altered, dropped, or added without its "
        "member.",
    ),
    "gov-proposal-removed": CodeInfo(
        _E,
        "proposals were removed, or kept, against the rules",
        "When a proposal leaves Open, exactly the other proposals that are no longer open are removed.",
    ),
    "gov-validate-failed": CodeInfo(
        _E,
        "a proposal was recorded that the constitution's validate() refuses",
        "The rules in force were bypassed.",
    ),
    "gov-vote-wrong": CodeInfo(
        _E,
        "the recorded votes are not what the ballots give when they are run again",
        "A ballot was counted wrongly.",
    ),
    "gov-state-wrong": CodeInfo(
        _E,
        "the recorded state of a proposal is not what the constitution's resolve() gives",
        "A proposal was accepted, rejected or kept open against the rules in force.",
    ),
    "gov-dropped-wrong": CodeInfo(
        _E,
        "an open proposal was dropped, and nothing that was accepted dropped it",
        "Only the constitution's apply() of an accepted proposal drops others.",
    ),
    "gov-apply-failed": CodeInfo(
        _E,
        "a proposal was recorded as accepted whose apply() fails when it is run again",
        "The service must have refused the transaction.",
    ),
    "gov-apply-differs": CodeInfo(
        _E,
        "what an accepted proposal changed is not what its apply() changes when it is run again",
        "Members agreed to something else than what was done.",
    ),
    "gov-effect-wrong": CodeInfo(
        _E,
        "what the service itself made for an accepted proposal is not what was asked of it",
        "A certificate, key, share or status differs from the proposal's arguments.",
    ),
    "gov-opening-identity": CodeInfo(
        _E,
        "a proposal to open the service names another service identity",
        "Members opened a service with another key than the one in the ledger.",
    ),
}

_RULES: dict[str, CodeInfo] = {
    "gov-write-unexplained": CodeInfo(
        _E,
        "a transaction of a proposal wrote something that the proposal does not explain",
        "A change was smuggled into the transaction of a ballot or an accepted proposal.",
    ),
    "gov-write-without-proposal": CodeInfo(
        _E,
        "governance changed without a proposal",
        "Members, code, constitution, users and the like change by accepted proposals only.",
    ),
    "gov-write-outside": CodeInfo(
        _E,
        "a transaction wrote to tables that its kind may not touch",
        "Governance and application data never change in the same transaction, except for what apply() writes.",
    ),
    "gov-retirement-wrong": CodeInfo(
        _E,
        "a node was retired or removed out of order",
        "A node is first Retired by a proposal or a recovery, then committed as such, then removed.",
    ),
    "gov-recovery-wrong": CodeInfo(
        _E,
        "the first transaction of a recovered service changed more than a recovery does",
        "A recovery retires the old nodes and replaces the service's identity; members, constitution and trusted "
        "code of others stay.",
    ),
    "gov-table-unknown": CodeInfo(
        _N,
        "a table of the service itself is not known to this version",
        "What it holds was not judged.",
    ),
}

_SCRIPTS: dict[str, CodeInfo] = {
    "gov-ballot-failed": CodeInfo(
        _W,
        "a ballot ended without a vote, here as it did in the service",
        "Its member threw an exception or ran into a limit on time, memory or stack; it did not count.",
    ),
    "gov-script-budget": CodeInfo(
        _W,
        "a script was stopped by its budget here, and gave a result in the service",
        "Whether that result is right is not known. Replay again with a larger budget (--max-time).",
        _UNDECIDES,
    ),
    "gov-script-stuck": CodeInfo(
        _W,
        "a script could not be interrupted",
        "It keeps one core busy until this process ends; what follows it in its transaction was not replayed.",
        _UNDECIDES,
    ),
    "gov-replay-stopped": CodeInfo(
        _W,
        "too many scripts could not be interrupted",
        "Replay was given up there.",
        _UNDECIDES,
    ),
    "gov-unrepeatable": CodeInfo(
        _N,
        "a script used the clock or random numbers",
        "No replay can give it the same values, so agreement is luck and disagreement proves nothing by itself.",
    ),
}

GOVERNANCE_CODES: dict[str, CodeInfo] = {**_RECORDS, **_REQUESTS, **_LIFE, **_RULES, **_SCRIPTS}

register("governance", GOVERNANCE_CODES)
