"""The table of paths: every route, its action, and whether it is public. Nothing answers that is not here."""

from __future__ import annotations

import orjson

from torchgate.access.identity.protected_resource import WELL_KNOWN
from torchgate.contract.decision import Action
from torchgate.gate.cancellation import CANCEL_PATTERN, cancel
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse, json_response
from torchgate.gate.inference_way import infer
from torchgate.gate.model_answers import model_config, model_metadata, model_ready, model_statistics
from torchgate.gate.openapi import openapi_document
from torchgate.gate.policy_answers import policy_reload, policy_status
from torchgate.gate.quota_answers import all_quotas, own_quotas
from torchgate.gate.repository_changes import load, unload
from torchgate.gate.route import Handler, Route, RouteTable
from torchgate.gate.server_answers import (
    all_statistics,
    live,
    metrics,
    model_names,
    not_offered,
    ready,
    repository_index,
    resource_metadata,
    server_metadata,
    whoami,
)
from torchgate.gate.warm_up import WARM_UP_PATH, warm_up


def route_table() -> RouteTable:
    """All routes of the gate."""
    return RouteTable((*_server_routes(), *_model_routes(), *_repository_routes(), *_not_offered_routes()))


def _server_routes() -> tuple[Route, ...]:
    return (
        Route("GET", "/v2/health/live", None, live, "Whether the process answers."),
        Route(
            "GET", "/v2/health/ready", None, ready, "Whether every model is ready or failed, and audit can be written."
        ),
        Route("GET", WARM_UP_PATH, None, warm_up, "Waits until every model is ready or failed; this machine alone."),
        Route("GET", WELL_KNOWN, None, resource_metadata, "Identity providers of this server (RFC 9728), if told."),
        Route("GET", WELL_KNOWN + "/{rest}", None, resource_metadata, "The same, for an address with a path."),
        Route("GET", "/v2", Action.DESCRIBE, server_metadata, "Server metadata."),
        Route("GET", "/v2/models", Action.DESCRIBE, model_names, "Names of the models that the caller may read."),
        Route("GET", "/v2/models/stats", Action.DESCRIBE, all_statistics, "Statistics of all readable models."),
        Route("POST", "/v2/repository/index", Action.DESCRIBE, repository_index, "Readable versions and their states."),
        Route("POST", CANCEL_PATTERN, Action.CANCEL, cancel, "Take back the caller's own requests of this id."),
        Route("GET", "/v2/quotas", Action.IDENTIFY, own_quotas, "What the caller has used of its own quotas."),
        Route("GET", "/v2/quotas/all", Action.METRICS, all_quotas, "What everybody has used of theirs."),
        Route("GET", "/v2/policy", Action.ADMIN, policy_status, "Which policy is in force, and whether all is well."),
        Route("POST", "/v2/policy/reload", Action.ADMIN, policy_reload, "Put in force what the files say now."),
        Route("GET", "/metrics", Action.METRICS, metrics, "Metrics for Prometheus."),
        Route("GET", "/whoami", Action.IDENTIFY, whoami, "Who the caller is, as policy sees it."),
        Route("GET", "/openapi.json", Action.DESCRIBE, _openapi, "This description."),
    )


def _model_routes() -> tuple[Route, ...]:
    suffixes: tuple[tuple[str, str, Action, Handler, str], ...] = (
        ("GET", "", Action.READ, model_metadata, "Metadata of a model."),
        ("GET", "/ready", Action.READ, model_ready, "Whether a model can answer."),
        ("GET", "/config", Action.READ, model_config, "Configuration of a model."),
        ("GET", "/stats", Action.READ, model_statistics, "Statistics of a model."),
        ("POST", "/infer", Action.INFER, infer, "One inference."),
        ("POST", "/generate", Action.INFER, not_offered, "Not offered."),
        ("POST", "/generate_stream", Action.INFER, not_offered, "Not offered."),
    )
    places = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
    return tuple(
        Route(method, place + suffix, action, handler, summary)
        for place in places
        for method, suffix, action, handler, summary in suffixes
    )


def _repository_routes() -> tuple[Route, ...]:
    place = "/v2/repository/models/{model}"
    version = f"{place}/versions/{{version}}"
    return (
        Route("POST", f"{place}/load", Action.LOAD, load, "Serve what lies in the model's folder now."),
        Route("POST", f"{version}/load", Action.LOAD, load, "The same for one version."),
        Route("POST", f"{place}/unload", Action.UNLOAD, unload, "Serve the model no more."),
        Route("POST", f"{version}/unload", Action.UNLOAD, unload, "The same for one version."),
    )


def _not_offered_routes() -> tuple[Route, ...]:
    """Parts of the protocol that clients try; each says 501 to a caller who may ask at all."""
    both = ("GET", "POST")
    server_patterns = (
        "/v2/systemsharedmemory/{rest}",
        "/v2/cudasharedmemory/{rest}",
        "/v2/trace/setting",
        "/v2/logging",
    )
    return (
        *(
            Route(method, path, Action.DESCRIBE, not_offered, "Not offered.")
            for path in server_patterns
            for method in both
        ),
        *(
            Route(method, "/v2/models/{model}/trace/setting", Action.READ, not_offered, "Not offered.")
            for method in both
        ),
    )


async def _openapi(exchange: Exchange) -> HttpResponse:
    """The table as an OpenAPI document."""
    return json_response(200, orjson.dumps(openapi_document(route_table().routes, exchange.services.server_version)))
