"""Loadings on their way out: they take nothing more, finish what they have, and give everything back."""

from __future__ import annotations

import asyncio

from torchgate.engine.memory_budget import MemoryBudget
from torchgate.engine.served_version import ServedVersion


class Leaving:
    """Those that are leaving now.

    Args:
        budget: where their memory is counted until they are gone.

    Process: the event loop only.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._tasks: set[asyncio.Task[None]] = set()
        self.versions: set[ServedVersion] = set()

    def begin(self, version: ServedVersion, why: str) -> asyncio.Task[None]:
        """Take it out of service: no new request goes to it from this moment on. The task ends when it is gone.

        Args:
            why: its reason from then on.
        """
        version.begin_leaving(why)
        self.versions.add(version)
        task = asyncio.get_running_loop().create_task(self._finish(version, why))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Wait for all of them; their requests must have been ended, or be about to."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _finish(self, version: ServedVersion, why: str) -> None:
        try:
            await version.leave_service(version.entry.max_timeout_s, why)
        finally:
            self._budget.give_back(version.artifact.activation)
            self.versions.discard(version)
