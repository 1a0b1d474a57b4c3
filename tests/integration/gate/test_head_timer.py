"""The timer of a request's headers ends with the headers, however the rest of the request arrives."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.rigs.http_connection import Answer, HttpConnection

from torchgate.gate.http_server import HttpServer
from torchgate.gate.settings import GateSettings

HEAD_TIMEOUT_S = 0.2


class SlowApplication:
    """Answers after a multiple of the head's timeout: what is tested is a timer."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Read the body, take long, answer."""
        await receive()
        await asyncio.sleep(3 * HEAD_TIMEOUT_S)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


async def asked(port: int) -> Answer:
    """On a new connection."""
    connection = HttpConnection(port)
    try:
        return await connection.request("POST", "/", body=b"{}")
    finally:
        await connection.close()


async def test_a_request_in_one_segment_may_run_longer_than_its_head_may_arrive() -> None:
    """Head and body in one segment: the connection was cut after head_timeout_s, and the caller got a reset."""
    settings = GateSettings(bind="127.0.0.1:0", head_timeout_s=HEAD_TIMEOUT_S)
    server = HttpServer(SlowApplication(), settings)  # type: ignore[arg-type]
    await server.start()
    try:
        while (answer := await asked(server.port)).status == 408:
            continue  # on a slow machine the head itself comes too late
    finally:
        await server.stop()
    assert (answer.status, answer.body) == (200, b"ok")
