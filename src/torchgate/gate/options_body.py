"""Bodies that hold options, not tensors: small, and one JSON object or nothing."""

from __future__ import annotations

from typing import Any

import orjson

from torchgate.contract.errors import InvalidRequest
from torchgate.gate.body_stream import BodyStream, announced_length
from torchgate.gate.exchange import Exchange

MAX_SMALL_BODY_BYTES = 64 * 1024
"""Of such a body."""


async def read_options(exchange: Exchange, example: str) -> dict[str, Any]:
    """The object in the body; empty where there is none.

    Args:
        example: of a right body, for the refusal of a wrong one.

    Raises:
        InvalidRequest: it holds something else. And what reading a body raises.
    """
    headers, settings = exchange.request.headers, exchange.services.settings
    limit = min(MAX_SMALL_BODY_BYTES, settings.max_body_bytes)
    announced_length(headers, limit)
    stream = BodyStream(
        exchange.request.body,
        headers.single(b"content-encoding"),
        max_body_bytes=limit,
        max_inflated_bytes=limit,
        max_json_bytes=limit,
    )
    text = await stream.read_all()
    exchange.request_bytes = stream.received_bytes
    if not text:
        return {}
    try:
        options = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidRequest(f"The body can't be read as JSON; it may be empty or {example}.") from None
    if not isinstance(options, dict):
        raise InvalidRequest(f"The body must be an object like {example}.")
    return options
