"""One model version's queue and what leaves it: batches to the back end, answers to exactly those who asked."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

from torchgate.contract.back_end import Artifact, BackEnd, Batch, BatchAnswer, BatchItem, BatchLost, ItemAnswer, Slot
from torchgate.contract.clock import Clock
from torchgate.contract.errors import DeadlineExceeded, InvalidRequest, RunTooLong, TorchgateError, WorkerDied
from torchgate.contract.inference import InferenceRequest, InferenceResponse
from torchgate.engine.admission import Room, retry_after_s
from torchgate.engine.batcher import Batcher
from torchgate.engine.deadlines import Deadlines
from torchgate.engine.held_slot import HeldSlot
from torchgate.engine.statistics import Statistics
from torchgate.engine.suspects import Suspects
from torchgate.engine.waiting import ShapeKey, Waiting


class Dispatcher:
    """Takes requests of one version, batches them the moment a replica is free, and scatters the answers.

    Nothing is timed at low load: a request that is alone leaves in the same turn of the loop. Only while others are
    admitted and not yet queued may the head wait for them, at most max_batch_delay_s.

    Args:
        artifact: the version.
        back_end: what runs batches.
        room: of this version; `coming` is read here.
        max_batch_delay_s: seconds.
        clock: monotonic.
        batch_ids: shared by all versions, so that an id is unique in this process.

    Process: the event loop only.
    """

    def __init__(
        self,
        artifact: Artifact,
        back_end: BackEnd,
        room: Room,
        *,
        max_batch_delay_s: float,
        clock: Clock,
        batch_ids: itertools.count[int],
    ) -> None:
        self._artifact = artifact
        self._ref = artifact.ref
        self._back_end = back_end
        self._room = room
        self._clock = clock
        self._batch_ids = batch_ids
        self._batcher = Batcher(artifact.max_batch_size, max_batch_delay_s)
        self._deadlines = Deadlines(self._expired, clock)
        self._suspects = Suspects(self._run_alone)
        self._open_inputs = tuple(
            index for index, spec in enumerate(artifact.signature.inputs) if -1 in spec.shape
        )  # only these can keep two requests from sharing a batch
        self._tasks: set[asyncio.Task[None]] = set()
        self._delay: asyncio.TimerHandle | None = None
        self._is_pump_due = False
        self._unbegun = 0  # batches whose task has not reached the back end yet
        self.statistics = Statistics()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._batcher.requests

    def retry_after_s(self) -> float:
        """What to tell those who are refused."""
        replicas = max(1, self._artifact.replicas)
        return retry_after_s(self.waiting, self.statistics.mean_run_s, self.statistics.mean_requests, replicas)

    async def run(self, request: InferenceRequest, slot: HeldSlot) -> tuple[InferenceResponse, Slot]:
        """Queue, run, and give the answer with the memory where it lies, which the caller must release.

        Raises:
            TorchgateError: as contract.inference.Permit says.
        """
        now = self._clock()
        if request.deadline_at <= now:
            raise self._too_late(request)
        loop = asyncio.get_running_loop()
        waiting = Waiting(request, slot, self._shape_key(request), now, loop.create_future())
        try:
            self._batcher.add(waiting, now)
        except ValueError as error:
            raise InvalidRequest(f"Model '{self._ref.name}' can't take this request: {error}.") from None
        self._deadlines.add(waiting)
        self.wake()
        try:
            response = await waiting.answer
        except asyncio.CancelledError:
            self._abandon(waiting)
            raise
        except TorchgateError:
            self.statistics.failed(waiting, self._clock())
            raise
        finally:
            self._deadlines.remove(waiting)
        self.statistics.answered(waiting, self._clock())
        if waiting.memory is None:
            raise RuntimeError("an answer without its memory. This is a bug.")
        return response, waiting.memory

    def wake(self) -> None:
        """Look at the end of this turn of the loop whether a batch can leave: the turn may bring more rows."""
        if not self._is_pump_due:
            self._is_pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def fail_all(self, error: TorchgateError) -> None:
        """Everybody who waits gets this error; what runs goes on."""
        for waiting in self._batcher.drain():
            waiting.fail(error)

    async def close(self) -> None:
        """Wait for batches that are still with the back end, which must have been stopped or be about to end them."""
        if self._delay is not None:
            self._delay.cancel()
        self._deadlines.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._suspects.close()

    def _shape_key(self, request: InferenceRequest) -> ShapeKey:
        if not self._open_inputs:
            return ()
        return tuple(request.inputs[index].shape[1:] for index in self._open_inputs)

    def _pump(self) -> None:
        """Hand over batches while one is due and a replica is free."""
        self._is_pump_due = False
        while self._batcher.requests and self._back_end.free_replicas(self._ref) > self._unbegun:
            now = self._clock()
            due_at = self._batcher.due_at(company_is_coming=self._room.coming > 0)
            if due_at is not None and due_at > now:
                self._wake_at(due_at, now)
                return
            batch, expired = self._batcher.take(now)
            for waiting in expired:
                waiting.fail(self._too_late(waiting.request))
            if batch:
                for waiting in batch:
                    waiting.slot.hold()
                self._unbegun += 1
                self._start(self._run(batch, now))

    def _wake_at(self, at: float, now: float) -> None:
        if self._delay is None:  # a new head waits longer than an old one: it is never set too late
            self._delay = asyncio.get_running_loop().call_later(at - now, self._delay_over)

    def _delay_over(self) -> None:
        self._delay = None
        self._pump()

    def _start(self, batch: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(batch)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[Waiting], now: float) -> None:
        self._unbegun -= 1
        rows = sum([waiting.request.rows for waiting in batch])
        try:
            answer = await self._hand_over(batch, rows, now, quarantined=False)
        except BatchLost as lost:
            self.wake()
            self._lost(batch, lost)
            return
        except Exception as error:  # noqa: BLE001 - whatever a back end raises, the callers must hear of it
            self.wake()
            _let_go(batch)
            _fail(batch, error)
            return
        _let_go(batch)
        # First the next batch, then these answers: the worker should not wait while we encode.
        self._pump()
        self._scatter(batch, rows, answer)

    async def _hand_over(self, batch: list[Waiting], rows: int, now: float, *, quarantined: bool) -> BatchAnswer:
        for waiting in batch:
            timing = waiting.timing
            waiting.started_at = now
            timing.attempts += 1
            timing.queue_s = now - waiting.accepted_at
            timing.batch_rows = rows
            timing.batch_requests = len(batch)
        items = tuple([BatchItem(waiting.request, waiting.slot.slot) for waiting in batch])
        message = Batch(next(self._batch_ids), self._ref, items, rows)
        answer = await self._back_end.run(message, quarantined=quarantined)
        if len(answer.items) != len(batch):
            raise RuntimeError(f"{len(answer.items)} answers to {len(batch)} requests. This is a bug of the back end.")
        return answer

    def _scatter(self, batch: list[Waiting], rows: int, answer: BatchAnswer) -> None:
        now = self._clock()
        self.statistics.batch_done(batch, rows, answer, now - batch[0].started_at)
        run_s = answer.collate_s + answer.predict_s + answer.split_s
        for waiting, item in zip(batch, answer.items, strict=True):
            waiting.timing.run_s += run_s
            waiting.timing.worker = answer.worker
            if not isinstance(item, ItemAnswer):
                waiting.fail(item)
            elif waiting.answer.done():
                item.memory.release()  # its caller has gone
            else:
                waiting.memory = item.memory
                waiting.answer.set_result(InferenceResponse(item.outputs, item.memory.view, waiting.timing))

    def _lost(self, batch: list[Waiting], lost: BatchLost) -> None:
        """Each request once more, alone; or, where rows must not run twice, the error for all of them."""
        if not self._artifact.idempotent:
            _let_go(batch)
            for waiting in batch:
                waiting.fail(self._guilty(lost))
            return
        for waiting in batch:
            self._suspects.add(waiting)

    async def _run_alone(self, waiting: Waiting) -> None:
        """The second and last attempt of a request whose batch was lost; none where its caller has gone."""
        if waiting.answer.done():
            waiting.slot.let_go()
            return
        now = self._clock()
        try:
            answer = await self._hand_over([waiting], waiting.request.rows, now, quarantined=True)
        except BatchLost as lost:
            waiting.fail(self._guilty(lost))
        except Exception as error:  # noqa: BLE001 - as in _run
            _fail([waiting], error)
        else:
            self._scatter([waiting], waiting.request.rows, answer)
        finally:
            waiting.slot.let_go()

    def _abandon(self, waiting: Waiting) -> None:
        """Its caller has gone: rows that wait never start, an answer that was set in the same turn is dropped."""
        self._batcher.remove(waiting)
        if waiting.memory is not None:
            waiting.memory.release()

    def _expired(self, waiting: Waiting) -> None:
        """Its deadline has passed: the caller hears it now, wherever the rows are."""
        self._batcher.remove(waiting)
        waiting.fail(self._too_late(waiting.request))

    def _too_late(self, request: InferenceRequest) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"The timeout of this request passed before model '{self._ref.name}' version '{self._ref.version}' had "
            "answered it. Allow more time, or try again later.",
            detail=f"request {request.request_id}",
        )

    def _guilty(self, lost: BatchLost) -> TorchgateError:
        name = f"Model '{self._ref.name}' version '{self._ref.version}'"
        if lost.hung:
            return RunTooLong(
                f"{name} ran on this request for more than {self._artifact.max_run_s:g} s and was stopped. "
                "Send less, or ask the model's owner.",
                detail=str(lost),
            )
        again = "It was not run again" if not self._artifact.idempotent else "It was run alone and ended again"
        return WorkerDied(
            f"{name} ended while it ran this request. {again}. Check the input, or ask the model's owner.",
            detail=str(lost),
        )


def _let_go(batch: list[Waiting]) -> None:
    for waiting in batch:
        waiting.slot.let_go()


def _fail(batch: list[Waiting], error: Exception) -> None:
    for waiting in batch:
        if isinstance(error, TorchgateError):
            waiting.fail(error)
        else:
            waiting.fail(TorchgateError("Something went wrong here; the request log has more.", detail=repr(error)))
