"""The gate as a pure ASGI application: translates between ASGI and the gate's own messages, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any

from torchgate.contract.errors import Cancelled, InvalidRequest
from torchgate.gate.application import Application
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.http_message import Disconnect, HttpRequest, HttpResponse, RequestHeaders
from torchgate.gate.proofs import UNIX_PEER
from torchgate.gate.reign import Reign
from torchgate.gate.request_way import RequestWay
from torchgate.gate.routes import route_table
from torchgate.gate.services import Authenticates, Authorises, GateServices

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

DISCONNECT_EXTENSION = "torchgate.disconnect"
"""Scope extension by which our own server hands over a Disconnect; other servers are asked by a task."""

CERTIFICATE_EXTENSION = "torchgate.client_certificate"
"""Scope extension by which our own server hands over the certificate that TLS proved, DER."""

SURPLUS_EXTENSION = "torchgate.is_surplus"
"""Scope extension by which our own server says that the connection is beyond gate.max_connections."""

BODY_HERE_EXTENSION = "torchgate.body_is_here"
"""Scope extension by which our own server tells whether all of the body has arrived: () -> bool."""


WEBSOCKET_METHOD = "WEBSOCKET"
"""Of a request to open one, for records: no route has it."""


class GateApp:
    """The gate; serves alone, or mounted in another application.

    Its services are started and stopped by whoever made them: lifespan messages are answered and change nothing.
    """

    def __init__(self, services: GateServices) -> None:
        self._services = services
        self._way = RequestWay(services, route_table())

    def change_access(self, authentication: Authenticates, authorisation: Authorises) -> Reign:
        """Let each request from now on be examined by these; the reign of those before, which ends with its last."""
        self._services = replace(self._services, authentication=authentication, authorisation=authorisation)
        return self._way.change(self._services)

    @property
    def front_door(self) -> FrontDoor:
        """How requests reach us."""
        return self._services.front_door

    async def answer(self, request: HttpRequest, application: Application | None = None) -> HttpResponse:
        """The answer to a request, however it came, its record written.

        Args:
            application: answers the paths that are not ours.
        """
        return await self._way.answer(request, application)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(send, await self._way.answer(read_request(scope, receive)))


async def send_response(send: Send, response: HttpResponse, kind: str = "http.response") -> None:
    """Send a whole answer.

    Args:
        kind: of the messages; `websocket.http.response` refuses a WebSocket.
    """
    headers = response.headers
    headers.append((b"content-length", b"%d" % len(response.body)))
    if response.closes:
        headers.append((b"connection", b"close"))
    await send({"type": f"{kind}.start", "status": response.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": response.body})


def read_request(scope: Scope, receive: Receive) -> HttpRequest:
    """The head of a request, and ways to its body and its end."""
    headers = RequestHeaders(scope["headers"])
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
    root = (scope.get("root_path") or "").encode("utf-8")
    if root and raw_path.startswith(root) and raw_path[len(root) : len(root) + 1] in (b"", b"/"):
        raw_path = raw_path[len(root) :] or b"/"
    client = scope.get("client")
    has_body = b"content-length" in headers or b"transfer-encoding" in headers
    is_empty = not has_body or headers.first(b"content-length") == b"0"
    extensions = scope.get("extensions") or {}
    given: Disconnect | None = extensions.get(DISCONNECT_EXTENSION)
    disconnect = ReceivedDisconnect(receive) if given is None else given
    body = AsgiBody(receive, disconnect, extensions.get(BODY_HERE_EXTENSION), is_complete=is_empty)
    return HttpRequest(
        method=scope.get("method", WEBSOCKET_METHOD),
        raw_path=raw_path.partition(b"?")[0],
        headers=headers,
        peer=client[0] if client else UNIX_PEER,
        body=body,
        disconnect=disconnect,
        tls_certificate=extensions.get(CERTIFICATE_EXTENSION),
        is_surplus=SURPLUS_EXTENSION in extensions,
    )


class AsgiBody:
    """A body that comes by ASGI messages."""

    __slots__ = ("_disconnect", "_is_here", "_receive", "is_complete")

    def __init__(
        self, receive: Receive, disconnect: Disconnect, is_here: Callable[[], bool] | None, *, is_complete: bool
    ) -> None:
        self._receive = receive
        self._disconnect = disconnect
        self._is_here = is_here
        self.is_complete = is_complete

    @property
    def is_here(self) -> bool:
        """Whether all of it has arrived."""
        return self._is_here is not None and self._is_here()

    async def read(self) -> bytes:
        """Some of it.

        Raises:
            Cancelled: the client went away. InvalidRequest: what it sends is no HTTP any more.
        """
        message = {} if self._disconnect.is_framing_broken else await self._receive()
        if self._disconnect.is_framing_broken:
            raise InvalidRequest("The body is framed as HTTP/1.1 does not allow.")
        if message["type"] == "http.disconnect":
            raise Cancelled("The client went away before its body was read.")
        if not message.get("more_body", False):
            self.is_complete = True
        body: bytes = message.get("body", b"")
        return body


class ReceivedDisconnect:
    """Learns from the server's own messages that the client has gone; costs a task while it is watched."""

    is_framing_broken = False  # other servers tell of it as of a client that went

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self.gone = False

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call back when the client goes."""
        self._task = asyncio.get_running_loop().create_task(self._wait(on_gone))

    def unwatch(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _wait(self, on_gone: Callable[[], object]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        on_gone()


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
