"""More connections than there may be: whoever waits longest for its client makes room, and whoever works stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.rigs.event_loops import on_each_loop
from tests.rigs.gate_rig import ALICE_KEY, ONE_ROW, GateRig, gate_rig, served

from torchgate.gate.connection_room import ConnectionRoom
from torchgate.gate.settings import GateSettings

WAIT_S = 60.0
HALF_A_HEAD = b"GET /v2 HTTP/1.1\r\nHost:"


class Silent:
    """A connection that says what it is told to, and no more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, rig: GateRig, data: bytes = b"") -> Silent:
        """Once the server has it: it answers in turn, so that this one was accepted before the next."""
        silent = cls(*await asyncio.open_connection("127.0.0.1", rig.port))
        silent._writer.write(data)
        await silent._writer.drain()
        return silent

    async def wait_cut(self) -> bytes:
        """What it is told, to its end."""
        try:
            return await asyncio.wait_for(self._reader.read(), WAIT_S)
        except ConnectionError:
            return b""

    @property
    def is_open(self) -> bool:
        """Whether the server has not ended it."""
        return not self._reader.at_eof() and self._reader.exception() is None

    def close(self) -> None:
        """End it."""
        self._writer.transport.abort()


def rig_of(most: int) -> GateRig:
    return gate_rig(GateSettings(bind="127.0.0.1:0", max_connections=most, head_timeout_s=WAIT_S))


async def live(rig: GateRig) -> int:
    """The status of a request on a connection of its own."""
    connection = rig.connect()
    try:
        return (await connection.request("GET", "/v2/health/live", {"Connection": "close"})).status
    finally:
        await connection.close()


@on_each_loop
async def test_the_oldest_that_never_sent_a_head_makes_room() -> None:
    """Half a head is none. The newest is served: it may be honest, and the oldest had its time."""
    async with served(rig_of(3)) as rig:
        silent = [await Silent.open(rig, data) for data in (b"", HALF_A_HEAD, b"", b"", HALF_A_HEAD)]
        for one in silent[:2]:
            assert await one.wait_cut() == b""
        assert await live(rig) == 200
        assert await silent[2].wait_cut() == b""
        assert [one.is_open for one in silent] == [False, False, False, True, True]
        for one in silent:
            one.close()


@on_each_loop
async def test_a_connection_with_a_request_never_makes_room() -> None:
    """Nor does one with an answer before those that have never asked; then the one that is idle longest."""
    async with served(rig_of(3)) as rig:
        idle, working = rig.connect(), rig.connect()
        assert (await idle.request("GET", "/v2/health/live")).status == 200
        await working.send("POST", "/v2/models/hangs/infer", ALICE_KEY, ONE_ROW)
        await asyncio.wait_for(rig.engine.has_begun.wait(), WAIT_S)
        silent = await Silent.open(rig)
        assert await live(rig) == 200
        assert await silent.wait_cut() == b""
        assert (await idle.request("GET", "/v2/health/live")).status == 200
        others = [rig.connect() for _ in range(2)]
        for other in others:
            assert (await other.request("GET", "/v2/health/live")).status == 200
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await idle.request("GET", "/v2/health/live")
        assert rig.engine.running
        for one in (idle, working, *others):
            await one.close()
        silent.close()


@on_each_loop
async def test_whoever_opens_hundreds_keeps_nobody_out() -> None:
    """Each honest request in between is answered."""
    async with served(rig_of(10)) as rig:
        silent: list[Silent] = []
        for _ in range(20):
            silent += [await Silent.open(rig) for _ in range(15)]
            assert await live(rig) == 200
        for one in silent:
            one.close()


@pytest.fixture
async def behind_iis() -> AsyncIterator[GateRig]:
    rig = gate_rig(GateSettings(bind="127.0.0.1:0", front_door="ancm", max_connections=1, head_timeout_s=WAIT_S))
    async with served(rig):
        yield rig


async def test_behind_iis_none_is_cut(behind_iis: GateRig) -> None:
    """An unread head may carry a token, which only its request closes; the newest is refused when its head is read."""
    silent = await Silent.open(behind_iis)
    assert await live(behind_iis) == 503
    assert silent.is_open
    silent.close()


class Connection:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.ends = 0
        self.cuts = 0

    def leave(self) -> None:
        """As the contract says."""
        self.ends += 1

    def cut(self) -> None:
        """As the contract says."""
        self.ends += 1
        self.cuts += 1


def test_what_is_on_its_way_out_is_counted_no_more() -> None:
    """Else a burst of new ones would cut more than it needs."""
    room, connections = ConnectionRoom(), [Connection() for _ in range(3)]
    for one in connections:
        room.arrived(one)
    assert room.has(4, 3)
    assert room.has(4, 3)
    assert [one.ends for one in connections] == [1, 0, 0]
    room.gone(connections[0])
    room.busy(connections[1])
    assert room.has(4, 3)
    assert [one.ends for one in connections] == [1, 0, 1]
    assert not room.has(5, 3)
    room.idle(connections[1])
    assert room.has(5, 3)
    assert [one.ends for one in connections] == [1, 1, 1]


def test_those_that_take_their_time_to_leave_are_bounded_too() -> None:
    """Whoever never reads its answer would else hold its place for ever, beside all that there may be."""
    room, connections = ConnectionRoom(), [Connection() for _ in range(6)]
    for one in connections:
        room.arrived(one)
        room.busy(one)
        room.idle(one)
    for count in range(3, 7):
        assert room.has(count, 2)
    assert [one.ends for one in connections] == [2, 2, 1, 1, 0, 0]
    assert [one.cuts for one in connections] == [1, 1, 0, 0, 0, 0]


@pytest.mark.windows("AcceptEx fails where a client has reset its connection before it was accepted")
async def test_a_client_that_went_before_it_was_accepted_does_not_end_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """asyncio's own server would close its listening socket for good."""
    loop = asyncio.get_running_loop()
    accept = loop._proactor.accept  # type: ignore[attr-defined]
    errors = [OSError(22, "The specified network name is no longer available", None, 64)]

    def going(listening: object) -> object:
        if not errors:
            return accept(listening)
        future = loop.create_future()
        future.set_exception(errors.pop())
        return future

    monkeypatch.setattr(loop._proactor, "accept", going)  # type: ignore[attr-defined]
    async with served(rig_of(3)) as rig:
        assert await live(rig) == 200
    assert errors == []
