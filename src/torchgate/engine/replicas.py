"""The workers that hold one model version: each place kept filled, dead ones replaced, suspects run apart."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from torchgate.contract.back_end import Batch, BatchAnswer, StateListener
from torchgate.contract.clock import Clock
from torchgate.contract.errors import ModelNotReady
from torchgate.contract.inference import ModelState
from torchgate.contract.worker_limits import Enforcement
from torchgate.engine.current_run import WorkerEnded
from torchgate.engine.full_house import FullHouse
from torchgate.engine.quarantine import Quarantine
from torchgate.engine.ready_workers import ReadyWorkers
from torchgate.engine.section_memory import SectionPiece
from torchgate.engine.settings import EngineSettings
from torchgate.engine.supervisor import RestartBudget
from torchgate.engine.version_workers import VersionWorkers
from torchgate.engine.worker_process import LoadRefused, WorkerProcess

_log = logging.getLogger("torchgate.engine")


class Replicas:
    """Everything that one version has in local workers.

    Args:
        workers: how one comes to hold the version; closed here.
        settings: restart budget.
        clock: monotonic.
        listener: told of each change.
        on_lifecycle: told (worker's name, activity, sentence).

    Process: the event loop only.
    """

    def __init__(
        self,
        workers: VersionWorkers,
        settings: EngineSettings,
        *,
        clock: Clock,
        listener: StateListener,
        on_lifecycle: Callable[[str, str, str], None],
    ) -> None:
        self.artifact = workers.artifact
        self.ready = ReadyWorkers()
        self.live: set[WorkerProcess] = set()
        self._workers = workers
        self._clock = clock
        self._listener = listener
        self._on_lifecycle = on_lifecycle
        self._window_s = settings.restart_window_s
        self._budget = RestartBudget(settings.restart_budget, settings.restart_window_s, settings.restart_delay_s)
        self._vacant: deque[asyncio.Future[WorkerProcess]] = deque()
        self._quarantine = Quarantine(workers, self._promote)
        self._full_house = FullHouse(self.live, workers.artifact.replicas)
        self._places: list[asyncio.Task[None]] = []
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_served = False
        self._failure = ""

    async def start(self) -> None:
        """Fill the places; returns when the first is ready, or the version has failed."""
        self._tell()
        loop = asyncio.get_running_loop()
        self._places = [loop.create_task(self._keep(index)) for index in range(self.artifact.replicas)]
        await asyncio.shield(self._settled)

    @property
    def held(self) -> tuple[Enforcement, ...]:
        """How limits of the workers are held."""
        return self._workers.held

    def reserve(self, length: int) -> SectionPiece:
        """Memory for the inputs of one request, as VersionMemory.reserve says."""
        return self._workers.memory.reserve(length)

    async def run(self, batch: Batch, *, quarantined: bool, can_wait: bool) -> BatchAnswer:
        """Run a batch. Takes a ready worker before it waits for anything, if there is one.

        Raises:
            BatchLost, ModelNotReady: as contract.back_end.BackEnd says.
        """
        if quarantined:
            if can_wait:
                await self._full_house.wait()
            return await self._quarantine.run(batch)
        worker = self.ready.take_nowait()
        if worker is None:
            if self._failure and not self.live:
                raise self._not_ready()
            worker = await self.ready.take()
        return await self._workers.run_on(worker, batch, self.ready.add)

    def _promote(self, worker: WorkerProcess) -> bool:
        """Give a loaded worker to a place that still waits for one; False if none does."""
        while self._vacant:
            place = self._vacant.popleft()
            if not place.done():
                place.set_result(worker)
                return True
        return False

    async def stop(self, grace_s: float) -> None:
        """End all workers after what they run, but at most so much later; then free the memory."""
        for place in self._places:
            place.cancel()
        self._full_house.close()
        self.ready.refuse(self._not_ready())
        workers = [*self.live, *self._quarantine.workers()]
        await asyncio.gather(*(worker.stop(grace_s) for worker in workers))
        if self._places:
            await asyncio.wait(self._places)
        self._quarantine.close()
        self._settle()
        await self._workers.close()

    async def _keep(self, index: int) -> None:
        """Keep one place filled, for as long as the version is loaded."""
        while await self._live_once(str(index)):  # noqa: ASYNC110 - the sleep is a wait before a restart, not a poll
            await asyncio.sleep(self._wait_before_restart())

    async def _live_once(self, place: str) -> bool:
        """One worker of a place from its beginning to its end; False when there must be no other after it."""
        try:
            worker = await self._fill(place)
        except (LoadRefused, WorkerEnded) as error:
            if self._has_served:
                _log.error("%s: a replacement came to nothing: %s", self.artifact.ref, error)
                return True
            # The first attempt tells: what can't be loaded once can't be loaded the next time either.
            self._failure = self._failure or str(error)
            self._tell()
            self._settle()
            return False
        self._joined(worker)
        reason = await asyncio.shield(worker.ended)
        self._left(worker, str(reason))
        return True

    async def _fill(self, place: str) -> WorkerProcess:
        """A worker with the model: a fresh one that loads it, or one that quarantine can spare."""
        spare = self._quarantine.take_spare()
        if spare is not None:
            return spare
        promoted: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        fresh = self._workers.request()
        self._vacant.append(promoted)
        try:
            await asyncio.wait({promoted, fresh}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._workers.withdraw(fresh)
            if promoted.done():
                self._workers.end(promoted.result())
            raise
        finally:
            if promoted in self._vacant:
                self._vacant.remove(promoted)
        if promoted.done():
            self._workers.withdraw(fresh)
            return promoted.result()
        worker = fresh.result()
        try:
            await self._workers.load(worker, place)
        except asyncio.CancelledError:
            worker.kill()
            raise
        return worker

    def _wait_before_restart(self) -> float:
        now = self._clock()
        delay_s = self._budget.died(now)
        if delay_s is not None:
            return delay_s if self.live else 0.0  # where nothing else serves, the budget alone is the bound
        self._failure = (
            f"its workers died {self._budget.deaths(now)} times within {self._window_s:g} s, more than "
            f"engine.restart_budget allows; the next attempt comes in {self._window_s:g} s. See the log for their last "
            "words."
        )
        self._tell()
        return self._window_s

    def _joined(self, worker: WorkerProcess) -> None:
        self.live.add(worker)
        self._full_house.joined()
        self._has_served = True
        self._failure = ""
        _log.info("%s is ready (process %d)", worker.name, worker.pid)
        self._on_lifecycle(worker.name, "start", f"Worker {worker.name} is ready as process {worker.pid}.")
        self.ready.add(worker)
        self._tell()
        self._settle()

    def _left(self, worker: WorkerProcess, reason: str) -> None:
        self.live.discard(worker)
        self.ready.remove(worker)
        _log.warning("%s; it is replaced", reason)
        self._on_lifecycle(worker.name, "failure", f"{reason}.")
        self._tell()

    def _not_ready(self) -> ModelNotReady:
        """Why nothing can run now."""
        ref = self.artifact.ref
        return ModelNotReady(
            f"Model '{ref.name}' version '{ref.version}' can't run this now. Ask whoever runs this server.",
            detail=self._failure,
        )

    def _settle(self) -> None:
        if not self._settled.done():
            self._settled.set_result(None)

    def _tell(self) -> None:
        ready = len(self.live)
        state: ModelState = "ready" if self._has_served else "loading"
        if self._failure and not ready:
            state = "failed"
            self.ready.refuse(self._not_ready())
        self._listener(state, self._failure if state == "failed" else "", ready)
