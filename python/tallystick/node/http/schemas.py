"""Schemas of what the node's own endpoints answer, under the names that CCF's documents use.

Generated clients carry those names, so they are kept; what stands in them is written here once, as fields and
their types. A type is a schema's name, ``[name]`` for an array of it and ``{name}`` for an object with values of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["SCHEMAS", "reference", "with_dependencies"]

_U64 = 2**64 - 1

# Arrays and maps that fields ask for.
_DERIVED: dict[str, dict[str, Any]] = {}


def reference(name: str) -> dict[str, str]:
    """A reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def _type(text: str) -> str:
    """Name of the schema that a type stands for; arrays and maps get one of their own."""
    if text.startswith("["):
        inner = text[1:-1]
        _DERIVED.setdefault(f"{inner}_array", {"type": "array", "items": reference(inner)})
        return f"{inner}_array"
    if text.startswith("{"):
        key, _, inner = text[1:-1].partition(":")
        _DERIVED.setdefault(f"{key}_to_{inner}", {"type": "object", "additionalProperties": reference(inner)})
        return f"{key}_to_{inner}"
    return text


def _object(required: str = "", optional: str = "") -> dict[str, Any]:
    """An object from fields such as ``"seqno:uint64 nodes:[NodeId]"``."""
    must = [tuple(field.split(":", 1)) for field in required.split()]
    may = [tuple(field.split(":", 1)) for field in optional.split()]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: reference(_type(kind)) for name, kind in sorted(must + may)},
    }
    if must:
        schema["required"] = [name for name, _ in must]
    return schema


def _enumeration(values: str) -> dict[str, Any]:
    return {"type": "string", "enum": values.split()}


SCHEMAS: dict[str, dict[str, Any]] = {
    "json": {},
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "uint32": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "uint64": {"type": "integer", "minimum": 0, "maximum": _U64},
    "base64string": {"type": "string", "format": "base64"},
    "Pem": {"type": "string"},
    "NodeId": {"type": "string", "format": "hex", "pattern": "^[a-f0-9]{64}$"},
    "TransactionId": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+$"},
    "TimeString": {"type": "string", "pattern": "^[0-9]+(B|KB|MB|GB|TB|PB)?$"},
    "TxStatus": _enumeration("Unknown Pending Committed Invalid"),
    "NodeStatus": _enumeration("Pending Trusted Retired"),
    "ServiceStatus": _enumeration("Opening Open WaitingForRecoveryShares Recovering"),
    "QuoteFormat": _enumeration("OE_SGX_v1 Insecure_Virtual AMD_SEV_SNP_v1"),
    "Authority": _enumeration("Node Service ACME Unsecured"),
    "ConsensusType": _enumeration("CFT BFT"),
    "LeadershipState": _enumeration("None Leader Follower PreVoteCandidate Candidate"),
    "MembershipState": _enumeration("Active Retired"),
    "RetirementPhase": _enumeration("Ordered Signed Completed RetiredCommitted"),
    "ReconfigurationType": _enumeration("OneTransaction TwoTransaction"),
    "RedirectionResolutionKind": _enumeration("NodeByRole StaticAddress"),
    "ccf__NodeStartupState": _enumeration(
        "Uninitialized Initialized Pending PartOfPublicNetwork PartOfNetwork ReadingPublicLedger ReadingPrivateLedger"
    ),
    "CCFError": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "code": {"type": "string", "description": "What went wrong, for programs"},
                    "message": {"type": "string", "description": "What went wrong, for people"},
                },
            }
        },
    },
}

SCHEMAS |= {
    "GetCommit__Out": _object("transaction_id:TransactionId", "view_history:[TransactionId]"),
    "GetTxStatus__Out": _object("transaction_id:TransactionId status:TxStatus"),
    "GetState__Out": _object(
        "node_id:NodeId state:ccf__NodeStartupState last_signed_seqno:uint64 startup_seqno:uint64 stop_notice:boolean",
        "recovery_target_seqno:uint64 last_recovered_seqno:uint64",
    ),
    "GetVersion__Out": _object("ccf_version:string quickjs_version:string unsafe:boolean"),
    "GetNetworkInfo__Out": _object(
        "service_status:ServiceStatus service_certificate:Pem current_view:uint64 primary_id:NodeId "
        "recovery_count:uint64 service_data:json current_service_create_txid:TransactionId"
    ),
    "GetServicePreviousIdentity__Out": _object("previous_service_identity:Pem"),
    "SelfSignedNodeCertificateInfo": _object("self_signed_certificate:Pem"),
    "ServiceConfiguration": _object(
        "recovery_threshold:uint64",
        "consensus:ConsensusType maximum_node_certificate_validity_days:uint64 "
        "maximum_service_certificate_validity_days:uint64 recent_cose_proposals_window_size:uint64 "
        "reconfiguration_type:ReconfigurationType",
    ),
    "Endorsement": _object("authority:Authority"),
    "ParserConfiguration": _object(
        "",
        "initial_window_size:TimeString max_body_size:TimeString max_concurrent_streams_count:uint64 "
        "max_frame_size:TimeString max_header_size:TimeString max_headers_count:uint32",
    ),
    "RedirectionResolverConfig": _object("kind:RedirectionResolutionKind", "target:json"),
    "NodeInfoNetwork_v2__NetInterface__Redirections": _object(
        "", "to_backup:RedirectionResolverConfig to_primary:RedirectionResolverConfig"
    ),
    "NodeInfoNetwork_v2__NetInterface": _object(
        "bind_address:string",
        "accepted_endpoints:[string] app_protocol:string endorsement:Endorsement forwarding_timeout_ms:uint64 "
        "http_configuration:ParserConfiguration max_open_sessions_hard:uint64 max_open_sessions_soft:uint64 "
        "protocol:string published_address:string redirections:NodeInfoNetwork_v2__NetInterface__Redirections",
    ),
    "GetNode__NodeInfo": _object(
        "node_id:NodeId status:NodeStatus primary:boolean "
        "rpc_interfaces:{string:NodeInfoNetwork_v2__NetInterface} node_data:json last_written:uint64"
    ),
    "GetNodes__Out": _object("nodes:[GetNode__NodeInfo]"),
    "Quote": _object(
        "node_id:NodeId raw:base64string endorsements:base64string format:QuoteFormat",
        "measurement:string uvm_endorsements:base64string",
    ),
    "Attestation": _object(
        "node_id:NodeId raw:base64string endorsements:base64string format:QuoteFormat",
        "measurement:string uvm_endorsements:base64string",
    ),
    "GetQuotes__Out": _object("quotes:[Quote]"),
    "GetAttestations__Out": _object("attestations:[Attestation]"),
    "Configuration__NodeInfo": _object("address:string"),
    "ConsensusNodeConfig": _object("address:string"),
    "Configuration": _object("idx:uint64 nodes:{NodeId:Configuration__NodeInfo} rid:uint64"),
    "ConsensusDetails__Ack": _object("seqno:uint64 last_received_ms:uint64"),
    "ConsensusDetails": _object(
        "configs:[Configuration] acks:{NodeId:ConsensusDetails__Ack} membership_state:MembershipState "
        "primary_id:NodeId current_view:uint64 ticking:boolean",
        "leadership_state:LeadershipState learners:{NodeId:uint64} reconfiguration_type:ReconfigurationType "
        "retirement_phase:RetirementPhase",
    ),
    "ConsensusConfigDetails": _object("details:ConsensusDetails"),
    "SessionMetrics__Errors": _object(
        "parsing:uint64 request_payload_too_large:uint64 request_header_too_large:uint64"
    ),
    "SessionMetrics__PerInterface": _object(
        "active:uint64 peak:uint64 soft_cap:uint64 hard_cap:uint64 errors:SessionMetrics__Errors"
    ),
    "SessionMetrics": _object("active:uint64 peak:uint64 interfaces:{string:SessionMetrics__PerInterface}"),
    "NodeMetrics": _object("sessions:SessionMetrics"),
    "MemoryUsage__Out": _object(
        "max_total_heap_size:uint64 current_allocated_heap_size:uint64 peak_allocated_heap_size:uint64"
    ),
    "JavaScriptMetrics": _object(
        "bytecode_size:uint64 bytecode_used:boolean max_heap_size:uint64 max_stack_size:uint64 "
        "max_execution_time:uint64 max_cached_interpreters:uint64"
    ),
    "JWTRefreshMetrics": _object("attempts:uint64 successes:uint64 failures:uint64"),
    "string_to_ConsensusNodeConfig": {
        "type": "object",
        "additionalProperties": reference("ConsensusNodeConfig"),
    },
} | _DERIVED


def with_dependencies(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The schemas named and all that they refer to, by name in order."""
    wanted, found = list(names), set[str]()
    while wanted:
        name = wanted.pop()
        # An application may refer to schemas that only it knows; those are not ours to give.
        if name not in found and name in SCHEMAS:
            found.add(name)
            wanted.extend(_references(SCHEMAS[name]))
    return {name: SCHEMAS[name] for name in sorted(found)}


def _references(value: object) -> Iterable[str]:
    if isinstance(value, Mapping):
        target = value.get("$ref")
        if isinstance(target, str):
            yield target.rpartition("/")[2]
        for inner in value.values():
            yield from _references(inner)
