"""An ASGI application of the user's own with the gate around it: nothing of it runs before the door is passed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torchgate.contract.errors import Cancelled, InvalidRequest, Unsupported
from torchgate.gate.application import Way
from torchgate.gate.asgi import (
    WEBSOCKET_METHOD,
    AsgiApplication,
    GateApp,
    Message,
    Receive,
    Scope,
    Send,
    read_request,
    send_response,
)
from torchgate.gate.caller import Caller, enter_request, leave_request
from torchgate.gate.exchange import Exchange
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.http_message import HttpRequest, HttpResponse, json_response
from torchgate.gate.mounted_client import MountedClient
from torchgate.gate.mounted_lifespan import live
from torchgate.gate.problems import problem_body
from torchgate.gate.proofs import PAIRING_HEADER, UNIX_PEER
from torchgate.gate.public_paths import PublicPaths

SCOPE_KEY = "torchgate"
"""Where the inner application's scope has the Caller; absent on public paths."""

_VISIT_KEY = "torchgate.visit"
_visit: ContextVar[Visit | None] = ContextVar("torchgate_visit", default=None)

FORWARDED_PEER = "forwarded"
UNKNOWN_PEER = "unknown"
"""Peers that are no address: one that a server took from a header that anybody can write, and one that it lost."""

CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"dpop"})
_NOT_STARTED = (
    "Torchgate was not started: the server sends this application no lifespan events. Under uvicorn, leave --lifespan "
    "as it is. Where the application is mounted in another one, use `async with gate.started():` in the lifespan of "
    "the outer one."
)

_log = logging.getLogger("torchgate.mounted")


@dataclass(frozen=True)
class OpenGate:
    """A gate that is started.

    Args:
        app: answers what is ours, and examines everything.
        secret_headers: that prove the front door, in lower case: nobody behind it needs them.
        has_own_server: requests come from our own server, which tells the truth about its peers.
        state: of the application's lifespan, where our own server knows of none.
    """

    app: GateApp
    secret_headers: frozenset[bytes] = frozenset()
    has_own_server: bool = False
    state: Mapping[str, Any] | None = None


class Guard:
    """An ASGI application: the gate, and behind it the user's.

    Args:
        application: the user's, any ASGI 3 application.
        opened: the gate, or None while it is not started.
        started: starts it for a block.
        public: paths of the user's application that need no credential.
        passes_credentials: whether the user's application sees the credentials that its callers sent.
    """

    def __init__(
        self,
        application: AsgiApplication,
        opened: Callable[[], OpenGate | None],
        started: Callable[[], AbstractAsyncContextManager[object]],
        public: PublicPaths,
        *,
        passes_credentials: bool = False,
    ) -> None:
        self._application = application
        self._opened = opened
        self._started = started
        self._public = public
        self._passes_credentials = passes_credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await live(self._application, self._started, scope, receive, send)
        elif kind in ("http", "websocket"):
            visit = _visit.get()
            if visit is not None and visit.has_examined(scope, self._opened()):
                await self._application(scope, receive, send)  # the same gate stands further out, too
            else:
                await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        gate = self._opened()
        refusal_kind = _refusal_kind(scope)
        if gate is None:
            _log.error(_NOT_STARTED)
            body = problem_body("This server is not started.", "unavailable", "")
            await _send(send, json_response(503, body, "unavailable"), refusal_kind)
            return
        request = read_request(scope, receive)
        if not gate.has_own_server:
            request.peer = _believable_peer(scope, request, gate.app.front_door)
        visit = Visit(self._application, _Asgi(scope, receive, send), request.raw_path, gate, self._public)
        if self._passes_credentials:
            visit.hidden_headers = gate.secret_headers
        response = await gate.app.answer(request, visit)
        if visit.failure is not None:
            raise visit.failure  # in the middle of its answer: the server cuts the connection
        if not response.has_left:
            await _send(send, response, refusal_kind)


@dataclass(frozen=True, slots=True)
class _Asgi:
    """One connection."""

    scope: Scope
    receive: Receive
    send: Send


class Visit:
    """Implements gate.application.Application for one ASGI request.

    Args:
        application: the user's.
        connection: of the request.
        raw_path: below the place where the server has mounted us.
        gate: that let it in.
        public: paths that need no credential.
    """

    def __init__(
        self, application: AsgiApplication, connection: _Asgi, raw_path: bytes, gate: OpenGate, public: PublicPaths
    ) -> None:
        self._application = application
        self._connection = connection
        self._raw_path = raw_path
        self.gate = gate
        self._public = public
        self._answer: _Answer | None = None
        self.hidden_headers = gate.secret_headers | CREDENTIAL_HEADERS
        self.failure: Exception | None = None

    def has_examined(self, scope: Scope, gate: OpenGate | None) -> bool:
        """Whether this is the request that it lets through just now, by this gate."""
        return scope.get(_VISIT_KEY) is self and gate is self.gate

    def is_public(self, path: str) -> bool:
        """As its author has named it."""
        return path in self._public

    async def answer(self, exchange: Exchange, way: Way) -> HttpResponse:
        """What the application sends, once its record is written.

        Raises:
            Exception: what the application raises before it has answered.
            Unsupported: a WebSocket. InvalidRequest: two readers would see two paths.
        """
        if exchange.request.method == WEBSOCKET_METHOD:
            raise Unsupported("WebSockets are not supported here; send HTTP requests.")
        principal = exchange.principal
        client = MountedClient(exchange, self._connection.receive)
        caller = None if principal is None else Caller(exchange, principal, way, client.watch)
        scope = self._inner_scope(exchange, caller)
        answer = self._answer = _Answer(exchange, way, self._connection.send, client)
        entered = _visit.set(self)
        tokens = enter_request(caller, asyncio.get_running_loop())
        try:
            await self._application(scope, client.receive, answer.send)
        except Exception as failure:
            if not answer.has_left:
                raise
            if isinstance(failure, Cancelled) and client.gone:
                return await answer.finished()  # nobody is there to be told, and nothing has failed
            _log.exception("Request %s failed in the middle of its answer.", exchange.request_id)
            self.failure = failure
        finally:
            leave_request(tokens)
            _visit.reset(entered)
            if caller is not None:
                caller.end()
            client.end()
        return await answer.finished()

    def _inner_scope(self, exchange: Exchange, caller: Caller | None) -> Scope:
        """What the application sees: below where we are mounted, without what proves the front door."""
        outer = self._connection.scope
        outer_root = outer.get("root_path") or ""
        below = _stripped(self._raw_path, exchange.request.raw_path)
        root, path = outer_root + below, outer_root + below + exchange.path
        if outer["path"] not in (path, below + exchange.path, path.removesuffix("/")):
            raise InvalidRequest("The path can be read in two ways.")
        hidden = self.hidden_headers if caller is not None else self.gate.secret_headers
        given = outer.get("extensions") or {}
        peer, client = exchange.request.peer, outer.get("client")
        scope: Scope = {
            **outer,
            "root_path": root,
            "path": path,
            "headers": [(name, value) for name, value in outer["headers"] if name.lower() not in hidden],
            "client": client if client is None or client[0] == peer else (peer, 0),
            _VISIT_KEY: self,
            "extensions": {"tls": given["tls"]} if "tls" in given else {},
        }
        scope.pop(SCOPE_KEY, None)
        if self.gate.state is not None:
            scope["state"] = dict(self.gate.state)
        if caller is not None:
            scope[SCOPE_KEY] = caller
        return scope


class _Answer:
    """The application's answer, held back until its record is written.

    A whole answer of 500 and above is held until the application returns: frameworks send one before they raise, and
    in debugging it shows their insides.
    """

    def __init__(self, exchange: Exchange, way: Way, send: Send, client: MountedClient) -> None:
        self._exchange = exchange
        self._way = way
        self._to_client = send
        self._client = client
        self._start: Message | None = None
        self._held: Message | None = None
        self._left: HttpResponse | None = None
        self._is_replaced = False

    @property
    def has_left(self) -> bool:
        """Whether some of it is on its way."""
        return self._left is not None

    async def send(self, message: Message) -> None:
        """ASGI's send, as the application has it."""
        if self._left is not None:
            if not self._is_replaced:
                await self._send(message)
        elif message["type"] == "http.response.start":
            self._start = message
        elif self._start is None:
            raise RuntimeError(f"the application sent {message['type']} before http.response.start")
        elif self._start["status"] >= 500 and not message.get("more_body", False):
            self._held = message
        else:
            await self._leave(self._start, message)

    async def finished(self) -> HttpResponse:
        """What has left, after the application has returned.

        Raises:
            RuntimeError: it sent nothing.
        """
        if self._left is None and self._start is not None and self._held is not None:
            await self._leave(self._start, self._held)
        if self._left is None:
            raise RuntimeError("the application returned without an answer")
        return self._left

    async def _leave(self, start: Message, message: Message) -> None:
        headers = [(name, value) for name, value in start.get("headers", ()) if name.lower() != b"x-request-id"]
        own = HttpResponse(start["status"], message.get("body", b""), headers)
        settled = await self._way.settle(self._exchange, own)
        self._left = settled
        settled.has_left = True
        if settled is not own:
            self._is_replaced = True
            await send_response(self._send, settled)
            return
        await self._send({**start, "headers": settled.headers})
        await self._send(message)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._client.answered()
        await self._to_client(message)


def secret_headers(front_door: FrontDoor, proxy_secret: str) -> frozenset[bytes]:
    """Headers that prove the front door, or name a handle that is closed by now.

    Args:
        proxy_secret: the header that proves a proxy.
    """
    names = {PAIRING_HEADER, front_door.declaration.token_header, proxy_secret.lower().encode("ascii")}
    return frozenset(names - {b""})


def _believable_peer(scope: Scope, request: HttpRequest, front_door: FrontDoor) -> str:
    """The peer as another's server tells it: servers take X-Forwarded-For for the client's address, by default some.

    Behind a proven front door we read that header ourselves, once the proof has held.
    """
    if request.peer == UNIX_PEER:
        server = scope.get("server")
        return UNKNOWN_PEER if server is not None and server[1] is not None else UNIX_PEER
    if not front_door.declaration.is_proven and b"x-forwarded-for" in request.headers:
        return FORWARDED_PEER
    return request.peer


def _refusal_kind(scope: Scope) -> str:
    """The kind of messages that refuse this connection; empty: none but a close."""
    if scope["type"] == "http":
        return "http.response"
    extensions = scope.get("extensions") or {}
    return "websocket.http.response" if "websocket.http.response" in extensions else ""


async def _send(send: Send, response: HttpResponse, kind: str) -> None:
    if kind:
        await send_response(send, response, kind)
    else:
        await send({"type": "websocket.close", "code": 1008})


def _stripped(before: bytes, after: bytes) -> str:
    """What the front door has taken off the beginning of a path."""
    base = before if after == b"/" and not before.endswith(b"/") else before.removesuffix(after)
    return base.decode("latin-1")
