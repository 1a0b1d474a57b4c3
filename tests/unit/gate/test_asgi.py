"""The gate inside another application: other servers' messages, a path below a root, lifespan, no WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from tests.rigs.gate_rig import DOUBLE, ONE_ROW, gate_rig

from torchgate.gate.asgi import GateApp


class Caller:
    """A server's end: hands over messages, keeps what is sent; `hold` lets the last message wait."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = list(messages)
        self.sent: list[MutableMapping[str, Any]] = []
        self.more: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive(self) -> dict[str, Any]:
        return self._messages.pop(0) if self._messages else await self.more.get()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)


def scope(path: str, **changes: Any) -> dict[str, Any]:
    """As the specification has it, with nothing optional."""
    headers = [(b"Host", b"localhost"), (b"x-api-key", b"alice-key"), (b"content-length", b"%d" % len(ONE_ROW))]
    return {"type": "http", "method": "POST", "path": path, "headers": headers, **changes}


async def test_it_answers_below_the_path_where_it_is_mounted() -> None:
    """The whole path comes with the root in it."""
    caller = Caller(
        {"type": "http.request", "body": ONE_ROW[:9], "more_body": True}, {"type": "http.request", "body": ONE_ROW[9:]}
    )
    rig = gate_rig()
    await GateApp(rig.services())(scope("/models" + DOUBLE, root_path="/models"), caller.receive, caller.send)
    assert [message["type"] for message in caller.sent] == ["http.response.start", "http.response.body"]
    assert caller.sent[0]["status"] == 200
    assert rig.audit.events[0].path == DOUBLE


async def test_a_server_that_tells_by_message_that_the_client_went_is_heard() -> None:
    """The run is taken back and recorded as 499."""
    caller = Caller({"type": "http.request", "body": ONE_ROW})
    rig = gate_rig()
    call = asyncio.create_task(
        GateApp(rig.services())(scope("/v2/models/hangs/infer"), caller.receive, caller.send)  # type: ignore[arg-type]
    )
    await rig.engine.has_begun.wait()
    caller.more.put_nowait({"type": "http.disconnect"})
    await call
    assert [event.status for event in rig.audit.events] == [499]
    assert rig.engine.open_permits == 0


async def test_a_cancel_from_outside_is_not_swallowed() -> None:
    """A time limit of the surrounding application ends the request and gives its room back."""
    caller = Caller({"type": "http.request", "body": ONE_ROW})
    rig = gate_rig()
    call = asyncio.create_task(
        GateApp(rig.services())(scope("/v2/models/hangs/infer"), caller.receive, caller.send)  # type: ignore[arg-type]
    )
    await rig.engine.has_begun.wait()
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert (rig.engine.open_permits, caller.sent) == (0, [])


async def test_lifespan_is_answered_and_web_sockets_are_closed() -> None:
    """Its services belong to whoever made them."""
    application = GateApp(gate_rig().services())
    caller = Caller({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    await application({"type": "lifespan"}, caller.receive, caller.send)
    assert [message["type"] for message in caller.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    caller = Caller({"type": "websocket.connect"})
    await application({"type": "websocket", "path": "/v2"}, caller.receive, caller.send)
    assert caller.sent == [{"type": "websocket.close", "code": 1008}]
