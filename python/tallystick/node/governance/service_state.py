"""What the service is made of, for anybody who asks: ``/gov/service``."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from tallystick.node import tables
from tallystick.node.governance.describing import described
from tallystick.node.governance.errors import governance_error, path_id
from tallystick.node.governance.members import recovery_role
from tallystick.node.http.context import Context, Reply, Transaction
from tallystick.node.http.errors import Code
from tallystick.node.http.query import txid_parameter
from tallystick.node.http.registry import Endpoint

__all__ = ["service_state_endpoints"]

_MODULES = "public:ccf.gov.modules"
_ENDPOINTS = "public:ccf.gov.endpoints"
_JAVASCRIPT = "text/javascript"

# What CCF assumes where the service's configuration does not say.
_DEFAULT_VALIDITY_DAYS = 365
_DEFAULT_WINDOW = 100

# The version that does not know these paths yet.
_PREVIEW = "2023-06-01-preview"


def service_state_endpoints() -> list[Endpoint]:
    """What to install under ``/gov/service``."""

    def read(
        path: str, handler: Callable[[Context], Reply], summary: str, mode: str = "readonly", *, script: bool = False
    ) -> Endpoint:
        content_type = _JAVASCRIPT if script else "application/json"
        openapi = described(summary, content_type=content_type, text=script)
        return Endpoint("GET", "/service" + path, handler, mode=mode, api="gov", openapi=openapi, versioned=True)

    return [
        read("/constitution", constitution, "The constitution in force", script=True),
        read("/info", service_info, "Status, certificate and configuration of the service"),
        read("/javascript-app", javascript_app, "Endpoints of the JavaScript application"),
        read("/javascript-modules", javascript_modules, "Names of its modules"),
        read("/javascript-modules/{moduleName}", javascript_module, "Source of a module", script=True),
        read("/join-policy", join_policy, "What a node must be to join"),
        read("/jwk", token_issuers, "Issuers of tokens, and their keys"),
        read("/members", members, "Every member"),
        read("/members/{memberId}", member, "A member"),
        read("/users", users, "Every user"),
        read("/users/{userId}", user, "A user"),
        read("/nodes", nodes, "Every node"),
        read("/nodes/{nodeId}", node, "A node"),
        read("/transactions/commit", commit, "The last committed transaction", "none"),
        read("/transactions/{transactionId}", transaction, "Status of a transaction", "none"),
    ]


def _missing(context: Context, message: str) -> Exception:
    return governance_error(context, 404, Code.RESOURCE_NOT_FOUND, message)


# -------------------------------------------------------------------------------------------------- service


def constitution(context: Context) -> Reply:
    """The constitution in force."""
    text = tables.get_json(context.tx, tables.CONSTITUTION)
    if text is None:
        raise _missing(context, "Constitution not found")
    return Reply.text(text, content_type=_JAVASCRIPT)


def service_info(context: Context) -> Reply:
    """Status, certificate and configuration of the service."""
    info: dict[str, Any] | None = tables.get_json(context.tx, tables.SERVICE_INFO)
    if info is None:
        raise _missing(context, "Service info not yet available")
    shown: dict[str, Any] = {
        "status": info["status"],
        "certificate": info["cert"],
        "recoveryCount": info.get("recovery_count") or 0,
        "serviceData": info.get("service_data"),
    }
    if info.get("current_service_create_txid") is not None:
        shown["creationTransactionId"] = info["current_service_create_txid"]
    previous = info.get("previous_service_identity_version")
    if previous is not None:
        view = context.node.runtime.view_at(previous) or 0
        shown["previousServiceCreationTransactionId"] = f"{view}.{previous}"
    config: dict[str, Any] | None = tables.get_json(context.tx, tables.SERVICE_CONFIG)
    if config is not None:
        node_days = config.get("maximum_node_certificate_validity_days")
        service_days = config.get("maximum_service_certificate_validity_days")
        window = config.get("recent_cose_proposals_window_size")
        shown["configuration"] = {
            "recoveryThreshold": config.get("recovery_threshold", 0),
            "maximumNodeCertificateValidityDays": _DEFAULT_VALIDITY_DAYS if node_days is None else node_days,
            "maximumServiceCertificateValidityDays": _DEFAULT_VALIDITY_DAYS if service_days is None else service_days,
            "recentCoseProposalsWindowSize": _DEFAULT_WINDOW if window is None else window,
        }
    return Reply.json(shown)


def transaction(context: Context) -> Reply:
    """Status of a transaction."""
    text = context.parameters["transactionId"]
    txid = txid_parameter(text)
    if txid is None:
        message = (
            f"The value '{text[:64]}' passed as parameter 'transactionId' could not be converted to a valid "
            "Transaction ID."
        )
        raise governance_error(context, 400, Code.INVALID_QUERY_PARAMETER_VALUE, message)
    status = context.node.runtime.status(txid.view, txid.seqno)
    return Reply.json({"status": status, "transactionId": str(txid)})


def commit(context: Context) -> Reply:
    """The last committed transaction."""
    view, seqno = context.node.runtime.committed
    status = context.node.runtime.status(view, seqno)
    return Reply.json({"status": status, "transactionId": f"{view}.{seqno}"})


# ---------------------------------------------------------------------------------------------- application


def _from_2024(context: Context) -> None:
    if context.query.get("api-version") == _PREVIEW:
        message = f"Unsupported api-version '{_PREVIEW}'. The supported api-versions are: 2024-07-01"
        raise governance_error(context, 400, Code.UNSUPPORTED_API_VERSION_VALUE, message)


def javascript_app(context: Context) -> Reply:
    """Endpoints of the JavaScript application."""
    _from_2024(context)
    spelling = context.query.get("case")
    if spelling not in (None, "original"):
        message = "Accepted values for the 'case' query parameter are: original"
        raise governance_error(context, 400, Code.INVALID_QUERY_PARAMETER_VALUE, message)
    shown: dict[str, dict[str, Any]] = {}
    for key, properties in tables.rows_json(context.tx, _ENDPOINTS).items():
        verb, _, path = key.partition(" ")
        operation = properties if spelling == "original" else _operation(properties)
        shown.setdefault(path, {})[verb] = operation
    return Reply.json({"endpoints": shown})


def _operation(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "jsModule": properties.get("js_module"),
        "jsFunction": properties.get("js_function"),
        "forwardingRequired": properties.get("forwarding_required", "always"),
        "redirectionStrategy": properties.get("redirection_strategy", "none"),
        "authnPolicies": properties.get("authn_policies", []),
        "mode": properties.get("mode", "readwrite"),
        "openApi": properties.get("openapi"),
    }


def javascript_modules(context: Context) -> Reply:
    """Names of the application's modules."""
    _from_2024(context)
    names = sorted(key.decode("utf-8", "replace") for key, _ in context.tx.entries(_MODULES))
    return Reply.json({"value": [{"moduleName": name} for name in names]})


def javascript_module(context: Context) -> Reply:
    """Source of a module."""
    _from_2024(context)
    name = unquote(context.parameters["moduleName"])
    source = context.tx.get(_MODULES, name.encode("utf-8", "replace"))
    if source is None:
        raise _missing(context, f"Module {name} does not exist.")
    return Reply(200, (("content-type", _JAVASCRIPT),), source)


# ------------------------------------------------------------------------------------------------ join policy


def join_policy(context: Context) -> Reply:
    """What a node must be to join."""
    tx = context.tx
    return Reply.json(
        {
            "sgx": {"measurements": _allowed(tx, tables.NODES_CODE_IDS)},
            "virtual": {
                "measurements": _allowed(tx, tables.VIRTUAL_MEASUREMENTS),
                "hostData": sorted(key.decode("utf-8", "replace") for key, _ in tx.entries(tables.VIRTUAL_HOST_DATA)),
            },
            "snp": {
                "measurements": _allowed(tx, tables.SNP_MEASUREMENTS),
                "hostData": tables.rows_json(tx, tables.SNP_HOST_DATA),
                "uvmEndorsements": tables.rows_json(tx, tables.SNP_UVM_ENDORSEMENTS),
                "tcbVersions": tables.rows_json(tx, tables.SNP_TCB_VERSIONS),
            },
        }
    )


def _allowed(tx: Transaction, table: str) -> list[str]:
    return [name for name, status in tables.rows_json(tx, table).items() if status == "AllowedToJoin"]


def token_issuers(context: Context) -> Reply:
    """Issuers of tokens, their keys, and the certificates with which they are fetched."""
    tx = context.tx
    issuers = {}
    for name, metadata in tables.rows_json(tx, tables.JWT_ISSUERS).items():
        issuers[name] = {"autoRefresh": bool(metadata.get("auto_refresh"))}
        if metadata.get("ca_cert_bundle_name") is not None:
            issuers[name]["caCertBundleName"] = metadata["ca_cert_bundle_name"]
    keys = {
        kid: [
            {
                "publicKey": _pem("PUBLIC KEY", entry["public_key"]),
                "issuer": entry["issuer"],
                "constraint": entry.get("constraint"),
            }
            for entry in entries
        ]
        for kid, entries in tables.rows_json(tx, tables.JWT_KEYS).items()
    }
    bundles = tables.rows_json(tx, tables.CA_BUNDLES)
    return Reply.json({"issuers": issuers, "keys": keys, "caCertBundles": bundles})


def _pem(label: str, text: str) -> str:
    """PEM of base64 text, in lines of 64 characters (RFC 7468)."""
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


# ------------------------------------------------------------------------------------- members, users, nodes


def _member(tx: Transaction, member_id: str, info: dict[str, Any]) -> dict[str, Any]:
    shown = {
        "memberId": member_id,
        "status": info.get("status"),
        "memberData": info.get("member_data"),
        "recoveryRole": recovery_role(tx, member_id, info),
    }
    certificate = tables.get_text(tx, tables.MEMBERS_CERTS, member_id.encode())
    encryption_key = tables.get_text(tx, tables.MEMBERS_KEYS, member_id.encode())
    if certificate is not None:
        shown["certificate"] = certificate
    if encryption_key is not None:
        shown["publicEncryptionKey"] = encryption_key
    return shown


def members(context: Context) -> Reply:
    """Every member."""
    rows = tables.rows_json(context.tx, tables.MEMBERS_INFO)
    return Reply.json({"value": [_member(context.tx, member_id, info) for member_id, info in rows.items()]})


def member(context: Context) -> Reply:
    """One member."""
    member_id = path_id(context, "memberId", "member")
    info = tables.get_json(context.tx, tables.MEMBERS_INFO, member_id.encode())
    if info is None:
        raise _missing(context, f"Member m[{member_id}] does not exist.")
    return Reply.json(_member(context.tx, member_id, info))


def _user(tx: Transaction, user_id: str, certificate: str) -> dict[str, Any]:
    # CCF shows the whole row, with user_data inside it, and clients have come to expect that.
    data = tables.get_json(tx, tables.USERS_INFO, user_id.encode())
    return {"userId": user_id, "certificate": certificate, "userData": data}


def users(context: Context) -> Reply:
    """Every user."""
    rows = sorted(context.tx.entries(tables.USERS_CERTS))
    return Reply.json({"value": [_user(context.tx, key.decode(), pem.decode()) for key, pem in rows]})


def user(context: Context) -> Reply:
    """One user."""
    user_id = path_id(context, "userId", "user")
    certificate = tables.get_text(context.tx, tables.USERS_CERTS, user_id.encode())
    if certificate is None:
        raise _missing(context, f"User u[{user_id}] does not exist.")
    return Reply.json(_user(context.tx, user_id, certificate))


def _node(tx: Transaction, node_id: str, info: dict[str, Any]) -> dict[str, Any]:
    interfaces: dict[str, dict[str, Any]] = {}
    for name, interface in (info.get("rpc_interfaces") or {}).items():
        interfaces[name] = {"publishedAddress": interface.get("published_address", "")}
        if interface.get("app_protocol") is not None:
            interfaces[name]["protocol"] = interface["app_protocol"]
    shown = {
        "nodeId": node_id,
        "status": info.get("status"),
        "nodeData": info.get("node_data"),
        "retiredCommitted": bool(info.get("retired_committed")),
        "quoteInfo": _quote_info(info.get("quote_info") or {}),
        "rpcInterfaces": interfaces,
    }
    certificate = tables.get_text(tx, tables.NODES_ENDORSED, node_id.encode())
    if certificate is not None:
        shown["certificate"] = certificate
    return shown


def _quote_info(info: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"format": info.get("format")}
    match info.get("format"):
        case "OE_SGX_v1":
            shown |= {"quote": info.get("quote", ""), "endorsements": info.get("endorsements", "")}
        case "Insecure_Virtual":
            shown |= {"rawQuote": info.get("quote", ""), "details": _virtual_details(info.get("quote", ""))}
        case "AMD_SEV_SNP_v1":
            if info.get("uvm_endorsements"):
                shown["uvmEndorsements"] = info["uvm_endorsements"]
            if info.get("endorsed_tcb"):
                shown["endorsedTcb"] = base64.b64encode(bytes.fromhex(info["endorsed_tcb"])).decode()
        case _:
            pass
    return shown


def _virtual_details(quote: str) -> dict[str, Any]:
    try:
        details = json.loads(base64.b64decode(quote, validate=True))
    except (binascii.Error, ValueError):
        return {}
    names = {"measurement": "measurement", "reportData": "report_data", "hostData": "host_data"}
    return {shown: details.get(name) for shown, name in names.items()} if isinstance(details, dict) else {}


def nodes(context: Context) -> Reply:
    """Every node."""
    rows = tables.rows_json(context.tx, tables.NODES_INFO)
    return Reply.json({"value": [_node(context.tx, node_id, info) for node_id, info in rows.items()]})


def node(context: Context) -> Reply:
    """One node."""
    node_id = path_id(context, "nodeId", "node")
    info = tables.get_json(context.tx, tables.NODES_INFO, node_id.encode())
    if info is None:
        raise _missing(context, f"Node n[{node_id}] does not exist.")
    return Reply.json(_node(context.tx, node_id, info))
