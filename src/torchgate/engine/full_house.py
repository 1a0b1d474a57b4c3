"""Waiting until every place of a version has its worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from torchgate.engine.worker_process import WorkerProcess

_LONGEST_WAIT_S = 10.0
"""Three times what importing torch takes; who waits for longer has waited politely enough."""


class FullHouse:
    """Told of workers that join, asked by those who can wait.

    Args:
        live: the workers in their places, kept by the owner; one that has ended counts no more at once.
        places: how many there are.
    """

    def __init__(self, live: Collection[WorkerProcess], places: int) -> None:
        self._live = live
        self._places = places
        self._news = asyncio.Event()
        self._is_closed = False

    def joined(self) -> None:
        """A worker has taken its place."""
        self._news.set()

    def close(self) -> None:
        """Nobody waits any more."""
        self._is_closed = True
        self._news.set()

    async def wait(self) -> None:
        """Return when no place is empty, but at most ten seconds later."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_WAIT_S):
                while not self._is_closed and sum(not one.ended.done() for one in self._live) < self._places:
                    self._news.clear()
                    await self._news.wait()
