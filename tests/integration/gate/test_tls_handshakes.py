"""Clients that begin TLS and never finish it, over real sockets: bounded in number, and nobody else is kept out."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.gate.test_tls import PRESS, WAIT_S, Place, ask, away
from tests.rigs.event_loops import on_each_loop
from tests.rigs.gate_rig import served

from torchgate.gate.settings import GateSettings
from torchgate.gate.tls_listener import HandshakeLimits, TlsListener, UnfinishedHandshakes

HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


class Silent:
    """Connections that never finish their handshake."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sockets: list[socket.socket] = []

    def open(self, count: int = 1, address: str = "127.0.0.1") -> None:
        """So many more, from an address of this machine."""
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", self._port), WAIT_S, (address, 0))
            one.sendall(HALF_A_HELLO)
            self.sockets.append(one)

    def wait_cut(self, *places: int) -> None:
        """Until the server has ended these."""
        for place in places:
            with contextlib.suppress(ConnectionError):
                while self.sockets[place].recv(4096):
                    pass

    def still_open(self) -> list[int]:
        """Those that the server has not ended."""
        return [place for place, one in enumerate(self.sockets) if _is_open(one)]

    def close(self) -> None:
        """All of them."""
        for one in self.sockets:
            one.close()


def _is_open(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return bool(one.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        one.settimeout(WAIT_S)


@contextlib.contextmanager
def silent(port: int) -> Iterator[Silent]:
    """Closed at the end."""
    connections = Silent(port)
    try:
        yield connections
    finally:
        connections.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@on_each_loop
async def test_beyond_the_limit_of_one_address_its_own_oldest_is_cut(place: Place) -> None:
    """Also where the honest client stands behind that very address: it is the newest, and is served."""
    async with served(place.rig(handshake_timeout_s=60.0, max_handshakes_by_address=3)) as rig:
        with silent(rig.port) as many:
            await away(many.open, 5)
            await away(many.wait_cut, 0, 1)
            assert many.still_open() == [2, 3, 4]
            assert await away(ask, rig.port, place.client(PRESS)) == 200
            await away(many.wait_cut, 2)
            assert many.still_open() == [3, 4]


@on_each_loop
async def test_beyond_the_limit_of_all_the_oldest_is_cut(place: Place) -> None:
    """Whoever has many addresses pushes out what came first: never the newest, who may be honest."""
    async with served(place.rig(handshake_timeout_s=60.0, max_handshakes=3, max_handshakes_by_address=2)) as rig:
        with silent(rig.port) as many:
            for last in range(2, 7):
                await away(many.open, 1, f"127.0.0.{last}")
            await away(many.wait_cut, 0, 1)
            assert many.still_open() == [2, 3, 4]
            assert await away(ask, rig.port, place.client(PRESS)) == 200


@on_each_loop
async def test_one_address_never_cuts_anothers(place: Place) -> None:
    """A client on a slow line finishes its handshake while somebody else opens hundreds of connections."""
    async with served(place.rig(handshake_timeout_s=60.0, max_handshakes=16, max_handshakes_by_address=4)) as rig:
        slow = await away(_Slow, rig.port, place.client(PRESS), "127.0.0.2")
        with silent(rig.port) as many:
            await away(many.open, 200)
            await away(many.wait_cut, *range(196))
            assert many.still_open() == [196, 197, 198, 199]
            assert await away(slow.finish) == b"HTTP/1.1 200 OK"


@on_each_loop
async def test_a_finished_handshake_is_counted_no_more(place: Place) -> None:
    """From there on it is a connection, with the limits of connections; an idle one goes by head_timeout_s."""
    async with served(place.rig(handshake_timeout_s=60.0, max_handshakes=1, max_handshakes_by_address=1)) as rig:
        clients = [await away(_Slow, rig.port, place.client(PRESS), "127.0.0.1", True) for _ in range(5)]
        for client in clients:
            assert await away(client.finish) == b"HTTP/1.1 200 OK"


@on_each_loop
async def test_a_stop_waits_for_no_handshake(place: Place) -> None:
    """They are cut at once, and their sockets closed."""
    with contextlib.ExitStack() as until_the_end:
        async with served(place.rig(handshake_timeout_s=60.0)) as rig:
            many = until_the_end.enter_context(silent(rig.port))
            await away(many.open, 20)
            assert await away(ask, rig.port, place.client(PRESS)) == 200
            assert len(many.still_open()) == 20
        await away(many.wait_cut, *range(20))


@on_each_loop
async def test_the_log_says_once_that_handshakes_are_cut(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever opens thousands fills no disk."""
    async with served(place.rig(handshake_timeout_s=60.0, max_handshakes_by_address=1)) as rig:
        with silent(rig.port) as many:
            await away(many.open, 20)
            await away(many.wait_cut, *range(19))
    said = [record.message for record in caplog.records if "handshakes are cut" in record.message]
    assert len(said) == 1
    assert "max_handshakes_by_address" in said[0]


@on_each_loop
async def test_connections_without_a_head_count_as_connections(place: Place) -> None:
    """What is silent, and what has sent half a head, takes a place, and makes room for another by its age."""
    rig = place.rig()
    rig.settings = GateSettings(bind="127.0.0.1:0", max_connections=2, head_timeout_s=8.0, tls=rig.settings.tls)
    async with served(rig):
        first, second = [await away(_Slow, rig.port, place.client(PRESS), "127.0.0.1", True) for _ in range(2)]
        await away(second.say, b"GET / HTTP/1.1\r\nHost:")
        assert await away(ask, rig.port, place.client(PRESS)) == 200
        assert await away(first.hear) == b""
        assert (await away(second.hear))[:12] == b"HTTP/1.1 408"


def test_what_is_over_is_forgotten() -> None:
    """Whatever the order, and also where it was cut before."""

    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    async def run() -> None:
        unfinished = UnfinishedHandshakes(HandshakeLimits(most=2, most_by_address=1))
        tasks = [asyncio.create_task(forever()) for _ in range(4)]
        assert [unfinished.add(task, place) for task, place in zip(tasks, ("a", "b", "a", ""), strict=True)] == [
            False, False, True, True,
        ]  # fmt: skip
        await asyncio.wait(tasks[:2])
        assert [task.done() for task in tasks] == [True, True, False, False]
        for task in tasks:
            unfinished.remove(task)
        assert len(unfinished) == 0
        assert unfinished.cut_all() == []
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(run())


class _Slow:
    """A client that shakes hands step by step.

    Args:
        is_finished: whether it does so to the end at once.
    """

    def __init__(self, port: int, context: ssl.SSLContext, address: str, is_finished: bool = False) -> None:
        plain = socket.create_connection(("127.0.0.1", port), WAIT_S, (address, 0))
        self._tls = context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False)
        if is_finished:
            self._tls.do_handshake()

    def say(self, data: bytes) -> None:
        """Send."""
        self._tls.sendall(data)

    def hear(self) -> bytes:
        """All until the end."""
        said = b""
        try:
            while more := self._tls.recv(4096):
                said += more
        except OSError:
            pass
        finally:
            self._tls.close()
        return said

    def finish(self) -> bytes:
        """Finish the handshake, and ask; the first line of the answer."""
        self._tls.do_handshake()
        self.say(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return self.hear().partition(b"\r\n")[0]


class Cut(asyncio.Protocol):
    """The first of them is cut in the moment in which its handshake is finished; all answer what they hear."""

    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The moment."""
        self._transport = transport
        Cut.made += 1
        if Cut.made == 1:
            for task in asyncio.all_tasks():
                if "_shake_hands" in repr(task.get_coro()):
                    task.cancel()

    def data_received(self, data: bytes) -> None:
        """Say the same."""
        self._transport.write(data)  # type: ignore[attr-defined]


@on_each_loop
async def test_a_cut_in_the_last_moment_takes_no_socket_from_under_its_connection(place: Place) -> None:
    """Its number would be the next client's, and what ends for the one would end for the other."""
    Cut.made = 0
    client = place.client()
    with socket.create_server(("127.0.0.1", 0)) as bound, contextlib.ExitStack() as sockets:
        bound.setblocking(False)
        # Made now, so that a number that the server gives back is the server's next.
        plain = [sockets.enter_context(socket.socket()) for _ in range(2)]
        listener = TlsListener(bound, Cut, place.context(), HandshakeLimits())
        listener.start(8)

        def connected(one: socket.socket) -> ssl.SSLSocket:
            one.settimeout(WAIT_S)
            one.connect(bound.getsockname())
            return sockets.enter_context(client.wrap_socket(one, server_hostname="localhost"))

        def echo(one: ssl.SSLSocket) -> bytes:
            one.sendall(b"x")
            return one.recv(1)

        try:
            first = await away(connected, plain[0])
            assert await away(first.recv, 1) == b""
            assert await away(echo, await away(connected, plain[1])) == b"x"
        finally:
            await listener.stop()


def _went() -> list[OSError]:
    """What systems say of a client that went before it was accepted."""
    lost = OSError(errno.EINVAL, "The specified network name is no longer available", None, 64)
    if sys.platform != "win32":
        lost.winerror = 64
    return [ConnectionAbortedError(), OSError(errno.ENOTCONN, "not connected"), lost]


async def test_a_client_that_went_before_it_was_accepted_holds_nobody_up(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one reset a second would keep everybody out."""
    loop, errors = asyncio.get_running_loop(), _went()
    accept = loop.sock_accept

    async def going(listening: socket.socket) -> tuple[socket.socket, Any]:
        if errors:
            raise errors.pop()
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", going)
    async with served(place.rig()) as rig:
        assert await away(ask, rig.port, place.client(PRESS)) == 200
    assert errors == []
    assert "accepted" not in caplog.text
