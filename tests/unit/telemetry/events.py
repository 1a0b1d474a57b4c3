"""Audit events for tests."""

from __future__ import annotations

from torchgate.contract.audit_event import RequestEvent
from torchgate.contract.decision import Decision, ModelRef
from torchgate.contract.principal import Principal


def make_event(**changes: object) -> RequestEvent:
    fields: dict[str, object] = {
        "request_id": "01JD4W6Q3M8ZK2V7T9X5B1C0RA", "at": 1795197600.123, "duration_s": 0.0123,
        "method": "POST", "path": "/v2/models/digits/infer", "peer": "10.20.3.7", "front_door": "direct",
        "status": 200, "action": "infer", "model": ModelRef("digits", "1"), "model_name": "digits",
        "model_digest": "sha256:" + "ab" * 32,
        "principal": Principal(
            key="entra|https://issuer.example|ada", name="Ada Example", method="bearer", issuer="entra",
            roles=frozenset({"analyst"}), credential_id="token-1",
        ),
        "decision": Decision(True, "policy.grants[0]", "granted to role analyst", "sha256:5be1"),
        "rows": 3, "request_bytes": 1000, "response_bytes": 200, "queue_s": 0.001, "run_s": 0.01,
        "worker": "digits:1/0#4", "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "6c266ae59098e43f",
    }  # fmt: skip
    return RequestEvent(**(fields | changes))  # type: ignore[arg-type]


def make_refusal(**changes: object) -> RequestEvent:
    denied = Decision(False, "default deny", "no grant matches", "sha256:5be1")
    return make_event(**({"status": 403, "code": "forbidden", "decision": denied, "worker": ""} | changes))
