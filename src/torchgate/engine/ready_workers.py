"""The workers of a version that can take a batch this moment, and the batches that found none."""

from __future__ import annotations

import asyncio
from collections import deque

from torchgate.contract.errors import TorchgateError
from torchgate.engine.worker_process import WorkerProcess


class ReadyWorkers:
    """First in, first out, on both sides: at most one of them has members."""

    def __init__(self) -> None:
        self._idle: deque[WorkerProcess] = deque()
        self._wanting: deque[asyncio.Future[WorkerProcess]] = deque()

    def __len__(self) -> int:
        return len(self._idle)

    def take_nowait(self) -> WorkerProcess | None:
        """A ready worker, if there is one."""
        return self._idle.popleft() if self._idle else None

    async def take(self) -> WorkerProcess:
        """A ready worker, as soon as there is one.

        Raises:
            TorchgateError: what `refuse` was given.
        """
        future: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self._wanting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.add(future.result())
            raise

    def add(self, worker: WorkerProcess) -> None:
        """It is ready."""
        while self._wanting:
            future = self._wanting.popleft()
            if not future.done():
                future.set_result(worker)
                return
        self._idle.append(worker)

    def remove(self, worker: WorkerProcess) -> None:
        """It is lost."""
        if worker in self._idle:
            self._idle.remove(worker)

    def refuse(self, error: TorchgateError) -> None:
        """Whoever waits gets this error."""
        while self._wanting:
            future = self._wanting.popleft()
            if not future.done():
                future.set_exception(error)
