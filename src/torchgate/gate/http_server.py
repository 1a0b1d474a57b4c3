"""The gate's own HTTP server: uvicorn's connection handling with our protocol, our socket and our stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from pathlib import Path
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import Server

from torchgate.gate.asgi import AsgiApplication
from torchgate.gate.http_protocol import ConnectionLimits, GateProtocol
from torchgate.gate.settings import UNIX_PREFIX, GateSettings, carries_tokens, host_and_port, is_unix
from torchgate.gate.tcp_socket import bound_tcp_socket
from torchgate.gate.tls_listener import HandshakeLimits, TlsListener
from torchgate.gate.tls_settings import TlsSettings
from torchgate.gate.unix_socket import bound_unix_socket, remove_unix_socket, unix_socket_mistake

DATE_INTERVAL_S = 1.0
"""The Date header has whole seconds (RFC 9110, section 6.6.1)."""

STOP_GRACE_S = 1.0
"""For cancelled requests to give back what they hold, after the drain."""

TLS_GOODBYE_S = 2.0
"""At a stop, for idle clients to answer the end of TLS. Most keep idle connections without reading them."""

_log = logging.getLogger("torchgate.gate")


class HttpServer:
    """Listens, and hands connections to an ASGI application; takes no signals and writes no access log.

    Args:
        application: usually a GateApp; gets no lifespan events.
        settings: limits and the address.
        bind: other than the settings' one.
        tls: context of our own TLS; None: plain HTTP.
        listening: a socket that listens there already; None: one is made.
    """

    def __init__(
        self,
        application: AsgiApplication,
        settings: GateSettings,
        *,
        bind: str | None = None,
        tls: ssl.SSLContext | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        self._tls = tls
        self._listening = listening
        self._settings = settings
        self._bind = settings.bind if bind is None else bind
        self._socket: socket.socket | None = None
        self._tls_listener: TlsListener | None = None
        self._date_timer: asyncio.TimerHandle | None = None
        self._none_open = asyncio.Event()
        self._stopping = asyncio.Event()
        limits = ConnectionLimits(
            max_header_bytes=settings.max_header_bytes,
            max_connections=settings.max_connections,
            head_timeout_s=settings.head_timeout_s,
            is_behind_iis=carries_tokens(settings),
        )
        bound = {"limits": limits, "none_open": self._none_open, "stopping": self._stopping}
        protocol = type("BoundGateProtocol", (GateProtocol,), bound)
        self._config = Config(
            application,
            http=protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=settings.backlog,
            # uvicorn wants whole seconds in its type; its timer takes any.
            timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]
        )
        self._server = Server(self._config)

    @property
    def port(self) -> int:
        """The port that is bound; 0 for a unix socket."""
        if self._socket is None:
            raise RuntimeError("the server is not started")
        if is_unix(self._bind):
            return 0
        port: int = self._socket.getsockname()[1]
        return port

    async def start(self) -> None:
        """Bind and accept; returns when connections are answered.

        Raises:
            OSError: the address can't be bound. ValueError: it is none.
        """
        self._socket = self._listening or bound_socket(self._bind, int(self._settings.socket_mode, 8))
        try:
            self._config.load()
            self._server.lifespan = self._config.lifespan_class(self._config)
            self._refresh_date()
            await self._listen(self._socket)
        except BaseException:
            self._cancel_date()
            self._socket.close()
            raise

    async def stop(self, drain_s: float | None = None) -> None:
        """Accept no more, let running requests finish, then cut what is left. Safe to call twice."""
        if self._socket is None:
            return
        self._stopping.set()
        state = self._server.server_state
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + (self._settings.drain_s if drain_s is None else drain_s)
        if is_unix(self._bind):
            remove_unix_socket(Path(self._bind.removeprefix(UNIX_PREFIX)), self._socket)
        await self._stop_listening()
        self._socket.close()
        for connection in list(state.connections):
            connection.shutdown()
        idle = [] if self._tls is None else [one for one in state.connections if one.transport.is_closing()]
        goodbye = loop.call_later(TLS_GOODBYE_S, self._cut, idle)
        running = set(state.tasks)
        if running:
            await asyncio.wait(running, timeout=max(0.0, ends_at - loop.time()))
        self._none_open.clear()
        if state.connections:
            # Their last answers are on the way: closing sends what is buffered, aborting would throw it away.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_open.wait(), max(0.0, ends_at - loop.time()))
        goodbye.cancel()
        self._cut(list(state.connections))
        left = [task for task in state.tasks if not task.done()]
        if left:
            _log.warning("%d running requests were cut by the stop.", len(left))
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=STOP_GRACE_S)
        self._cancel_date()

    def _cut(self, connections: Iterable[Any]) -> None:
        """End these at once, as far as they are still there."""
        for connection in self._server.server_state.connections.intersection(connections):
            with contextlib.suppress(AttributeError):  # a connection that has no transport yet
                connection.transport.abort()

    async def _stop_listening(self) -> None:
        for listener in self._server.servers:
            listener.close()
        if self._tls_listener is not None:
            await self._tls_listener.stop()

    async def _listen(self, bound: socket.socket) -> None:
        """As uvicorn's own startup does; with TLS, and on Windows, by a listener of ours: see there."""
        loop, server = asyncio.get_running_loop(), self._server
        make = cast("Callable[..., asyncio.Protocol]", self._config.http_protocol_class)

        def connection() -> asyncio.Protocol:
            return make(config=self._config, server_state=server.server_state, app_state=server.lifespan.state)

        if self._tls is None and sys.platform != "win32":
            server.servers = [await loop.create_server(connection, sock=bound, backlog=self._settings.backlog)]
        else:
            limits = _handshake_limits(self._settings.tls)
            self._tls_listener = TlsListener(bound, connection, self._tls, limits)
            self._tls_listener.start(self._settings.backlog)
            server.servers = []
        server.started = True

    def _refresh_date(self) -> None:
        date = formatdate(time.time(), usegmt=True).encode("ascii")
        self._server.server_state.default_headers[:] = [(b"date", date)]
        self._date_timer = asyncio.get_running_loop().call_later(DATE_INTERVAL_S, self._refresh_date)

    def _cancel_date(self) -> None:
        if self._date_timer is not None:
            self._date_timer.cancel()
            self._date_timer = None


def _handshake_limits(tls: TlsSettings | None) -> HandshakeLimits:
    if tls is None:
        return HandshakeLimits()
    return HandshakeLimits(tls.handshake_timeout_s, tls.max_handshakes, tls.max_handshakes_by_address)


def bound_socket(bind: str, mode: int = 0o600) -> socket.socket:
    """A listening socket's address, taken so that no other process can take it too.

    Args:
        mode: permissions of a unix socket.

    Raises:
        OSError, ValueError: as HttpServer.start.
    """
    if is_unix(bind):
        path = bind.removeprefix(UNIX_PREFIX)
        if mistake := unix_socket_mistake(path):
            raise ValueError(mistake)
        return bound_unix_socket(Path(path), mode)
    host, port = host_and_port(bind)
    return bound_tcp_socket(host, port)
