"""Connections of our HTTP server, as rude as they come: limits, drains, timers, and answers in one piece."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from tests.fakes.in_process_engine import Outputs, describe_model
from tests.rigs.gate_rig import ALICE_KEY, DOUBLE, ONE_ROW, GateRig, gate_rig, served
from tests.rigs.http_connection import HttpConnection
from uvicorn.server import ServerState

from torchgate.contract.inference import InferenceRequest
from torchgate.contract.tensors import TensorSpec
from torchgate.gate import limits
from torchgate.gate.asgi import GateApp
from torchgate.gate.http_server import HttpServer, bound_socket
from torchgate.gate.settings import GateSettings

HEAD = "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: alice-key\r\n{more}\r\n"
WAIT_S = 120.0


def settings(**changes: Any) -> GateSettings:
    """A free port, and small limits where a test wants them."""
    return GateSettings(bind="127.0.0.1:0", **changes)


def head(more: str = "", path: str = DOUBLE) -> bytes:
    """A request's head as alice sends it."""
    return HEAD.format(path=path, more=more).encode()


async def exchange(rig: GateRig, data: bytes) -> bytes:
    """All that the server says to some bytes until it closes; the client keeps its end open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), WAIT_S)
    finally:
        writer.transport.abort()


def status(answer: bytes) -> int:
    """Of the first answer."""
    return int(answer.split(b" ", 2)[1])


class RecordingTransport(asyncio.Transport):
    """Keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """As above."""


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2", "/nothing"])
async def test_head_and_body_of_an_answer_leave_in_one_write(path: str) -> None:
    """Two writes meet the peer's delayed ACK: 40 ms a request on Windows."""
    rig = gate_rig()
    server = HttpServer(GateApp(rig.services()), rig.settings)
    config = server._config
    config.load()
    state = ServerState()
    protocol: Any = config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg,operator]
    transport = RecordingTransport()
    protocol.connection_made(transport)
    for count in (1, 2):
        protocol.data_received(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: alice-key\r\n\r\n".encode())
        await asyncio.gather(*state.tasks)
        assert len(transport.writes) == count
        assert transport.writes[-1].startswith(b"HTTP/1.1 ")
        assert transport.writes[-1].endswith(b"}")
    protocol.connection_lost(None)


async def test_accepted_sockets_do_not_wait_to_fill_a_segment() -> None:
    """TCP_NODELAY is on: asyncio's Proactor leaves it off on sockets that it accepts."""
    rig = gate_rig()
    server = HttpServer(GateApp(rig.services()), rig.settings)
    await server.start()
    connection = HttpConnection(server.port)
    try:
        await connection.request("GET", "/v2/health/live")
        (accepted,) = server._server.server_state.connections
        raw = accepted.transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        await connection.close()
        await server.stop(5.0)


async def test_a_port_that_is_ours_is_nobody_else_s() -> None:
    """A second server on it fails at once, on Windows too, where SO_REUSEADDR would let it steal the port."""
    async with served(gate_rig()) as rig:
        with pytest.raises(OSError):  # noqa: PT011 - its number differs by system
            await HttpServer(GateApp(rig.services()), rig.settings, bind=f"127.0.0.1:{rig.port}").start()


@pytest.mark.parametrize("bind", ["nonsense", "127.0.0.1", "::1:80", "127.0.0.1:x", "127.0.0.1:70000", ":80"])
def test_an_address_that_is_none_is_said(bind: str) -> None:
    """Before any socket is made."""
    with pytest.raises(ValueError, match="port"):
        bound_socket(bind)


async def test_a_body_that_is_announced_too_large_is_refused_unread() -> None:
    """413; and the connection closes, because the rest of the body is not waited for."""
    async with served(gate_rig(settings(max_body_bytes=2048, refusal_drain_bytes=0))) as rig:
        answer = await exchange(rig, head("Content-Length: 4096\r\n") + b"x")
        assert status(answer) == 413
        assert b"connection: close" in answer
        assert rig.engine.admissions == []


async def test_a_body_in_chunks_is_bounded_as_it_comes() -> None:
    """The attacker announces no length and never ends."""
    async with served(gate_rig(settings(max_body_bytes=2048, refusal_drain_bytes=0))) as rig:
        chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
        answer = await exchange(rig, head("Transfer-Encoding: chunked\r\n") + chunk * 3)
        assert status(answer) == 413
        assert rig.engine.open_permits == 0


async def test_a_body_in_chunks_is_answered() -> None:
    """JSON, cut in the middle of a number."""
    async with served(gate_rig()) as rig:
        pieces = (ONE_ROW[:60], ONE_ROW[60:61], ONE_ROW[61:])
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        answer = await exchange(rig, head("Transfer-Encoding: chunked\r\nConnection: close\r\n") + body)
        assert status(answer) == 200
        assert answer.endswith(b'"data":[3.0,-4.0]}]}')


async def test_trailers_are_no_headers() -> None:
    """The attacker puts the credential, or a second one, where nobody before us looked."""
    async with served(gate_rig()) as rig:
        start = f"POST {DOUBLE} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
        body = b"%x\r\n%s\r\n0\r\nX-API-Key: alice-key\r\n\r\n" % (len(ONE_ROW), ONE_ROW)
        assert status(await exchange(rig, start + b"Transfer-Encoding: chunked\r\n\r\n" + body)) == 401


async def test_an_early_refusal_reads_the_body_and_keeps_the_connection() -> None:
    """So that a front door passes our 401 on and no reset; the same connection then serves."""
    async with served(gate_rig()) as rig:
        connection = rig.connect()
        try:
            assert (await connection.request("POST", DOUBLE, {}, b"x" * 300_000)).status == 401
            assert (await connection.request("POST", DOUBLE, ALICE_KEY, ONE_ROW)).status == 200
        finally:
            await connection.close()


async def test_an_early_refusal_drains_up_to_a_bound_and_then_closes() -> None:
    """The attacker would have us read a gigabyte for nothing."""
    async with served(gate_rig(settings(refusal_drain_bytes=1000))) as rig:
        head_ = f"POST {DOUBLE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n".encode()
        answer = await exchange(rig, head_ + b"x" * 1001)
        assert status(answer) == 401
        assert b"connection: close" in answer


async def test_a_client_that_waits_for_leave_is_refused_without_it() -> None:
    """Expect: 100-continue: a refusal asks for no body; a welcome does."""
    async with served(gate_rig()) as rig:
        expecting = f"Content-Length: {len(ONE_ROW)}\r\nExpect: 100-continue\r\n"
        refused = await exchange(rig, head(expecting).replace(b"alice-key", b"wrong-key"))
        assert status(refused) == 401
        assert b"100 Continue" not in refused
        welcome = await exchange(rig, head(expecting + "Connection: close\r\n") + ONE_ROW)
        assert welcome.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_a_body_that_comes_too_slowly_is_408_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It held bytes, never a place in a queue; nothing more of it is waited for."""
    monkeypatch.setattr(limits, "DRAIN_TIMEOUT_S", 3600.0)
    async with served(gate_rig(settings(body_timeout_s=0.1))) as rig:
        answer = await exchange(rig, head("Content-Length: 100\r\n") + b"{")
        assert status(answer) == 408
        event = await rig.wait_event()
        assert event.code == "body_too_slow"
        assert rig.engine.requests == []


async def test_a_deadline_passes_also_while_the_body_comes() -> None:
    """The client's own deadline is the smaller limit."""
    async with served(gate_rig()) as rig:
        answer = await exchange(rig, head("Content-Length: 100\r\nX-Request-Timeout-Ms: 50\r\n") + b"{")
        assert status(answer) == 504
        assert b"timeout" in answer


async def test_a_deadline_passes_also_while_there_is_no_word_of_room() -> None:
    """A pool that stands still is found out later."""
    async with served(gate_rig()) as rig:
        rig.engine.stands_still = True
        answer = await exchange(rig, head("Content-Length: 2\r\nX-Request-Timeout-Ms: 50\r\n") + b"{}")
        assert status(answer) == 504
        assert b"deadline_exceeded" in answer


async def test_who_names_no_deadline_waits_for_room_as_long_as_the_server_gives_them() -> None:
    """And no longer: a pool that stands still is found out when that may be over."""
    async with served(gate_rig(settings(default_timeout_s=0.05))) as rig:
        rig.engine.stands_still = True
        answer = await exchange(rig, head("Content-Length: 2\r\n") + b"{}")
        assert status(answer) == 504
        assert b"deadline_exceeded" in answer


async def test_a_bomb_inflates_to_the_bound_and_no_further() -> None:
    """30 KB of gzip hold 30 MB."""
    async with served(gate_rig(settings(max_inflated_bytes=1 << 20))) as rig:
        bomb = gzip.compress(b" " * (30 << 20))
        answer = await exchange(
            rig, head(f"Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: {len(bomb)}\r\n") + bomb
        )
        assert status(answer) == 413


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(ONE_ROW)[:-4],
        gzip.compress(ONE_ROW) + b"more",
        gzip.compress(ONE_ROW) * 2,
        b"\x1f\x8b garbage",
        b"x",
    ],
)
async def test_what_does_not_inflate_whole_is_the_caller_s_mistake(body: bytes) -> None:
    """Cut off, followed by more, or no gzip at all."""
    async with served(gate_rig()) as rig:
        connection = rig.connect()
        try:
            headers = {**ALICE_KEY, "Content-Encoding": "gzip"}
            assert (await connection.request("POST", DOUBLE, headers, body)).status == 400
            for encoding in ("br", "gzip, gzip", "x"):
                refused = await connection.request("POST", DOUBLE, {**ALICE_KEY, "Content-Encoding": encoding}, ONE_ROW)
                assert refused.status == 400
        finally:
            await connection.close()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),  # TLS on the plain port
        (b"CONNECT evil:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n", 400),
        (head("Content-Length: 5\r\nContent-Length: 6\r\n") + b"abcdef", 400),
        (head("Content-Length: -1\r\n"), 400),
        (head("Content-Length: 0x10\r\n"), 400),
        (head("X: " + "y" * 70_000 + "\r\n"), 431),
        (head("A: b\r\n" * 500), 431),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
async def test_what_is_no_request_of_ours_is_refused_in_our_shape_and_closed(data: bytes, expected: int) -> None:
    """Smuggling, floods and other protocols: no second reader can see another request in them."""
    async with served(gate_rig()) as rig:
        answer = await exchange(rig, data)
        assert status(answer) == expected
        first, _, body = answer.partition(b"\r\n\r\n")
        assert set(json.loads(body)) == {"error", "code", "request_id"}
        assert b"connection: close" in first.lower()
        assert rig.engine.admissions == []


@pytest.mark.parametrize("chunk", [b"-1\r\n", b"5\r\n{12", b"xyz\r\n", b"1\r\nab\r\n", b"f" * 17 + b"\r\n"])
async def test_a_body_that_stops_being_http_is_the_caller_s_mistake_and_the_last_of_its_connection(
    chunk: bytes,
) -> None:
    """One 400 and one record; what follows on the connection is not heard."""
    async with served(gate_rig(settings(body_timeout_s=60.0))) as rig:
        for key in (b"alice-key", b"wrong-key"):
            start = head("Transfer-Encoding: chunked\r\n").replace(b"alice-key", key)
            rig.seen_one.clear()
            answer = await exchange(rig, start + chunk + start + b"0\r\n\r\n")
            event = await rig.wait_event()
            assert status(answer) == event.status
            assert event.status == (401 if key == b"wrong-key" else 400)
            assert answer.count(b"x-request-id") == 1
        assert len(rig.audit.events) == 2


@pytest.mark.parametrize("first", [b"", b"G", b"GET / HTTP/1.1\r\nHost", b"\r\n", b"\r\n\r\n"])
async def test_a_head_that_never_ends_does_not_keep_its_connection(first: bytes) -> None:
    """The attacker opens connections and says little, also after a good request."""
    async with served(gate_rig(settings(head_timeout_s=0.1))) as rig:
        assert status(await exchange(rig, first)) == 408
        if first:
            reader, writer = await after_a_good_request(rig)
            writer.write(first)
            assert status(await asyncio.wait_for(reader.read(), WAIT_S)) == 408
            writer.transport.abort()


async def after_a_good_request(rig: GateRig) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which one was answered; another try where its own head came too late."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"true}")
            return reader, writer
        writer.transport.abort()


async def test_an_idle_connection_ends_quietly() -> None:
    """After keep_alive_s, with nothing said."""
    async with served(gate_rig(settings(keep_alive_s=0.1))) as rig:
        answer = await exchange(rig, b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.count(b"HTTP/1.1") == 1


async def test_connections_are_bounded() -> None:
    """One more than allowed, while all have requests, is told so; when one goes, there is room again."""
    async with served(gate_rig(settings(max_connections=1))) as rig:
        connection = rig.connect()
        await connection.send("POST", "/v2/models/hangs/infer", ALICE_KEY, ONE_ROW)
        await asyncio.wait_for(rig.engine.has_begun.wait(), WAIT_S)
        refused = await exchange(rig, b"")
        assert status(refused) == 503
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["code"] == "overloaded"
        await connection.close()


async def test_requests_in_a_row_are_answered_in_order() -> None:
    """Pipelined: each gets its own answer, also when the second is faster."""
    async with served(gate_rig()) as rig:
        first = head(f"Content-Length: {len(ONE_ROW)}\r\n") + ONE_ROW
        second = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await exchange(rig, first + second)
        assert answer.index(b"double") < answer.index(b"live")
        assert answer.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "x"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_an_upgrade_that_is_offered_is_not_taken_and_loses_no_body(protocol: str, framing: str) -> None:
    """Java's client offers h2c with its first request, body and all; the answer is HTTP/1.1."""
    async with served(gate_rig()) as rig:
        more = f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n"
        if framing == "length":
            data = head(more + f"Content-Length: {len(ONE_ROW)}\r\n") + ONE_ROW
        else:
            data = head(more + "Transfer-Encoding: chunked\r\n") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(ONE_ROW), ONE_ROW)
        place = data.index(b"\r\n\r\n") + 4
        for cut in (len(data), place, place + 5):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            rig.engine.has_admitted.clear()
            writer.write(data[:cut])
            await rig.engine.has_admitted.wait()
            writer.write(data[cut:])
            answer = await asyncio.wait_for(reader.read(), WAIT_S)
            assert status(answer) == 200
            writer.transport.abort()


async def test_a_body_behind_an_upgrade_is_never_read_as_a_request() -> None:
    """The attacker hides a request in the body, so that its answer goes to whoever asks next on this connection."""
    async with served(gate_rig()) as rig:
        hidden = head("Content-Length: 0\r\n", "/v2/models/smuggled/infer")
        for cut in ("together", "apart"):
            more = f"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: {len(hidden)}\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            rig.engine.has_admitted.clear()
            writer.write(head(more) + (hidden * 2 if cut == "together" else b""))
            await rig.engine.has_admitted.wait()
            if cut == "apart":
                writer.write(hidden * 2)
            answer = await asyncio.wait_for(reader.read(), WAIT_S)
            assert status(answer) == 400
            assert answer.count(b"x-request-id") == 1
            writer.transport.abort()
        assert {event.path for event in rig.seen} == {DOUBLE}


async def test_head_requests_have_the_headers_and_no_body() -> None:
    """HEAD as GET, the length of the body included."""
    async with served(gate_rig()) as rig:
        answer = await exchange(rig, b"HEAD /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert status(answer) == 200
        assert b"content-length: 13" in answer
        assert answer.endswith(b"\r\n\r\n")


async def echo(request: InferenceRequest, inputs: Mapping[str, bytes]) -> Outputs:
    """What came."""
    return {"y": (request.inputs[0].shape, inputs["x"])}


async def test_a_stop_lets_what_runs_finish_to_its_last_byte() -> None:
    """A long answer to a slow reader is not cut by the stop; new connections are refused."""
    length = 8 << 20
    rig = gate_rig()
    rig.engine.memory_bytes = length
    spec = (TensorSpec("x", "UINT8", (-1,)),), (TensorSpec("y", "UINT8", (-1,)),)
    rig.engine.add(describe_model("echo", *spec, max_batch_size=0), echo)
    server = HttpServer(GateApp(rig.services()), rig.settings)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 16)
    more = f"Content-Length: {length}\r\nInference-Header-Content-Length: 0\r\n"
    writer.write(head(more, "/v2/models/echo/infer"))
    writer.write(b"\x07" * length)
    await rig.wait_event()
    stop = asyncio.create_task(server.stop(WAIT_S))
    answer = await asyncio.wait_for(reader.read(), WAIT_S)
    await asyncio.wait_for(stop, WAIT_S)
    writer.transport.abort()
    assert answer.endswith(b"\x07" * length)


async def test_a_connection_that_comes_during_a_stop_is_closed_at_once() -> None:
    """The loop had accepted it already; all others were told to end before it was there."""
    rig = gate_rig()
    server = HttpServer(GateApp(rig.services()), rig.settings)
    await server.start()
    running = HttpConnection(server.port)
    await running.send("POST", "/v2/models/hangs/infer", ALICE_KEY, ONE_ROW)
    await rig.engine.has_begun.wait()
    stop = asyncio.create_task(server.stop(600))
    await asyncio.sleep(0)  # until the stop waits for the running request
    state, config = server._server.server_state, server._config
    late: Any = config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg,operator]
    transport = RecordingTransport()
    late.connection_made(transport)
    assert transport.closed
    late.connection_lost(None)
    await running.close()
    await asyncio.wait_for(stop, WAIT_S)


async def test_a_stop_cuts_what_does_not_end_in_time() -> None:
    """No answer, no event, and no room kept."""
    rig = gate_rig()
    server = HttpServer(GateApp(rig.services()), rig.settings)
    await server.start()
    connection = HttpConnection(server.port)
    await connection.send("POST", "/v2/models/hangs/infer", ALICE_KEY, ONE_ROW)
    await rig.engine.has_begun.wait()
    await server.stop(0.05)
    await server.stop(0.05)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await connection.receive()
    await connection.close()
    assert rig.engine.open_permits == 0
