"""Answers about the server itself, and lists of models: only those that the caller may read."""

from __future__ import annotations

import orjson

from torchgate.contract.errors import InvalidRequest, UnknownPath, Unsupported
from torchgate.contract.inference import ModelDescription
from torchgate.contract.worker_limits import Enforcement
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse, json_response
from torchgate.gate.model_answers import statistics_entry
from torchgate.gate.options_body import read_options

EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "statistics",
)
"""Extensions of the protocol that are really here."""

INDEX_STATES = {
    "ready": "READY",
    "loading": "LOADING",
    "failed": "UNAVAILABLE",
    "unloading": "UNLOADING",
    "unloaded": "UNAVAILABLE",
}

READY_EXAMPLE = '{"ready": true}'


async def live(exchange: Exchange) -> HttpResponse:
    """The process answers."""
    return json_response(200, b'{"live":true}')


async def ready(exchange: Exchange) -> HttpResponse:
    """The installation is what it should be, warm-up is over, and answers can be recorded."""
    engine = exchange.services.engine
    if engine.not_ready_reason:
        reason = engine.not_ready_reason
    elif not engine.is_warm:
        reason = "models are still loading"
    elif not exchange.services.audit.is_available:
        reason = "the audit trail can't be written"
    else:
        return json_response(200, b'{"ready":true}')
    return json_response(503, orjson.dumps({"ready": False, "error": f"Not ready: {reason}."}), "unavailable")


async def resource_metadata(exchange: Exchange) -> HttpResponse:
    """Where clients get tokens for this server, from its settings alone; like no such path where those say nothing."""
    document = exchange.services.resource_metadata
    if document is None:
        raise UnknownPath("Not Found: this server has no such path. See /openapi.json.")
    return json_response(200, document)


async def server_metadata(exchange: Exchange) -> HttpResponse:
    """Name, version, extensions."""
    metadata = {"name": "torchgate", "version": exchange.services.server_version, "extensions": EXTENSIONS}
    return json_response(200, orjson.dumps(metadata))


async def whoami(exchange: Exchange) -> HttpResponse:
    """Who the caller is to us: what policy sees, never the credential."""
    principal = exchange.principal
    if principal is None:
        return json_response(200, b"{}")
    return json_response(
        200,
        orjson.dumps(
            {
                "key": principal.key,
                "name": principal.name,
                "method": principal.method,
                "issuer": principal.issuer,
                "roles": sorted(principal.roles),
                "expires_at": principal.expires_at,
            }
        ),
    )


async def metrics(exchange: Exchange) -> HttpResponse:
    """Prometheus exposition."""
    body, content_type = await exchange.services.render_metrics()
    return HttpResponse(200, body, [(b"content-type", content_type.encode("latin-1"))])


async def model_names(exchange: Exchange) -> HttpResponse:
    """KServe's list of model names."""
    names = dict.fromkeys(description.ref.name for description in await _readable(exchange))
    return json_response(200, orjson.dumps({"models": list(names)}))


async def repository_index(exchange: Exchange) -> HttpResponse:
    """All versions and their states; with `{"ready": true}` the ready ones alone."""
    wants_ready = await _wants_ready(exchange)
    index = [
        {
            "name": description.ref.name,
            "version": description.ref.version,
            "state": INDEX_STATES[description.state],
            "reason": description.reason,
            # Beyond the protocol, and only where there is something to say.
            **({"default": True} if description.is_default else {}),
            **({"open_circuits": description.open_circuits} if description.open_circuits else {}),
            **({"limits": [_limit(one) for one in description.limits]} if description.limits else {}),
        }
        for description in await _readable(exchange)
        if description.state == "ready" or not wants_ready
    ]
    return json_response(200, orjson.dumps(index))


def _limit(held: Enforcement) -> dict[str, object]:
    return {"limit": held.limit, "value": held.value, "enforced_by": held.by or None, "note": held.note}


async def all_statistics(exchange: Exchange) -> HttpResponse:
    """Statistics of every version that the caller may read."""
    engine = exchange.services.engine
    entries = [
        statistics_entry(description.ref, found)
        for description in await _readable(exchange)
        if (found := await engine.statistics(description.ref)) is not None
    ]
    return json_response(200, orjson.dumps({"model_stats": entries}))


async def not_offered(exchange: Exchange) -> HttpResponse:
    """A part of the protocol that this server does not have."""
    raise Unsupported("This part of the protocol is not offered here; see the extensions in /v2.")


async def _readable(exchange: Exchange) -> list[ModelDescription]:
    """The versions that the caller may read; a list tells nothing of the others."""
    return [description for description in exchange.services.engine.models() if await exchange.may_read(description)]


async def _wants_ready(exchange: Exchange) -> bool:
    options = await read_options(exchange, READY_EXAMPLE)
    wants_ready = options.get("ready", False)
    if not isinstance(wants_ready, bool):
        raise InvalidRequest(f"The body must be an object like {READY_EXAMPLE}.")
    return wants_ready
