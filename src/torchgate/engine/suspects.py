"""Requests whose batch was lost, run once more, one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from torchgate.engine.waiting import Waiting


class Suspects:
    """Runs one suspect after the other.

    Args:
        run_alone: runs one and answers its caller, or lets it go where that has gone; never raises.
    """

    def __init__(self, run_alone: Callable[[Waiting], Awaitable[None]]) -> None:
        self._run_alone = run_alone
        self._line: deque[Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, waiting: Waiting) -> None:
        """Put it at the end of the line."""
        self._line.append(waiting)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Return when the one that runs has ended; the others are left to their deadlines or to `fail`."""
        while self._line:
            self._line.popleft().slot.let_go()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        while self._line:
            await self._run_alone(self._line.popleft())
        self._task = None
