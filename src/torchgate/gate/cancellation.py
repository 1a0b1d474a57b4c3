"""Taking requests back by the client's own id, for those whose front door hides that they hung up."""

from __future__ import annotations

import re

import orjson

from torchgate.contract.errors import CredentialProblem, InvalidRequest
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse, json_response

CANCEL_PATTERN = "/v2/requests/{request}/cancel"
MAX_ID_CHARACTERS = 128
"""Of an id by which a request can be taken back; a longer one is as good as none."""

_BEFORE, _AFTER = CANCEL_PATTERN.split("{request}")
_HEADER_ID = re.compile(rb"[\x21-\x7e]{1,%d}" % MAX_ID_CHARACTERS)


def client_ids(header: bytes | None, body_id: str | None) -> tuple[str, ...]:
    """By what a request can be taken back: its X-Request-ID and its V2 `id`, whole or not at all.

    An id that was cut could be another request's.
    """
    called = header.decode("ascii") if header is not None and _HEADER_ID.fullmatch(header) else ""
    if not body_id or body_id == called or len(body_id) > MAX_ID_CHARACTERS:
        return (called,) if called else ()
    return (called, body_id) if called else (body_id,)


async def cancel(exchange: Exchange) -> HttpResponse:
    """Take back the caller's own requests of this id; that there are none is no failure, and tells of nobody else.

    Raises:
        InvalidRequest: no request can have this id.
    """
    client_id = exchange.path.removeprefix(_BEFORE).removesuffix(_AFTER)
    if len(client_id) > MAX_ID_CHARACTERS:
        raise InvalidRequest(
            f"The id has {len(client_id)} characters; requests can be cancelled by ids of up to {MAX_ID_CHARACTERS}."
        )
    if exchange.principal is None:
        raise CredentialProblem("Nobody was authenticated.")
    services, key = exchange.services, exchange.principal.key
    # In one turn: what is taken back here never comes to the engine, and what has left here is in the engine.
    cancelled = services.under_way.cancel(key, client_id)
    cancelled += await services.engine.cancel(key, client_id)
    return json_response(200, orjson.dumps({"cancelled": cancelled}))
