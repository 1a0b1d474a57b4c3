"""A client that hangs up in the middle of a route's inference, and what its application hears of its own client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from tests.fakes.in_process_engine import Outputs, forever
from tests.rigs.asgi_client import AsgiAnswer, ask
from tests.rigs.gate_rig import ALICE_KEY, GateRig, gate_rig
from tests.unit.gate.test_mounted import _guarded, _hello, _nothing

import torchgate
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import Cancelled
from torchgate.contract.inference import InferenceRequest
from torchgate.gate.asgi import DISCONNECT_EXTENSION, GateApp, Message, Receive, Scope, Send
from torchgate.gate.http_protocol import ConnectionDisconnect
from torchgate.gate.mounted import Guard, OpenGate
from torchgate.gate.public_paths import PublicPaths

ROW = {"x": [[1, 2]]}
REQUEST = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}


class Server:
    """One request of a server that notes how it is asked, and says what the test has it say."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.sent: list[Message] = []
        self.asked_now = 0
        self.most_at_a_time = 0
        self.is_asked = asyncio.Event()
        self._more = asyncio.Event()

    def say(self, message: Message) -> None:
        """Let this be the next."""
        self.messages.append(message)
        self._more.set()

    async def receive(self) -> Message:
        """ASGI's."""
        self.asked_now += 1
        self.most_at_a_time = max(self.most_at_a_time, self.asked_now)
        try:
            while not self.messages:
                self.is_asked.set()
                self._more.clear()
                await self._more.wait()
            return self.messages.pop(0)
        finally:
            self.asked_now -= 1

    async def send(self, message: Message) -> None:
        """ASGI's."""
        self.sent.append(message)

    @property
    def status(self) -> int:
        """Of the answer."""
        return int(self.sent[0]["status"])

    async def ask(self, guard: Guard, headers: dict[str, str], **scope: Any) -> None:
        """The request."""

        async def call(made: Scope, receive: Receive, send: Send) -> None:
            await guard(made, self.receive, self.send)
            await send({"type": "http.response.start", "status": 299, "headers": []})

        await ask(call, path="/private", headers=headers, **scope)


class HangingRig(GateRig):
    """Its model `hangs` says when it runs."""

    def __init__(self) -> None:
        vars(self).update(vars(gate_rig()))
        self.started: asyncio.Queue[None] = asyncio.Queue()
        described = self.engine.describe(ModelRef("hangs", "1"))
        assert described is not None
        self.engine.add(described, self._hang)

    async def run(self, count: int = 1) -> None:
        """Until so many more runs have begun."""
        for _ in range(count):
            await asyncio.wait_for(self.started.get(), 60)

    async def _hang(self, request: InferenceRequest, inputs: Mapping[str, bytes]) -> Outputs:
        self.started.put_nowait(None)
        return await forever(request, inputs)


@pytest.fixture
async def rig() -> HangingRig:
    return HangingRig()


async def _ask_gone(rig: HangingRig, guard: Guard, **more: Any) -> AsgiAnswer:
    """One request whose client hangs up once its inference runs."""
    gone = asyncio.Event()
    asking = asyncio.create_task(ask(guard, path="/private", headers=ALICE_KEY, gone=gone, **more))
    await rig.run()
    gone.set()
    return await asyncio.wait_for(asking, 60)


async def test_a_client_that_hangs_up_ends_the_inference_of_its_route(rig: HangingRig):
    """The route learns of it by the error of a cancelled request; both records say so, and the engine has its room."""
    guard, inner = _guarded(rig)
    raised: list[BaseException] = []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await torchgate.caller().infer("hangs", ROW)
        except torchgate.TorchgateError as error:
            raised.append(error)
            raise

    inner.route = route
    answer = await _ask_gone(rig, guard)
    assert [type(error) for error in raised] == [Cancelled]
    assert (answer.status, answer.json()["code"]) == (499, "cancelled")
    assert [(event.status, event.code) for event in rig.audit.events] == [(499, "cancelled")] * 2
    assert rig.engine.open_permits == 0


async def test_code_on_a_thread_learns_of_it_too(rig: HangingRig):
    """It waits for the inference, and for nothing else."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        caller = torchgate.blocking_caller()
        with pytest.raises(Cancelled):
            await asyncio.to_thread(caller.infer, "hangs", ROW)
        await _hello(scope, receive, send)

    inner.route = route
    assert (await _ask_gone(rig, guard)).status == 200
    assert rig.engine.open_permits == 0


async def test_inferences_side_by_side_end_all(rig: HangingRig):
    """One question to the server for all of them; one that begins afterwards does not run at all."""
    guard, inner = _guarded(rig)
    server, ends = Server(REQUEST), []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        caller = torchgate.caller()
        both = (caller.infer("hangs", ROW), caller.infer("hangs", ROW))
        ends.extend(await asyncio.gather(*both, return_exceptions=True))
        with pytest.raises(Cancelled):
            await caller.infer("double", ROW)
        await _hello(scope, receive, send)

    inner.route = route
    asking = asyncio.create_task(server.ask(guard, ALICE_KEY))
    await rig.run(2)
    await server.is_asked.wait()
    server.say(GONE)
    await asyncio.wait_for(asking, 60)
    assert [type(end) for end in ends] == [Cancelled, Cancelled]
    assert len(rig.engine.requests) == 2
    assert server.most_at_a_time == 1


async def test_an_application_that_listens_itself_hears_it_as_ever(rig: HangingRig):
    """While an inference runs, before it, and after it: the server is asked by one of us at a time."""
    guard, inner = _guarded(rig)
    server, heard = Server(REQUEST), []

    async def listen(receive: Receive) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            heard.append(message)
        heard.append(message)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        listening = asyncio.create_task(listen(receive))
        await server.is_asked.wait()
        with pytest.raises(Cancelled):
            await torchgate.caller().infer("hangs", ROW)
        await listening
        assert await receive() == GONE, "again and again, whatever the server says then"
        await _hello(scope, receive, send)

    inner.route = route
    asking = asyncio.create_task(server.ask(guard, ALICE_KEY))
    await rig.run()
    server.say(GONE)
    await asyncio.wait_for(asking, 60)
    assert heard == [REQUEST, GONE]
    assert (server.status, server.most_at_a_time) == (200, 1)


async def test_a_listener_that_comes_later_takes_part_in_what_is_awaited_already(rig: HangingRig):
    """And one that gives up, as is_disconnected of Starlette does at once, takes nothing with it."""
    guard, inner = _guarded(rig)
    server = Server(REQUEST)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        inference = asyncio.create_task(torchgate.caller().infer("hangs", ROW))
        await server.is_asked.wait()
        assert await request.body() == b""
        assert not await request.is_disconnected()
        server.say(GONE)
        with pytest.raises(Cancelled):
            await inference
        assert await request.is_disconnected()
        await _hello(scope, receive, send)

    inner.route = route
    await asyncio.wait_for(server.ask(guard, ALICE_KEY), 60)
    assert (server.status, server.most_at_a_time) == (200, 1)


async def test_a_body_that_nobody_has_read_is_left_to_the_application(rig: HangingRig):
    """Nothing of it is taken while an inference runs; so a client that hangs up then is not noticed before its end."""
    guard, inner = _guarded(rig)
    server, got = Server({"type": "http.request", "body": b"ab", "more_body": True}), []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await torchgate.caller().infer("double", ROW)
        assert len(server.messages) == 1
        got.append(await receive())
        await torchgate.caller().infer("double", ROW)
        server.say({"type": "http.request", "body": b"c", "more_body": False})
        got.append(await receive())
        inference = asyncio.create_task(torchgate.caller().infer("hangs", ROW))
        await server.is_asked.wait()
        server.say(GONE)
        with pytest.raises(Cancelled):
            await inference
        await _hello(scope, receive, send)

    inner.route = route
    await asyncio.wait_for(server.ask(guard, ALICE_KEY, body=b"abc"), 60)
    assert [message["body"] for message in got] == [b"ab", b"c"]
    assert rig.audit.events[-1].request_bytes == 3


async def test_a_body_that_was_not_announced_comes_in_its_order_and_is_not_piled_up(rig: HangingRig):
    """HTTP/2 needs no Content-Length: what was heard first is given first, and no more is heard than one part."""
    guard, inner = _guarded(rig)
    parts = [{"type": "http.request", "body": bytes([n]), "more_body": n < 3} for n in range(4)]
    server, got = Server(*parts), b""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal got
        await torchgate.caller().infer("double", ROW)
        assert len(server.messages) >= 3
        got = await Request(scope, receive).body()
        await _hello(scope, receive, send)

    inner.route = route
    await asyncio.wait_for(server.ask(guard, ALICE_KEY), 60)
    assert got == bytes(range(4))


@pytest.mark.parametrize("is_told", [True, False])
async def test_what_a_route_does_after_its_answer_does_not_end_with_the_connection(rig: HangingRig, is_told: bool):
    """The client has what it wanted, and servers say that it is gone as soon as it has its answer."""
    guard, inner = _guarded(rig)
    disconnect = ConnectionDisconnect()
    extensions = {"extensions": {DISCONNECT_EXTENSION: disconnect}} if is_told else {}
    server = Server(REQUEST)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        inference = asyncio.create_task(torchgate.caller().infer("hangs", ROW))
        await rig.run()
        await _hello(scope, receive, send)
        disconnect.tell()
        server.say(GONE)
        assert await receive() in (REQUEST, GONE)
        assert not inference.done()
        inference.cancel()
        await asyncio.wait((inference,))
        await torchgate.caller().infer("double", ROW)

    inner.route = route
    await asyncio.wait_for(server.ask(guard, ALICE_KEY, **extensions), 60)
    assert rig.audit.events[-1].status == 200


async def test_our_own_server_tells_even_while_a_body_is_unread(rig: HangingRig):
    """It knows its connections, so that no message is needed."""
    guard, inner = _guarded(rig, own_server=True)
    disconnect, server = ConnectionDisconnect(), Server()

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(Cancelled):
            await asyncio.gather(torchgate.caller().infer("hangs", ROW), torchgate.caller().infer("hangs", ROW))
        await _hello(scope, receive, send)

    inner.route = route
    extensions = {DISCONNECT_EXTENSION: disconnect}
    asking = asyncio.create_task(server.ask(guard, ALICE_KEY, body=b"abc", extensions=extensions))
    await rig.run(2)
    disconnect.tell()
    await asyncio.wait_for(asking, 60)
    assert (server.status, server.most_at_a_time) == (200, 0)


async def test_a_stream_whose_client_hangs_up_ends_quietly(rig: HangingRig, caplog: pytest.LogCaptureFixture):
    """Nothing has failed: no traceback in the log, and nothing for the server to cut."""
    ends: list[str] = []

    async def parts() -> Any:
        try:
            while True:
                yield b"part"
                await torchgate.caller().infer("hangs", ROW)
        except BaseException as error:
            ends.append(type(error).__name__)
            raise

    app = GateApp(rig.services())
    inner = Starlette(routes=[Route("/private", lambda _: StreamingResponse(parts()))])
    guard = Guard(inner, lambda: OpenGate(app), _nothing, PublicPaths(()))
    answer = await _ask_gone(rig, guard)
    assert answer.parts == [b"part"]
    assert ends in (["Cancelled"], ["CancelledError"])
    assert [(event.status, event.code) for event in rig.audit.events] == [(200, ""), (499, "cancelled")]
    assert rig.engine.open_permits == 0
    assert "failed in the middle" not in caplog.text


async def test_a_framework_that_ends_its_route_with_the_client_is_not_held_up(rig: HangingRig):
    """Its own cancellation stays one, and is not turned into an error that somebody could swallow."""
    guard, inner = _guarded(rig, own_server=True)
    disconnect, ends = ConnectionDisconnect(), list[BaseException | None]()

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        working = asyncio.create_task(torchgate.caller().infer("hangs", ROW))
        await rig.run()
        disconnect.tell()
        working.cancel()
        await asyncio.wait((working,))
        ends.append(None if working.cancelled() else working.exception())
        await _hello(scope, receive, send)

    inner.route = route
    answer = await ask(guard, path="/private", headers=ALICE_KEY, extensions={DISCONNECT_EXTENSION: disconnect})
    assert (answer.status, ends) == (200, [None])
    assert rig.engine.open_permits == 0


async def test_a_server_that_fails_when_it_is_asked_costs_no_inference(rig: HangingRig):
    """The application learns of it when it asks itself."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await torchgate.caller().infer("double", ROW)
        with pytest.raises(OSError, match="broken"):
            await receive()
        await _hello(scope, receive, send)

    async def broken() -> Message:
        raise OSError("broken")

    inner.route = route

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await guard(scope, broken, send)

    assert (await ask(call, path="/private", headers=ALICE_KEY)).status == 200


async def test_nothing_listens_on_when_the_request_is_over(rig: HangingRig):
    """Of thousands of requests nothing may be left."""
    guard, inner = _guarded(rig)
    server = Server(REQUEST)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        inference = asyncio.create_task(torchgate.caller().infer("hangs", ROW))
        await server.is_asked.wait()
        inference.cancel()
        await asyncio.wait((inference,))
        await _hello(scope, receive, send)

    inner.route = route
    before = asyncio.all_tasks()
    await asyncio.wait_for(server.ask(guard, ALICE_KEY), 60)
    if left := asyncio.all_tasks() - before:
        await asyncio.wait_for(asyncio.wait(left), 60)
    assert server.asked_now == 0
