"""Answers that their client has not read yet: neither the end of TLS nor whoever needs the room cuts one off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.gate.test_tls import Place, away
from tests.rigs.event_loops import on_each_loop
from tests.rigs.loop_clock import LoopClock

from torchgate.gate.asgi import Message, Receive, Scope, Send
from torchgate.gate.http_server import HttpServer
from torchgate.gate.settings import GateSettings

ANSWER_BYTES = 16 << 20
"""More than the system keeps for a connection."""
WAIT_S = 120.0
LONGER_THAN_A_GOODBYE_S = 10.0
SMALL_BUFFER_BYTES = 16 << 10


class Large:
    """An ASGI application with a large answer, and a small one for `/`."""

    def __init__(self) -> None:
        self.has_answered = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        is_large = scope["path"] == "/large"
        body = b"x" * (ANSWER_BYTES if is_large else 2)
        start: Message = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
        if is_large:
            self.has_answered.set()


@contextlib.asynccontextmanager
async def serving(app: Large, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that takes one connection at a time."""
    server = HttpServer(app, GateSettings(bind="127.0.0.1:0", max_connections=1), tls=tls)
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop(0.0)


class Client:
    """A client that reads when it is told to.

    Args:
        tls: its context; None: plain HTTP.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        plain = socket.socket()
        plain.settimeout(WAIT_S)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        plain.connect(("127.0.0.1", port))
        self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")

    def ask(self, path: str, more: str = "") -> None:
        """Send a request, and read nothing."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())

    def read(self, length: int) -> int:
        """How many bytes of the body came, of so many."""
        with self._socket.makefile("rb") as file:
            while file.readline() not in (b"\r\n", b""):
                pass
            return len(file.read(length))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.mark.parametrize("is_tls", [False, True])
@on_each_loop
async def test_whoever_makes_room_gets_all_of_its_answer(tmp_path: Path, is_tls: bool) -> None:
    """Its connection is idle as the server sees it: nothing more will be written."""
    place, app = Place(tmp_path), Large()
    server, client = (place.context(), place.client()) if is_tls else (None, None)
    async with serving(app, server) as port:
        with await away(Client, port, client) as slow:
            slow.ask("/large")
            await asyncio.wait_for(app.has_answered.wait(), WAIT_S)
            with await away(Client, port, client) as other:
                other.ask("/")
                assert await away(other.read, 2) == 2
            assert await away(slow.read, ANSWER_BYTES) == ANSWER_BYTES


async def test_the_end_of_tls_waits_for_a_slow_client(tmp_path: Path) -> None:
    """Whoever asks for `Connection: close` reads as slowly as others."""
    place, app, clock = Place(tmp_path), Large(), LoopClock()
    async with serving(app, place.context()) as port:
        with await away(Client, port, place.client()) as slow:
            slow.ask("/large", "Connection: close\r\n")
            await asyncio.wait_for(app.has_answered.wait(), WAIT_S)
            past = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(LONGER_THAN_A_GOODBYE_S, past.set_result, None)
            clock.forward(LONGER_THAN_A_GOODBYE_S)
            await past
            assert await away(slow.read, ANSWER_BYTES) == ANSWER_BYTES
