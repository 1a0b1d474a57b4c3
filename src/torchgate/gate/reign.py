"""How long services reign: a request keeps those that it began with, whatever comes into force meanwhile."""

from __future__ import annotations

import asyncio
from types import TracebackType

from torchgate.gate.services import GateServices


class Reign:
    """Services in force, and how many requests go by them.

    Thread/process: one event loop.
    """

    __slots__ = ("_is_ended", "_requests", "_services", "_unused")

    def __init__(self, services: GateServices) -> None:
        self._services = services
        self._requests = 0
        self._is_ended = False
        self._unused = asyncio.Event()

    def __enter__(self) -> GateServices:
        self._requests += 1
        return self._services

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests -= 1
        self._note()

    def end(self) -> None:
        """Take no request more."""
        self._is_ended = True
        self._note()

    async def wait_unused(self) -> None:
        """Until its last request has its answer; only after `end`."""
        await self._unused.wait()

    def _note(self) -> None:
        if self._is_ended and not self._requests:
            self._unused.set()
