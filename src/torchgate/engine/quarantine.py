"""The worker that runs suspected rows, one request at a time, outside the restart budget."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from torchgate.contract.back_end import Batch, BatchAnswer
from torchgate.contract.errors import Unavailable
from torchgate.engine.current_run import WorkerEnded
from torchgate.engine.version_workers import VersionWorkers
from torchgate.engine.worker_process import LoadRefused, WorkerProcess
from torchgate.engine.worker_states import WorkerState

_log = logging.getLogger("torchgate.engine")

_ATTEMPTS = 3
"""To get a worker that lives until the suspect runs; its deadline bounds them all."""

_LINGER_S = 5.0
"""How long it waits for further suspects; where one comes, more often follow."""


class Quarantine:
    """At most one worker, made when it is needed.

    When its suspects have proven harmless and the dead worker's place is still empty, it takes that place: so that one
    standby serves for both.

    Args:
        workers: how one comes to hold the version.
        promote: gives a loaded worker to an empty place; False where none is empty.
    """

    def __init__(self, workers: VersionWorkers, promote: Callable[[WorkerProcess], bool]) -> None:
        self._workers = workers
        self._promote = promote
        self._worker: WorkerProcess | None = None
        self._coming: WorkerProcess | None = None
        self._turn = asyncio.Lock()
        self._linger: asyncio.Handle | None = None

    async def run(self, batch: Batch) -> BatchAnswer:
        """Run one request's batch alone.

        Raises:
            BatchLost: it is guilty. Unavailable: no worker could be had, so that it did not run.
        """
        async with self._turn:
            self._stay()
            worker = await self._ready_worker()
            try:
                return await self._workers.run_on(worker, batch, lambda _: None)
            finally:
                loop = asyncio.get_running_loop()
                self._linger = loop.call_soon(self._spare)

    def workers(self) -> list[WorkerProcess]:
        """The one that there is, for stopping it."""
        return [worker for worker in (self._worker, self._coming) if worker is not None]

    def close(self) -> None:
        """No timer of it is left."""
        self._stay()

    async def _ready_worker(self) -> WorkerProcess:
        """The worker, or a new one. One that dies before the suspect ran proves nothing: another is tried."""
        worker = self._worker
        if worker is not None and worker.state is WorkerState.READY:
            return worker
        self._worker = None
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._loaded_worker()
            except WorkerEnded as error:
                _log.warning("%s; quarantine tries another worker", error)
        try:
            return await self._loaded_worker()
        except WorkerEnded as error:
            raise _none_to_be_had(error) from None

    async def _loaded_worker(self) -> WorkerProcess:
        requested = self._workers.request(is_urgent=True)
        try:
            worker = self._coming = await requested
            await self._workers.load(worker, "q")
        except asyncio.CancelledError:
            self._workers.withdraw(requested)
            raise
        except LoadRefused as error:
            raise _none_to_be_had(error) from None
        finally:
            self._coming = None
        self._worker = worker
        return worker

    def take_spare(self) -> WorkerProcess | None:
        """The worker, where it waits for nothing but further suspects: a place needs it more."""
        worker = self._worker
        if self._turn.locked() or worker is None or worker.state is not WorkerState.READY:
            return None
        self._stay()
        self._worker = None
        return worker

    def _spare(self) -> None:
        """No further suspect came in this turn: the worker may be of better use."""
        worker = self.take_spare()
        if worker is not None and not self._promote(worker):
            self._worker = worker
            self._linger = asyncio.get_running_loop().call_later(_LINGER_S, self._end)

    def _end(self) -> None:
        self._linger = None
        worker, self._worker = self._worker, None
        if worker is not None:
            self._workers.end(worker)

    def _stay(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None


def _none_to_be_had(error: LoadRefused | WorkerEnded) -> Unavailable:
    """The request has not run, and it is not its fault."""
    return Unavailable(
        "The worker that ran this request died, and no other could be had. Try again later.",
        detail=str(error),
        retry_after_s=5.0,
    )
