"""Audit events in the form of OCSF 1.8.0: one JSON line each, whatever is in the strings.

RequestEvent and RefusalsEvent become API Activity (6003), LifecycleEvent becomes Application Lifecycle (6002),
PolicyEvent becomes Entity Management (3004).
Strings are cut, and control characters leave as JSON escapes, so that no caller can forge a line.

Source: OCSF schema 1.8.0, classes api_activity, application_lifecycle and entity_management, profiles security_control,
ai_operation and trace.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from torchgate.contract.audit_event import AuditEvent, LifecycleEvent, PolicyEvent, RefusalsEvent, RequestEvent
from torchgate.contract.decision import Decision, ModelRef
from torchgate.contract.principal import Principal
from torchgate.telemetry.ocsf_frames import ChainPlace, Figures, RequestFrames, figures_of

SCHEMA_VERSION = "1.8.0"

_ACTIVITIES: Mapping[str, tuple[int, str]] = {
    "": (0, "Unknown"), "infer": (99, "Infer"), "read": (2, "Read"), "describe": (2, "Read"), "identify": (2, "Read"),
    "metrics": (2, "Read"), "load": (99, "Load"), "unload": (99, "Unload"), "admin": (3, "Update"),
    "cancel": (99, "Cancel"),
}  # fmt: skip
"""Action → activity of class 6003. Infer is none of create, read, update and delete, so that it is Other, named."""

_LIFECYCLE: Mapping[str, tuple[int, str]] = {
    "start": (3, "Start"), "stop": (4, "Stop"), "restart": (5, "Restart"), "update": (8, "Update"),
    "failure": (99, "Failure"),
}  # fmt: skip
"""Activity → activity of class 6002."""

_API_PROFILES = ("security_control", "trace", "ai_operation", "host")
_HOST_PROFILES = ("host",)
_SETTINGS_FILE: Mapping[str, Any] = {"app_name": "settings file"}
"""The actor of a change that nobody asked for by a request: whoever may write the file."""
_REJECTED_CODES = frozenset(
    {"quota_exceeded", "circuit_open", "overloaded", "model_not_ready", "unavailable", "too_many_refusals"}
)
DISPOSITIONS: Mapping[int, str] = {1: "allowed", 2: "blocked", 25: "rejected", 26: "unauthorized", 27: "error"}
"""disposition_id of the security_control profile, as far as it is used here."""

_KEPT = 1024  # encoded parts of each kind that are remembered; about 1 kB each
_NAME = 256  # characters of a name that are kept; a line stays far below the 64 kB that log shippers take
_SENTENCE = 1024  # characters of a sentence


class Occasion(msgspec.Struct, frozen=True):
    """A life-cycle event of the trail itself, with facts for machines beside its sentence."""

    event: LifecycleEvent
    facts: Mapping[str, Any]


class OcsfEncoder:
    """Turns events into lines. Not thread-safe.

    Args:
        host: name of this machine.
        version: of the server.
        chain: id of the chain, which is also the head of its files' names.
        uid_prefix: makes event ids unique among all chains.
    """

    def __init__(self, *, host: str, version: str, chain: str, uid_prefix: str) -> None:
        product = {"name": "torchgate", "vendor_name": "Torchgate", "version": version}
        self._uid_prefix = uid_prefix
        self._chain = chain
        self._product = orjson.Fragment(orjson.dumps(product))
        self._device = orjson.Fragment(orjson.dumps({"hostname": host, "type_id": 1, "type": "Server"}))
        self._peers: dict[str, dict[str, str]] = {}
        # By identity: identity and policy give the same objects again and again, and hashing them costs more.
        self._actors: dict[int, tuple[Principal | None, orjson.Fragment]] = {}
        self._decisions: dict[int, tuple[Decision, orjson.Fragment]] = {}
        self._models: dict[tuple[ModelRef, str], tuple[orjson.Fragment, ...]] = {}
        self._frames = RequestFrames(self._frame)

    def encode(self, event: AuditEvent | Occasion, place: ChainPlace) -> bytes:
        """One line, ending in a newline, with no other newline in it."""
        if isinstance(event, RequestEvent):
            return self._frames.line(event, place) or self._line(self._request(event, figures_of(event)), place)
        if isinstance(event, RefusalsEvent):
            record = self._refusals(event)
        elif isinstance(event, LifecycleEvent):
            record = self._lifecycle(event, {})
        elif isinstance(event, PolicyEvent):
            record = self._policy(event)
        else:
            record = self._lifecycle(event.event, event.facts)
        return self._line(record, place)

    def _frame(self, event: RequestEvent, holes: Figures, place: ChainPlace) -> bytes:
        """The line of an event with holes for what differs between two requests of a kind."""
        return self._line(self._request(event, holes), place)

    def _line(self, record: dict[str, Any], place: ChainPlace) -> bytes:
        profiles = _API_PROFILES if record["class_uid"] == 6003 else _HOST_PROFILES
        record["metadata"] = {
            "version": SCHEMA_VERSION,
            "product": self._product,
            "uid": f"{self._uid_prefix}{place.sequence}",
            "sequence": place.sequence,
            "log_name": self._chain,
            "profiles": profiles,
        }
        record["unmapped"]["prev"] = place.previous
        try:
            return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            # A lone surrogate (a path of broken UTF-8, say), or a number beyond 64 bits: JSON has no form for it.
            return orjson.dumps(_encodable(record), option=orjson.OPT_APPEND_NEWLINE)

    def _request(self, event: RequestEvent, figures: Figures) -> dict[str, Any]:
        activity_id, activity = _ACTIVITIES.get(event.action, (99, event.action[:_NAME]))
        action_id, disposition_id = outcome(event)
        failed = event.status >= 400
        api: dict[str, Any] = {
            "operation": event.action or event.method[:_NAME],
            "request": {"uid": event.request_id},
            "response": {"code": event.status, "error": event.code} if event.code else {"code": event.status},
        }
        record: dict[str, Any] = {
            "time": figures.time_ms,
            "category_uid": 6, "class_uid": 6003,
            "activity_id": activity_id, "activity_name": activity, "type_uid": 600300 + activity_id,
            "severity_id": 1 if not failed else 3 if event.status >= 500 else 2,
            "status_id": 2 if failed else 1, "status": "Failure" if failed else "Success",
            "status_code": str(event.status), "status_detail": event.code,
            "action_id": action_id, "disposition_id": disposition_id,
            "actor": self._actor(event.principal),
            "api": api,
            "src_endpoint": self._peer(event.peer),
            "device": self._device,
            "http_request": {
                "http_method": event.method[:_NAME], "url": {"path": event.path[:512]},
                "length": figures.request_bytes,
            },
            "http_response": {
                "code": event.status, "length": figures.response_bytes, "latency": figures.latency_ms,
            },
            "unmapped": {
                "front_door": event.front_door, "rows": figures.rows, "duration_us": figures.duration_us,
                "queue_us": figures.queue_us, "run_us": figures.run_us, "worker": event.worker,
            },
        }  # fmt: skip
        if event.decision is not None:
            record["authorizations"] = self._authorizations(event.decision)
        if event.model is not None:
            api["service"], record["resources"], record["ai_model"] = self._model(event.model, event.model_digest)
        _add_optional(record, event, figures)
        return record

    def _refusals(self, event: RefusalsEvent) -> dict[str, Any]:
        end = int(event.at * 1000)
        start = end - round(event.interval_s * 1000)
        return {
            "time": start, "start_time": start, "end_time": end, "duration": end - start, "count": event.count,
            "category_uid": 6, "class_uid": 6003,
            "activity_id": 0, "activity_name": "Unknown", "type_uid": 600300,
            "severity_id": 3, "status_id": 2, "status": "Failure", "status_code": "429",
            "status_detail": "too_many_refusals", "action_id": 2, "disposition_id": 26,
            "actor": self._actor(None),
            "api": {"operation": "authenticate", "response": {"code": 429, "error": "too_many_refusals"}},
            "src_endpoint": self._peer(event.peer),
            "device": self._device,
            "unmapped": {"front_door": event.front_door},
        }  # fmt: skip

    def _lifecycle(self, event: LifecycleEvent, facts: Mapping[str, Any]) -> dict[str, Any]:
        activity_id, activity = _LIFECYCLE.get(event.activity, (99, event.activity[:_NAME]))
        failed = event.activity == "failure"
        return {
            "time": int(event.at * 1000),
            "category_uid": 6, "class_uid": 6002,
            "activity_id": activity_id, "activity_name": activity, "type_uid": 600200 + activity_id,
            "severity_id": 4 if failed else 1, "status_id": 2 if failed else 1,
            "status": "Failure" if failed else "Success",
            "app": {"name": "torchgate", "vendor_name": "Torchgate", "feature": {"name": event.subject[:_NAME]}},
            "device": self._device,
            "message": event.sentence[:_SENTENCE],
            "unmapped": dict(facts),
        }  # fmt: skip

    def _policy(self, event: PolicyEvent) -> dict[str, Any]:
        before, after = (
            {
                "type_id": 5, "type": "Policy", "uid": "torchgate.policy", "version": version[:_NAME],
                "policy": {"uid": "torchgate.policy", "version": version[:_NAME]},
            }
            for version in (event.version, event.new_version)
        )  # fmt: skip
        return {
            "time": int(event.at * 1000),
            "category_uid": 3, "class_uid": 3004,
            "activity_id": 3, "activity_name": "Update", "type_uid": 300403,
            "severity_id": 3 if event.is_refused else 1, "status_id": 2 if event.is_refused else 1,
            "status": "Failure" if event.is_refused else "Success",
            "entity": before, "entity_result": after,
            "actor": self._actor(event.principal) if event.principal is not None else _SETTINGS_FILE,
            "device": self._device,
            "message": event.sentence[:_SENTENCE],
            "unmapped": {},
        }  # fmt: skip

    def _actor(self, principal: Principal | None) -> orjson.Fragment:
        known = self._actors.get(id(principal))
        if known is not None and known[0] is principal:
            return known[1]
        fragment = _fragment(_actor(principal))
        _remember(self._actors, id(principal), (principal, fragment))
        return fragment

    def _authorizations(self, decision: Decision) -> orjson.Fragment:
        known = self._decisions.get(id(decision))
        if known is not None and known[0] is decision:
            return known[1]
        fragment = _fragment(_authorizations(decision))
        _remember(self._decisions, id(decision), (decision, fragment))
        return fragment

    def _model(self, ref: ModelRef, digest: str) -> tuple[orjson.Fragment, ...]:
        known = self._models.get((ref, digest))
        if known is None:
            known = tuple(_fragment(part) for part in _model(ref, digest))
            _remember(self._models, (ref, digest), known)
        return known

    def _peer(self, peer: str) -> dict[str, str]:
        endpoint = self._peers.get(peer)
        if endpoint is None:
            try:
                endpoint = {"ip": str(ipaddress.ip_address(peer))}
            except ValueError:
                endpoint = {"name": peer[:_NAME] or "unknown"}
            _remember(self._peers, peer, endpoint)
        return endpoint


def outcome(event: RequestEvent) -> tuple[int, int]:
    """(action_id, disposition_id) of the security_control profile.

    Allowed (1, 1) · refused by policy (2, 2 Blocked) · no or a bad credential (2, 26 Unauthorized) · no room
    (2, 25 Rejected) · else an error (27), whose action is what policy had said by then.
    """
    decision = event.decision
    if decision is not None and not decision.allowed:
        return 2, 2
    if event.status < 400:
        return 1, 1
    if event.principal is None and (event.credential_reason or event.status in {401, 429}):
        return 2, 26
    if event.code in _REJECTED_CODES or event.status == 429:
        return 2, 25
    return (1 if decision is not None else 2), 27


def is_refused(event: RequestEvent) -> bool:
    """Whether identity or policy refused it; want of room and errors are no refusals."""
    return outcome(event)[1] in {2, 26}


def _add_optional(record: dict[str, Any], event: RequestEvent, figures: Figures) -> None:
    unmapped = record["unmapped"]
    if event.model is None and event.model_name:
        record["resources"] = ({"name": event.model_name[:_NAME], "type": "Model", "role_id": 1},)
    if event.trace_id:
        trace: dict[str, Any] = {"uid": event.trace_id}
        if event.span_id:
            span = {"uid": event.span_id, "start_time": figures.time_ms, "end_time": figures.end_ms}
            trace["span"] = span
        record["trace"] = trace
    if event.client_request_id:
        unmapped["client_request_id"] = event.client_request_id[:_NAME]
    if event.credential_reason:
        unmapped["credential_reason"] = event.credential_reason[:_NAME]


def _model(ref: ModelRef, digest: str) -> tuple[object, object, object]:
    """api.service, resources, ai_model."""
    service = {"name": ref.name, "version": ref.version}
    resource = {"uid": f"model:{ref.name}:{ref.version}", **service, "type": "Model", "role_id": 1}
    ai_model = {"ai_provider": "Internal", **service} | ({"uid": digest} if digest else {})
    return service, [resource], ai_model


def _authorizations(decision: Decision) -> list[dict[str, Any]]:
    policy = {
        "uid": "torchgate.policy",
        "name": decision.rule[:_NAME],
        "version": decision.policy_version[:_NAME],
        "is_applied": True,
        "desc": decision.reason[:_SENTENCE],
    }
    return [{"decision": "allowed" if decision.allowed else "denied", "policy": policy}]


def _actor(principal: Principal | None) -> dict[str, Any]:
    if principal is None:
        return {"user": {"name": "unknown", "type_id": 0, "type": "Unknown"}}
    return {
        "user": {
            "uid": principal.key[:_SENTENCE],
            "name": principal.name[:_NAME],
            "groups": [{"name": role, "type": "role"} for role in sorted(principal.roles)],
        },
        "session": {
            "issuer": principal.issuer[:_NAME],
            "credential_uid": principal.credential_id[:_NAME],
            "is_remote": True,
        },
        "app_name": principal.method,
    }


def _fragment(value: object) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(_encodable(value)))


def _remember(kept: dict[Any, Any], key: object, value: object) -> None:
    if len(kept) >= _KEPT:
        kept.clear()
    kept[key] = value


def _encodable(value: Any) -> Any:
    """The same, with lone surrogates replaced in every string, and numbers beyond 64 bits as text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return str(value)
    if isinstance(value, dict):
        return {key: _encodable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(inner) for inner in value]
    return value
