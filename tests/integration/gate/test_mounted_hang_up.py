"""Clients of a mounted application that hang up, over real sockets: our own server, uvicorn and hypercorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import hypercorn
import pytest
import uvicorn
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Sockets
from hypercorn.utils import wrap_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.rigs.gate_rig import ALICE_KEY, GateRig, gate_rig

import torchgate
from torchgate.contract.errors import Cancelled
from torchgate.gate.asgi import AsgiApplication, GateApp
from torchgate.gate.http_server import HttpServer
from torchgate.gate.mounted import Guard, OpenGate
from torchgate.gate.public_paths import PublicPaths

ROW = {"x": [[1, 2]]}
WAIT_S = 60.0
Serve = Callable[[AsgiApplication, GateRig], AbstractAsyncContextManager[int]]


@asynccontextmanager
async def _our_own(app: AsgiApplication, rig: GateRig) -> AsyncIterator[int]:
    server = HttpServer(app, rig.settings)
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop(5.0)


@asynccontextmanager
async def _uvicorn(app: AsgiApplication, rig: GateRig) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, proxy_headers=False, ws="none"))
        serving = asyncio.create_task(server._serve([listening]))
        try:
            yield int(listening.getsockname()[1])
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, WAIT_S)


@asynccontextmanager
async def _hypercorn(app: AsgiApplication, rig: GateRig) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over, config = asyncio.Event(), hypercorn.Config()
        config.graceful_timeout = 1.0
        serving = asyncio.create_task(
            worker_serve(
                wrap_app(app, config.wsgi_max_body_size, "asgi"),  # type: ignore[arg-type]
                config,
                sockets=Sockets([], [listening], []),
                shutdown_trigger=over.wait,
            )
        )
        try:
            yield int(listening.getsockname()[1])
        finally:
            over.set()
            await asyncio.wait_for(serving, WAIT_S)


SERVERS: dict[str, Serve] = {"our own": _our_own, "uvicorn": _uvicorn, "hypercorn": _hypercorn}


class Application:
    """Keeps by what each of its inferences ended."""

    def __init__(self) -> None:
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        routes = [("/asked", self.asked), ("/stream", self.stream), ("/thread", self.thread), ("/after", self.after)]
        self.app = Starlette(routes=[Route(path, route, methods=["GET", "POST"]) for path, route in routes])

    async def asked(self, request: Request) -> Response:
        """After the body, as any route with arguments."""
        await request.body()
        await self._infer()
        return PlainTextResponse("never")

    async def stream(self, request: Request) -> Response:
        """Asks for each of its parts."""

        async def parts() -> AsyncIterator[str]:
            yield "one"
            await self._infer()

        return StreamingResponse(parts())

    async def thread(self, request: Request) -> Response:
        """As routes without `async` do it."""
        caller = torchgate.blocking_caller()
        try:
            await asyncio.to_thread(caller.infer, "hangs", ROW)
        except Cancelled as error:
            self.ends.put_nowait(error.code)
            raise
        return PlainTextResponse("never")

    async def after(self, request: Request) -> Response:
        """Asks when its answer has left."""
        answer = PlainTextResponse("done")

        async def work() -> None:
            await self._infer("double")

        answer.background = work  # type: ignore[assignment]
        return answer

    async def _infer(self, model: str = "hangs") -> None:
        try:
            await torchgate.caller().infer(model, ROW)
            self.ends.put_nowait("answered")
        except (Cancelled, asyncio.CancelledError):
            self.ends.put_nowait("cancelled")
            raise


@asynccontextmanager
async def _served(name: str) -> AsyncIterator[tuple[GateRig, Application]]:
    rig, application = gate_rig(), Application()
    opened = OpenGate(GateApp(rig.services()), has_own_server=name == "our own")
    guard = Guard(application.app, lambda: opened, contextlib.nullcontext, PublicPaths(()))
    async with SERVERS[name](guard, rig) as rig.port:
        yield rig, application


@pytest.mark.parametrize("server", SERVERS)
async def test_an_inference_ends_with_its_client_and_an_answered_one_does_not(server: str) -> None:
    """In a route with a body, in a stream, on a thread; each time the engine gets its room back."""
    async with _served(server) as (rig, application):
        for method, path, body in (
            ("POST", "/asked", b"some"), ("GET", "/asked", b""), ("GET", "/stream", b""), ("GET", "/thread", b""),
        ):  # fmt: skip
            rig.engine.has_begun.clear()
            connection = rig.connect()
            await connection.send(method, path, ALICE_KEY, body)
            await asyncio.wait_for(rig.engine.has_begun.wait(), WAIT_S)
            await connection.close()
            assert await asyncio.wait_for(application.ends.get(), WAIT_S) == "cancelled", path
            assert rig.engine.open_permits == 0
        connection = rig.connect()
        assert (await connection.request("GET", "/after", ALICE_KEY)).body == b"done"
        await connection.close()
        assert await asyncio.wait_for(application.ends.get(), WAIT_S) == "answered"
