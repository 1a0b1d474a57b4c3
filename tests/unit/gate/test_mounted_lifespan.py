"""The gate starts before the application and stops after it, whatever the application does with its lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from torchgate.gate.mounted_lifespan import live, lived


class Life:
    """A server's side, the gate's and the application's, in one list."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.failure: Exception | None = None
        self._events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        if self.failure is not None:
            raise self.failure
        self.told.append("gate starts")
        try:
            yield
        finally:
            self.told.append("gate stops")

    async def run(self, application: Any) -> None:
        async def receive() -> dict[str, str]:
            return self._events.pop(0)

        async def send(message: Any) -> None:
            self.told.append(message["type"].removeprefix("lifespan."))

        await live(application, self.started, {"type": "lifespan"}, receive, send)


async def test_the_gate_is_there_for_as_long_as_the_application():
    """The server hears the end when both have ended."""
    life = Life()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        life.told.append("application starts")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        life.told.append("application stops")
        await send({"type": "lifespan.shutdown.complete"})

    await life.run(application)
    assert life.told == [
        "gate starts", "application starts", "startup.complete", "application stops", "gate stops", "shutdown.complete",
    ]  # fmt: skip


@pytest.mark.parametrize("is_silent", [True, False])
async def test_an_application_without_lifespan_lives_all_the_same(is_silent: bool):
    """Whether it raises or returns."""
    life = Life()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if not is_silent:
            raise AssertionError("http alone")

    await life.run(application)
    assert life.told == ["gate starts", "startup.complete", "gate stops", "shutdown.complete"]


async def test_a_gate_that_does_not_start_starts_no_application():
    """The server is told why, and ends."""
    life = Life()
    life.failure = ValueError("no torchgate.toml")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("must not run")

    await life.run(application)
    assert life.told == ["startup.failed"]


@pytest.mark.parametrize("raises", [True, False])
async def test_an_application_that_does_not_start_stops_the_gate(raises: bool):
    """As Starlette does it: it says so and raises."""
    life = Life()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        if raises:
            raise ValueError("no database")

    await life.run(application)
    assert life.told == ["gate starts", "gate stops", "startup.failed"]


async def test_a_server_without_lifespan_gives_the_application_its_life():
    """Its state comes out, and it has stopped when the block is left."""
    told: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["pool"] = 1
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        told.append("stops")
        await send({"type": "lifespan.shutdown.complete"})

    state: dict[str, Any] = {}
    async with lived(application, state):
        assert state == {"pool": 1}
    assert told == ["stops"]


async def test_an_application_that_says_that_it_does_not_start_is_not_served():
    """Its own words are the reason."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise ValueError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        async with lived(application, {}):
            raise AssertionError("must not be served")


async def test_an_application_without_lifespan_is_served():
    """Most test doubles, and plain functions."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError("http alone")

    async with lived(application, {}):
        pass
