"""What an accepted proposal asks of the service itself, and what can be told about the result offline.

``apply()`` calls functions that only a service can answer: issue a certificate, make a ledger secret, split it
into shares (formats.md section 11.5). Replay records each call. For each, this module says which tables the
service may write in answer, checks what can be checked without its keys, and names the rest.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from tallystick._native import Certificate, GovernanceTables, PublicKey
from tallystick.errors import FormatError
from tallystick.governance import names
from tallystick.governance.records import (
    json_object,
    parse_json,
    parse_member_info,
    parse_node_info,
    parse_service_info,
)
from tallystick.governance.state import Step, parse_member_certificate
from tallystick.tables.names import MEMBERS_INFO, NODES_INFO, SERVICE_INFO, SINGLETON_KEY

__all__ = ["EffectCheck", "EffectProblem", "check_certificate", "check_effects"]

_SECONDS_A_DAY = 86_400

# Table -> function whose answer it is.
_OPENING = frozenset(
    {
        SERVICE_INFO,
        names.RECOVERY_SHARES,
        names.HISTORICAL_SECRET,
        names.ENDORSEMENT,
        names.LAST_RECOVERY_TYPE,
        names.ENCRYPTED_SECRETS,
    }
)
_REKEY = frozenset({names.ENCRYPTED_SECRETS, names.HISTORICAL_SECRET, names.RECOVERY_SHARES})

TABLES_OF_EFFECT: Mapping[str, frozenset[str]] = {
    "transitionServiceToOpen": _OPENING,
    "triggerLedgerRekey": _REKEY,
    "triggerRecoverySharesRefresh": frozenset({names.RECOVERY_SHARES, names.HISTORICAL_SECRET}),
    "refreshAppBytecodeCache": frozenset({names.BYTECODE, names.BYTECODE_VERSION}),
    "setJwtPublicSigningKeys": names.JWT_KEY_TABLES,
    "removeJwtPublicSigningKeys": names.JWT_KEY_TABLES,
    "generateEndorsedCertificate": frozenset(),
    "generateNetworkCertificate": frozenset(),
    "getLatestLedgerSecretSeqno": frozenset(),
    "triggerLedgerChunk": frozenset(),
    "triggerSnapshot": frozenset(),
    "triggerACMERefresh": frozenset(),
    "shuffleSealedShares": frozenset({"public:ccf.internal.sealed_shares"}),
}
"""Tables that the service may write in answer to each function; empty: its answer goes through the script."""

# What cannot be known without the service's or members' private keys.
_NOT_CHECKED: Mapping[str, str] = {
    "transitionServiceToOpen": "recovery shares and wrapped ledger secret of the opening: needs members' keys",
    "triggerLedgerRekey": "new ledger secret and its recovery shares: needs members' or nodes' keys",
    "triggerRecoverySharesRefresh": "new recovery shares: needs members' keys",
    "refreshAppBytecodeCache": "bytecode of application modules: compiled by the service's own engine",
    "triggerACMERefresh": "refresh of an ACME certificate: leaves no trace in the ledger",
    "shuffleSealedShares": "shuffling of sealed shares: needs the nodes' sealing keys",
}


@dataclass(frozen=True)
class EffectProblem:
    """Something wrong with what the service made.

    Attributes:
        code: of the finding.
        message: for people.
    """

    code: str
    message: str


@dataclass
class EffectCheck:
    """What came of the effects of one ``apply()``.

    Attributes:
        problems: what is wrong.
        not_checked: what could not be checked, in words.
    """

    problems: list[EffectProblem] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    def wrong(self, message: str, code: str = "gov-effect-wrong") -> None:
        self.problems.append(EffectProblem(code, message))


def check_effects(
    effects: list[tuple[str, str]], step: Step, before: GovernanceTables, after: GovernanceTables
) -> EffectCheck:
    """Checks what the service wrote in answer to ``effects``.

    Args:
        effects: function and JSON array of its arguments, in the order of the calls.
        step: the transaction.
        before, after: tables before it and after it.
    """
    check = EffectCheck()
    for function, arguments in effects:
        if function in _NOT_CHECKED:
            check.not_checked.append(_NOT_CHECKED[function])
        checker = _CHECKERS.get(function)
        if checker is None:
            continue
        try:
            parsed = json.loads(arguments)
            checker(check, parsed, step, before, after)
        except (FormatError, ValueError, RecursionError) as error:
            message = error.message if isinstance(error, FormatError) else str(error)
            check.wrong(f"what {function} was asked for, or what it made, is malformed: {message}")
    return check


# ------------------------------------------------------------------------------------------- certificates


def _parse_time(text: str) -> int | None:
    """Seconds since 1970 of an ASN.1 UTC time or an ISO 8601 one; None for other forms."""
    for form in ("%y%m%d%H%M%SZ", "%Y%m%d%H%M%SZ"):
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=timezone.utc).timestamp())
        except ValueError:
            continue
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return int(moment.timestamp())


def check_certificate(
    check: EffectCheck,
    function: str,
    arguments: list[object],
    pem: str,
    *,
    node_id: str | None,
    before: GovernanceTables,
) -> None:
    """Checks a certificate that the service issued on the way through ``apply()``.

    Args:
        check: takes what is found.
        function: ``generateEndorsedCertificate`` or ``generateNetworkCertificate``.
        arguments: as the script gave them.
        pem: the certificate that the ledger holds.
        node_id: key of the row that it was written to, for a node's.
        before: tables before the transaction.
    """
    what = "certificate of the node" if function == "generateEndorsedCertificate" else "service certificate"
    value = before.get(SERVICE_INFO, SINGLETON_KEY)
    if value is None:
        check.wrong(f"{what} was issued, and there is no service to issue it")
        return
    service = parse_member_certificate(parse_service_info(value).certificate.encode())
    certificate = parse_member_certificate(pem.encode())
    issuer, hash_name = PublicKey.from_spki(service.spki), certificate.ecdsa_hash
    if hash_name is None or not issuer.verifies(certificate.tbs, certificate.signature, hash_name):
        check.wrong(f"{what} is not issued by the service's key {service.spki_sha256[:16]}…")
    if function == "generateNetworkCertificate" and certificate.spki != service.spki:
        check.wrong(
            f"{what} is for another key: expected {service.spki_sha256[:16]}…, got {certificate.spki_sha256[:16]}…"
        )
    if node_id is not None and certificate.spki_sha256 != node_id:
        check.wrong(f"{what} is for another key: expected node {node_id[:16]}…, got {certificate.spki_sha256[:16]}…")
    _check_validity(check, what, certificate, arguments[-2:])


def _check_validity(check: EffectCheck, what: str, certificate: Certificate, arguments: list[object]) -> None:
    begin = _parse_time(arguments[0]) if len(arguments) == 2 and isinstance(arguments[0], str) else None
    days = arguments[1] if len(arguments) == 2 else None
    if begin is None or not isinstance(days, int):
        check.not_checked.append("validity of an issued certificate: its arguments are not a time and days")
        return
    # The last second belongs to the next period.
    expected = (begin, begin + days * _SECONDS_A_DAY - 1)
    got = (certificate.not_before, certificate.not_after)
    if got != expected:
        check.wrong(f"{what} has another validity: expected {expected[0]} to {expected[1]}, got {got[0]} to {got[1]}")


# ------------------------------------------------------------------------------------ opening and secrets


def _check_opening(
    check: EffectCheck, arguments: list[object], step: Step, before: GovernanceTables, after: GovernanceTables
) -> None:
    value = before.get(SERVICE_INFO, SINGLETON_KEY)
    if value is None:
        check.wrong("the service was opened, and there is none")
        return
    old = parse_service_info(value)
    written = step.value(SERVICE_INFO)
    new = parse_service_info(written) if written is not None else old
    expected = {"Opening": "Open", "Recovering": "WaitingForRecoveryShares"}.get(old.status)
    if expected is not None and new.status != expected:
        check.wrong(f"service was opened to a wrong status: expected {expected}, got {new.status}")
    if new.certificate != old.certificate:
        check.wrong("service certificate changed in the transaction that opens the service")
    previous, following = ([*arguments, None, None])[:2]
    if isinstance(following, str):
        _compare_identity(check, "next", following, old.certificate)
    if isinstance(previous, str):
        recorded = before.get(names.PREVIOUS_IDENTITY, SINGLETON_KEY)
        text = parse_json(recorded, "previous service identity") if recorded is not None else None
        if isinstance(text, str):
            _compare_identity(check, "previous", previous, text)
        else:
            check.wrong("proposal names a previous service, and the ledger knows none", "gov-opening-identity")


def _compare_identity(check: EffectCheck, which: str, named: str, recorded: str) -> None:
    expected = parse_member_certificate(recorded.encode()).spki_sha256
    got = parse_member_certificate(named.encode()).spki_sha256
    if expected != got:
        check.wrong(
            f"opening proposal names another {which} service identity: expected {expected}, got {got}",
            "gov-opening-identity",
        )


def _share_holders(tables: GovernanceTables) -> set[str]:
    """Members who get a recovery share: active, with an encryption key, and not excluded by their role."""
    holders = set()
    for key, _ in tables.items(names.MEMBERS_ENCRYPTION_KEYS):
        value = tables.get(MEMBERS_INFO, key)
        info = parse_member_info(value) if value is not None else None
        if info is not None and info.status == "Active" and info.recovery_role != "NonParticipant":
            holders.add(key.decode("utf-8", "replace"))
    return holders


def _check_shares(
    check: EffectCheck, arguments: list[object], step: Step, before: GovernanceTables, after: GovernanceTables
) -> None:
    value = step.value(names.RECOVERY_SHARES)
    if value is None:
        check.wrong("new recovery shares were asked for and not written")
        return
    shares = json_object(value, "recovery shares").get("encrypted_shares")
    given = set(shares) if isinstance(shares, dict) else set()
    expected = _share_holders(after)
    if given != expected:
        check.wrong(
            f"recovery shares are not for the active recovery members: expected {len(expected)} "
            f"({_some(expected - given)} missing), got {len(given)} ({_some(given - expected)} too many)"
        )


def _some(members: set[str]) -> str:
    return ", ".join(sorted(member[:16] + "…" for member in members)[:3]) or "none"


def _check_rekey(
    check: EffectCheck, arguments: list[object], step: Step, before: GovernanceTables, after: GovernanceTables
) -> None:
    _check_shares(check, arguments, step, before, after)
    if step.value(names.HISTORICAL_SECRET) is None:
        check.wrong("the ledger was rekeyed, and the previous secret was not kept")
    value = step.value(names.ENCRYPTED_SECRETS)
    if value is None:
        check.wrong("the ledger was rekeyed, and no node was given the new secret")
        return
    trusted = set()
    for key, node in after.items(NODES_INFO):
        info = parse_node_info(node)
        if info.status == "Trusted" or (info.status == "Retired" and not info.retired_committed):
            trusted.add(key.decode("utf-8", "replace"))
    foreign = set(json_object(value, "encrypted ledger secrets")) - trusted
    if foreign:
        check.wrong(f"new ledger secret was given to {_some(foreign)}, not trusted nodes")


# ----------------------------------------------------------------------------------------- application, JWT


def _check_bytecode(
    check: EffectCheck, arguments: list[object], step: Step, before: GovernanceTables, after: GovernanceTables
) -> None:
    compiled = {key for key, _ in after.items(names.BYTECODE)}
    modules = {key for key, _ in after.items(names.MODULES)}
    # A node that keeps what it compiles to itself stores none, and then every node runs the source. Some, but not
    # all of it, would mean that part of the application is not what its source says.
    if compiled and compiled != modules:
        check.wrong(f"compiled modules are not the application's: expected {len(modules)}, got {len(compiled)}")


def _key_of_jwk(jwk: Mapping[str, object]) -> tuple[bytes | None, bytes | None]:
    """DER of the certificate and of the SubjectPublicKeyInfo of a JSON Web Key, as far as it has them."""
    chain = jwk.get("x5c")
    if isinstance(chain, list) and chain and isinstance(chain[0], str):
        try:
            certificate = base64.b64decode(chain[0], validate=True)
        except binascii.Error as error:
            raise FormatError("x5c of a JSON Web Key is not base64", code="gov-record-malformed") from error
        return certificate, Certificate.parse(certificate).spki
    return None, _public_key_of_jwk(jwk)


def _public_key_of_jwk(jwk: Mapping[str, object]) -> bytes | None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    def number(name: str) -> int | None:
        text = jwk.get(name)
        if not isinstance(text, str):
            return None
        return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")

    modulus, exponent, x, y = number("n"), number("e"), number("x"), number("y")
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    if modulus is not None and exponent is not None:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    elif x is not None and y is not None:
        curves: dict[object, ec.EllipticCurve] = {
            "P-256": ec.SECP256R1(),
            "P-384": ec.SECP384R1(),
            "P-521": ec.SECP521R1(),
        }
        curve = curves.get(jwk.get("crv"))
        if curve is None:
            return None
        key = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    else:
        return None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _entries(value: bytes | None, issuer: str) -> Iterator[dict[str, object]]:
    """Entries of one issuer in a metadata row."""
    if value is None:
        return
    parsed = parse_json(value, "JWT keys")
    if isinstance(parsed, list):
        yield from (entry for entry in parsed if isinstance(entry, dict) and entry.get("issuer") == issuer)


def _check_jwt_keys(
    check: EffectCheck, arguments: list[object], step: Step, before: GovernanceTables, after: GovernanceTables
) -> None:
    issuer, jwks = arguments[0], arguments[2]
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(issuer, str) or not isinstance(keys, list):
        check.wrong("JWT keys were set from arguments that hold none")
        return
    expected = {}
    for jwk in keys:
        if isinstance(jwk, dict) and isinstance(jwk.get("kid"), str):
            expected[str(jwk["kid"]).encode()] = _key_of_jwk(jwk)
    table = next(
        (name for name in (names.JWT_METADATA_V2, names.JWT_METADATA, names.JWT_KEYS) if _used(after, name)), None
    )
    if table is None:
        check.wrong("JWT keys were set and none is there")
        return
    present = dict(_jwt_keys(after, table, issuer))
    for kid, (certificate, spki) in expected.items():
        wanted = certificate if table != names.JWT_METADATA_V2 else spki
        if wanted is None:
            check.not_checked.append("a JWT key of a kind that is not known here")
        elif wanted not in present.get(kid, set()):
            check.wrong(f"JWT key {kid.decode('utf-8', 'replace')[:64]!r} is not the one that was asked for")
    for kid in present.keys() - expected.keys():
        check.wrong(f"JWT key {kid.decode('utf-8', 'replace')[:64]!r} of {issuer[:64]!r} should be gone")


def _used(tables: GovernanceTables, table: str) -> bool:
    return tables.size(table) > 0


def _jwt_keys(tables: GovernanceTables, table: str, issuer: str) -> Iterator[tuple[bytes, set[bytes]]]:
    """Key IDs of an issuer with the DER that each holds."""
    for kid, value in tables.items(table):
        if table == names.JWT_KEYS:
            if tables.get(names.JWT_KEY_ISSUER, kid) == issuer.encode():
                yield kid, {value}
            continue
        name = "public_key" if table == names.JWT_METADATA_V2 else "cert"
        found = {
            base64.b64decode(text) for entry in _entries(value, issuer) if isinstance(text := entry.get(name), str)
        }
        if found:
            yield kid, found


def _check_jwt_removal(
    check: EffectCheck, arguments: list[object], step: Step, before: GovernanceTables, after: GovernanceTables
) -> None:
    issuer = arguments[0]
    if not isinstance(issuer, str):
        return
    for table in (names.JWT_METADATA_V2, names.JWT_METADATA, names.JWT_KEYS):
        for kid, _ in _jwt_keys(after, table, issuer):
            check.wrong(f"JWT key {kid.decode('utf-8', 'replace')[:64]!r} of {issuer[:64]!r} should be gone")


_Checker = Callable[[EffectCheck, list[object], Step, GovernanceTables, GovernanceTables], None]

_CHECKERS: Mapping[str, _Checker] = {
    "transitionServiceToOpen": _check_opening,
    "triggerLedgerRekey": _check_rekey,
    "triggerRecoverySharesRefresh": _check_shares,
    "refreshAppBytecodeCache": _check_bytecode,
    "setJwtPublicSigningKeys": _check_jwt_keys,
    "removeJwtPublicSigningKeys": _check_jwt_removal,
}
