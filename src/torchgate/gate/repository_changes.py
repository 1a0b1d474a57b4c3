"""Loading and unloading models, as V2's repository extension asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec

from torchgate.contract.decision import Action, Resource
from torchgate.contract.errors import DeadlineExceeded, Forbidden, InvalidRequest, LoadFailed, Unsupported
from torchgate.contract.inference import ModelChange
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse, json_response
from torchgate.gate.limits import header_timeout_s
from torchgate.gate.options_body import read_options

LOAD_EXAMPLE = '{"parameters": {"force": true}}'
UNLOAD_EXAMPLE = '{"parameters": {"unload_dependents": false}}'


async def load(exchange: Exchange) -> HttpResponse:
    """Serve what lies in the model's folder now; answers when it does.

    Raises:
        UnknownModel, Conflict, LoadFailed: as contract.inference.Engine.load says.
        Unsupported: the caller wants to bring settings or files of its own. InvalidRequest: other wishes.
        DeadlineExceeded: it takes longer than the caller waits; it goes on.
    """
    parameters = await _parameters(exchange, LOAD_EXAMPLE)
    for name in parameters:
        if name == "config" or name.startswith("file:"):
            raise Unsupported(
                f"A load can't bring {name[:64]!r}: a model's settings and files come from its folder alone."
            )
    force = _flag(parameters, "force", LOAD_EXAMPLE)
    try:
        by = _by(exchange)
        change = await _wait(
            exchange, exchange.services.engine.load(exchange.model_name, exchange.version, by=by, force=force)
        )
    except LoadFailed as failure:
        raise await _with_reason(exchange, failure) from None
    finally:
        exchange.look_up()  # the record says what serves now
    return json_response(200, msgspec.json.encode(change))


async def unload(exchange: Exchange) -> HttpResponse:
    """Serve a model or a version no more; answers when its memory is free.

    Raises:
        UnknownModel, Conflict: as contract.inference.Engine.unload says.
        InvalidRequest: other wishes than that there is nothing to unload with it.
        DeadlineExceeded: as `load`.
    """
    parameters = await _parameters(exchange, UNLOAD_EXAMPLE)
    _flag(parameters, "unload_dependents", UNLOAD_EXAMPLE)  # nothing here depends on another model
    by = _by(exchange)
    change = await _wait(exchange, exchange.services.engine.unload(exchange.model_name, exchange.version, by=by))
    return json_response(200, msgspec.json.encode(change))


async def _parameters(exchange: Exchange, example: str) -> Mapping[str, Any]:
    options = await read_options(exchange, example)
    parameters = options.get("parameters", {})
    if not isinstance(parameters, dict) or options.keys() - {"parameters"}:
        raise InvalidRequest(f"The body must be an object like {example}.")
    return parameters


def _flag(parameters: Mapping[str, Any], wanted: str, example: str) -> bool:
    """The only parameter that there may be.

    Raises:
        InvalidRequest: it is no bool, or there are others.
    """
    for name in parameters:
        if name != wanted:
            raise InvalidRequest(f"There is no parameter {name[:64]!r} here. The body may be empty or {example}.")
    value = parameters.get(wanted, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"Parameter {wanted!r} must be true or false.")
    return value


def _by(exchange: Exchange) -> str:
    if exchange.principal is None:
        raise Forbidden("This principal may not do this here.", detail="nobody was authenticated")
    return exchange.principal.key


async def _wait(exchange: Exchange, change: Awaitable[ModelChange]) -> ModelChange:
    settings = exchange.services.settings
    wished_s = header_timeout_s(exchange.request.headers.single(b"x-request-timeout-ms"))
    limit_s = settings.max_timeout_s if wished_s is None else min(wished_s, settings.max_timeout_s)
    try:
        async with asyncio.timeout(limit_s):
            return await change
    except TimeoutError:
        raise DeadlineExceeded(
            f"The request timeout of {limit_s:g} s passed. The change goes on; /v2/repository/index shows its end."
        ) from None


async def _with_reason(exchange: Exchange, failure: LoadFailed) -> LoadFailed:
    """The failure, with its reason for those who may read the model's state anyway."""
    services, principal = exchange.services, exchange.principal
    exchange.look_up()
    resource = (
        Resource(model=exchange.ref, is_every_version=exchange.version is None)
        if exchange.ref is not None
        else Resource(name=exchange.model_name, version=exchange.version or "")
    )
    if principal is None or not (await services.authorisation.authorise(principal, Action.READ, resource)).allowed:
        return failure
    return LoadFailed(f"{failure.sentence} {failure.detail}", detail=failure.detail)
