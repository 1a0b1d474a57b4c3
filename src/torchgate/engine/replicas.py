"""The workers that hold one model version: each place kept filled, dead ones replaced, suspects run apart."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from torchgate.contract.back_end import Artifact, Batch, BatchAnswer, BatchLost, StateListener
from torchgate.contract.clock import Clock
from torchgate.contract.errors import BodyTooLarge, ModelNotReady, Overloaded
from torchgate.contract.inference import ModelState
from torchgate.contract.os_services import Child, Section
from torchgate.contract.worker_wire import Load, LoadFailed, WireError
from torchgate.engine.quarantine import Quarantine
from torchgate.engine.running_batch import OutputSpace, PlacedBatch
from torchgate.engine.section_memory import SectionMemory, SectionPiece
from torchgate.engine.settings import EngineSettings
from torchgate.engine.standbys import Standbys
from torchgate.engine.supervisor import RestartBudget
from torchgate.engine.worker_process import LoadRefused, WorkerEnded, WorkerProcess

_log = logging.getLogger("torchgate.engine")

_STOP_GRACE_S = 1.0
"""For a worker that runs nothing to end by itself."""


class Replicas:
    """Everything that one version has in local workers.

    Args:
        artifact: the version.
        section: where all its tensors lie; the first half is for inputs. Closed here.
        standbys: where workers come from.
        settings: restart budget.
        threads: of each worker.
        clock: monotonic.
        listener: told of each change.
        on_lifecycle: told (worker's name, activity, sentence).

    Process: the event loop only.
    """

    def __init__(  # noqa: PLR0913 - each of its parts once, by keyword
        self,
        artifact: Artifact,
        section: Section,
        standbys: Standbys,
        settings: EngineSettings,
        *,
        threads: int,
        clock: Clock,
        listener: StateListener,
        on_lifecycle: Callable[[str, str, str], None],
    ) -> None:
        self.artifact = artifact
        self.standbys = standbys
        self.threads = threads
        self._section = section
        self._clock = clock
        self._listener = listener
        self._on_lifecycle = on_lifecycle
        self._window_s = settings.restart_window_s
        self._budget = RestartBudget(settings.restart_budget, settings.restart_window_s, settings.restart_delay_s)
        half = len(section.view) // 2
        half -= half % 4096
        self._inputs = SectionMemory(section.view, 0, half)
        self._outputs = OutputSpace(
            SectionMemory(section.view, half, len(section.view) - half),
            section.view,
            artifact.signature,
            takes_batches=artifact.max_batch_size > 0,
        )
        self._live: set[WorkerProcess] = set()
        self._idle: deque[WorkerProcess] = deque()
        self._wanting: deque[asyncio.Future[WorkerProcess]] = deque()
        self._vacant: deque[asyncio.Future[WorkerProcess]] = deque()
        self._quarantine = Quarantine(self)
        self._places: list[asyncio.Task[None]] = []
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_served = False
        self._failure = ""
        self._generation = 0
        self._is_stopping = False

    async def start(self) -> None:
        """Fill the places; returns when the first is ready, or the version has failed."""
        self._tell()
        loop = asyncio.get_running_loop()
        self._places = [loop.create_task(self._keep(index)) for index in range(self.artifact.replicas)]
        await asyncio.shield(self._settled)

    def reserve(self, length: int) -> SectionPiece:
        """Memory for the inputs of one request.

        Raises:
            Overloaded, BodyTooLarge: as contract.back_end.BackEnd says.
        """
        piece = self._inputs.take(length)
        if piece is not None:
            return piece
        name = f"Model '{self.artifact.ref.name}' version '{self.artifact.ref.version}'"
        if length > self._inputs.length:
            raise BodyTooLarge(
                f"{name} has {self._inputs.length} bytes for inputs; this request has {length}. Send fewer rows."
            )
        raise Overloaded(f"{name} has no memory for inputs of {length} bytes now. Try again.", retry_after_s=1.0)

    def free(self) -> int:
        """Workers that could take a batch this moment."""
        return len(self._idle)

    async def run(self, batch: Batch, *, quarantined: bool) -> BatchAnswer:
        """Run a batch. Takes a free worker before it waits for anything, if there is one.

        Raises:
            BatchLost, ModelNotReady: as contract.back_end.BackEnd says.
        """
        if quarantined:
            return await self._quarantine.run(batch)
        worker = self._idle.popleft() if self._idle else await self._next_idle()
        return await self.run_on(worker, batch, self._became_idle)

    async def run_on(
        self, worker: WorkerProcess, batch: Batch, on_idle: Callable[[WorkerProcess], None]
    ) -> BatchAnswer:
        """Run a batch on a worker that is ready.

        Raises:
            BatchLost: see there.
        """
        placed = PlacedBatch(batch, self._outputs)
        name = worker.name
        try:
            done = await worker.run(placed.message(), placed, self.artifact.max_run_s, on_idle)
            return placed.answer(done, name)
        except WireError as error:
            worker.misbehaved(f"answered wrongly ({error})")
            raise BatchLost(hung=False, worker=name) from None
        except WorkerEnded as error:
            raise BatchLost(hung=error.hung, worker=name) from None
        finally:
            placed.forget()

    async def load(self, worker: WorkerProcess, place: str) -> None:
        """Have a standby load the version.

        Args:
            place: `0`, `1` …, or `q` in quarantine; with the generation it names the worker.

        Raises:
            LoadRefused: it can't. WorkerEnded: it ended meanwhile.
        """
        self._generation += 1
        name = f"{self.artifact.ref}/{place}#{self._generation}"
        answer = await worker.load(name, self._load_message, self.artifact.load_timeout_s)
        if isinstance(answer, LoadFailed):
            if answer.detail:
                _log.warning("%s: %s", name, answer.detail)
            stopping = asyncio.get_running_loop().create_task(worker.stop(_STOP_GRACE_S))
            stopping.add_done_callback(lambda _: None)
            raise LoadRefused(answer.reason)

    def promote(self, worker: WorkerProcess) -> bool:
        """Give a loaded worker to a place that still waits for one; False if none does."""
        while self._vacant:
            place = self._vacant.popleft()
            if not place.done():
                place.set_result(worker)
                return True
        return False

    def not_ready(self) -> ModelNotReady:
        """Why nothing can run now."""
        ref = self.artifact.ref
        return ModelNotReady(
            f"Model '{ref.name}' version '{ref.version}' can't run this now. Ask whoever runs this server.",
            detail=self._failure,
        )

    async def stop(self, grace_s: float) -> None:
        """End all workers after what they run, but at most so much later; then free the memory."""
        self._is_stopping = True
        for place in self._places:
            place.cancel()
        while self._wanting:
            future = self._wanting.popleft()
            if not future.done():
                future.set_exception(self.not_ready())
        workers = [*self._live, *self._quarantine.workers()]
        await asyncio.gather(*(worker.stop(grace_s) for worker in workers))
        if self._places:
            await asyncio.wait(self._places)
        self._quarantine.close()
        if not self._settled.done():
            self._settled.set_result(None)
        try:
            self._section.close()
        except BufferError:
            # Somebody still reads an answer; the memory goes with the last view of it.
            _log.debug("the section of %s is still looked at", self.artifact.ref)

    async def _keep(self, index: int) -> None:
        """Keep one place filled, for as long as the version is loaded."""
        try:
            while True:
                try:
                    worker = await self._fill(str(index))
                except (LoadRefused, WorkerEnded) as error:
                    if not self._has_served:
                        self._fail(str(error))
                        return
                    _log.error("%s: a replacement came to nothing: %s", self.artifact.ref, error)
                else:
                    self._joined(worker)
                    reason = await asyncio.shield(worker.ended)
                    self._left(worker, str(reason))
                await asyncio.sleep(self._wait_before_restart())
        finally:
            if not self._places or all(place.done() for place in self._places):
                self._settle()

    async def _fill(self, place: str) -> WorkerProcess:
        """A worker with the model: a fresh one that loads it, or one that quarantine can spare."""
        promoted: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        fresh = self.standbys.request(self.threads)
        self._vacant.append(promoted)
        try:
            await asyncio.wait({promoted, fresh}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if promoted in self._vacant:
                self._vacant.remove(promoted)
            if not fresh.done() or promoted.done():
                self.standbys.withdraw(fresh, self.threads)
        if promoted.done():
            return promoted.result()
        worker = fresh.result()
        try:
            await self.load(worker, place)
        except asyncio.CancelledError:
            worker.kill()
            raise
        return worker

    def _wait_before_restart(self) -> float:
        now = self._clock()
        delay_s = self._budget.died(now)
        if delay_s is not None:
            return delay_s
        self._failure = (
            f"its workers died {self._budget.deaths(now)} times within {self._window_s:g} s, more than "
            f"engine.restart_budget allows; the next attempt comes in {self._window_s:g} s. See the log for their last "
            "words."
        )
        self._tell()
        return self._window_s

    def _joined(self, worker: WorkerProcess) -> None:
        self._live.add(worker)
        self._has_served = True
        self._failure = ""
        _log.info("%s is ready (process %d)", worker.name, worker.pid)
        self._on_lifecycle(worker.name, "start", f"Worker {worker.name} is ready as process {worker.pid}.")
        self._became_idle(worker)
        self._tell()
        self._settle()

    def _left(self, worker: WorkerProcess, reason: str) -> None:
        self._live.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if not self._is_stopping:
            _log.warning("%s; it is replaced", reason)
            self._on_lifecycle(worker.name, "failure", f"{reason}.")
            self._tell()

    def worker_ended(self, worker: WorkerProcess) -> None:
        """Called at once when a worker is lost: it must not be given another batch."""
        if worker in self._idle:
            self._idle.remove(worker)

    def _became_idle(self, worker: WorkerProcess) -> None:
        while self._wanting:
            future = self._wanting.popleft()
            if not future.done():
                future.set_result(worker)
                return
        self._idle.append(worker)

    async def _next_idle(self) -> WorkerProcess:
        if self._failure or self._is_stopping:
            raise self.not_ready()
        future: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self._wanting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._became_idle(future.result())
            raise

    def _load_message(self, child: Child) -> Load:
        artifact = self.artifact
        return Load(
            model=artifact.ref.name,
            version=artifact.ref.version,
            format=artifact.format,
            folder=artifact.folder,
            entry=artifact.entry,
            signature=artifact.signature,
            max_batch_size=artifact.max_batch_size,
            device=artifact.device,
            parameters=artifact.parameters,
            warm_up=artifact.warm_up,
            section_token=child.hand_over(self._section),
            section_length=len(self._section.view),
            idempotent=artifact.idempotent,
        )

    def _fail(self, reason: str) -> None:
        if not self._failure:
            self._failure = reason
            self._tell()
        self._settle()

    def _settle(self) -> None:
        if not self._settled.done():
            self._settled.set_result(None)

    def _tell(self) -> None:
        ready = len(self._live)
        state: ModelState = "ready" if self._has_served else "loading"
        if self._failure and not ready:
            state = "failed"
            while self._wanting:
                future = self._wanting.popleft()
                if not future.done():
                    future.set_exception(self.not_ready())
        self._listener(self.artifact.ref, state, self._failure if state == "failed" else "", ready)
