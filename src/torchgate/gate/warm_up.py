"""The path that IIS's Application Initialization asks: it waits until every model is ready or failed.

IIS takes any answer for "warm" and sends nobody here before it came, so that waiting is all that this does.
Anonymous, and for this machine alone: IIS has no credential of its own to send. Source: iis.md 5.
"""

from __future__ import annotations

import asyncio

from torchgate.contract.errors import UnknownPath
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse

WARM_UP_PATH = "/warm-up"
_LOOK_S = 0.05  # engines behind a pipe have no event to wait for; few ask, and once in a process's life


async def warm_up(exchange: Exchange) -> HttpResponse:
    """Nothing but the end of the wait: 200 when warm, 503 when the longest deadline passed before.

    Raises:
        UnknownPath: who asks is not on this machine.
    """
    if not exchange.services.front_door.client_is_here(exchange.request):
        raise UnknownPath("Not Found: this server has no such path. See /openapi.json.")
    services, gone = exchange.services, exchange.request.disconnect
    until = exchange.arrived_at + services.settings.max_timeout_s
    while not services.engine.is_warm:
        if gone.gone or services.clock() >= until:
            return HttpResponse(503, b"", [(b"retry-after", b"5")], "unavailable")
        await asyncio.sleep(_LOOK_S)
    return HttpResponse(200, b"", [])
