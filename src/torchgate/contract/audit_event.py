"""What the audit trail is told; telemetry gives it its OCSF form."""

from __future__ import annotations

import msgspec

from torchgate.contract.decision import Decision, ModelRef
from torchgate.contract.principal import Principal


class RequestEvent(msgspec.Struct, frozen=True):
    """One answer of an authenticated route: who asked what, when, what was decided, how it ended.

    Never a header, a token, a body or a query string.

    Args:
        request_id: ours.
        client_request_id: what the client called it, cleaned and cut; recorded, never trusted.
        at: Unix seconds when the request arrived.
        duration_s: arrival to the moment before the answer leaves.
        method, path: of HTTP; path without query, cut to 512 characters.
        peer: address of the last trusted hop.
        front_door: its configured name.
        action: as asked (`infer`), or empty where no route was matched.
        model: as resolved, or None.
        model_name: as asked for, cut to 128 characters, also where no such model exists.
        model_digest: `sha256:…` of the version's artifact, or empty.
        principal: None where nobody was proven.
        credential_reason: why the credential was refused (class, never content), or empty.
        decision: None where it did not come to one.
        status: HTTP status of the answer.
        code: error code of the answer, or empty on success.
        rows, request_bytes, response_bytes: sizes.
        queue_s, run_s: of the engine, 0 where it did not come to it.
        worker: which worker ran it, e.g. `digits:1/0#4`, or empty.
        trace_id, span_id: of W3C trace context, or empty.
    """

    request_id: str
    at: float
    duration_s: float
    method: str
    path: str
    peer: str
    front_door: str
    status: int
    client_request_id: str = ""
    action: str = ""
    model: ModelRef | None = None
    model_name: str = ""
    model_digest: str = ""
    principal: Principal | None = None
    credential_reason: str = ""
    decision: Decision | None = None
    code: str = ""
    rows: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    queue_s: float = 0.0
    run_s: float = 0.0
    worker: str = ""
    trace_id: str = ""
    span_id: str = ""


class RefusalsEvent(msgspec.Struct, frozen=True):
    """Refusals of one address beyond its bucket, counted over an interval instead of written one by one."""

    at: float
    peer: str
    front_door: str
    count: int
    interval_s: float


class LifecycleEvent(msgspec.Struct, frozen=True):
    """The server, a model or a worker changed its state.

    Args:
        at: Unix seconds.
        activity: `start`, `stop`, `restart`, `update` or `failure`.
        subject: `server`, `model digits:1`, `worker digits:1/0#4`, `audit`, `gate`.
        sentence: what happened.
    """

    at: float
    activity: str
    subject: str
    sentence: str


class PolicyEvent(msgspec.Struct, frozen=True):
    """Another policy came into force, or was refused.

    Args:
        at: Unix seconds.
        version: of the policy that was in force before; empty at the server's start.
        new_version: of the one that is in force from now on; the same as before where it was refused.
        sentence: what happened, and why.
        principal: who asked for it; None where the file was changed.
        is_refused: whether the change was refused.
    """

    at: float
    version: str
    new_version: str
    sentence: str
    principal: Principal | None = None
    is_refused: bool = False


AuditEvent = RequestEvent | RefusalsEvent | LifecycleEvent | PolicyEvent
