"""What is left of a refused request's body, and how long and how late a request may be."""

from __future__ import annotations

import asyncio
import re

from torchgate.contract.errors import Cancelled, InvalidRequest
from torchgate.gate.http_message import HttpRequest

DRAIN_TIMEOUT_S = 2.0
"""How long a refusal waits for the body that it throws away: a front door on this machine sends a megabyte in less."""

_MILLISECONDS = re.compile(rb"[1-9][0-9]{0,11}")


async def drain_refused(request: HttpRequest, max_bytes: int) -> bool:
    """Read and forget the rest of a body, so that the refusal is not lost in a reset connection.

    Returns:
        Whether the connection can be used again: the body was read to its end.
    """
    if request.body.is_complete:
        return True
    if request.headers.first(b"expect") is not None:
        return False  # the client waits for our leave to send; without it nothing is to be drained
    if request.variables is not None and not request.body.is_here:
        return False  # a gateway's server drains by itself, and its thread would be held by whoever sends nothing
    drained = 0
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while not request.body.is_complete and drained < max_bytes:
                drained += len(await request.body.read())
    except (TimeoutError, Cancelled, InvalidRequest):
        return False
    return request.body.is_complete


def header_timeout_s(value: bytes | None) -> float | None:
    """The span in X-Request-Timeout-Ms, in seconds, or None.

    Raises:
        InvalidRequest: it is no such number.
    """
    if value is None:
        return None
    if not _MILLISECONDS.fullmatch(value):
        raise InvalidRequest("X-Request-Timeout-Ms must be a whole number of milliseconds, from 1 to 999999999999.")
    return int(value) / 1000


def deadline_at(arrived_at: float, wished_s: float | None, default_s: float, *caps_s: float) -> float:
    """The point in time after which nobody waits for the answer.

    Args:
        arrived_at: on the monotonic clock.
        wished_s: by the client, or None: the default.
        caps_s: of the server, the model.
    """
    return arrived_at + min(default_s if wished_s is None else wished_s, *caps_s)
