"""One model version's queue and what leaves it: batches to the back end, answers to exactly those who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from torchgate.contract.back_end import Artifact, BackEnd, BatchAnswer, BatchLost, Slot
from torchgate.contract.errors import InvalidRequest, TorchgateError
from torchgate.contract.inference import InferenceRequest, InferenceResponse
from torchgate.engine.admission import Room, retry_after_s
from torchgate.engine.alarm import Alarm
from torchgate.engine.batcher import Batcher
from torchgate.engine.callers import Callers
from torchgate.engine.circuits import Circuits
from torchgate.engine.devices import DeviceUser, Started
from torchgate.engine.hand_over import HandOver, fail, let_go, scatter
from torchgate.engine.held_slot import HeldSlot
from torchgate.engine.places import Places
from torchgate.engine.quota_charge import Charge
from torchgate.engine.run_errors import too_late, unexpected
from torchgate.engine.shared import Shared
from torchgate.engine.statistics import Statistics
from torchgate.engine.suspects import Suspects
from torchgate.engine.trial import Trial
from torchgate.engine.waiting import Waiting, batch_key


class Dispatcher:
    """Takes requests of one version, batches them the moment a replica is free, and scatters the answers.

    Nothing is timed at low load: a request that is alone leaves in the same turn of the loop. Only while others are
    admitted and not yet queued may the head wait for them, at most max_batch_delay_s.

    Args:
        artifact: the version.
        back_end: what runs batches.
        room: of this version; `coming` is read here.
        max_batch_delay_s: seconds.
        shared: by all versions.
        circuits: of this version.

    Process: the event loop only.
    """

    def __init__(
        self,
        artifact: Artifact,
        back_end: BackEnd,
        room: Room,
        *,
        max_batch_delay_s: float,
        shared: Shared,
        circuits: Circuits,
    ) -> None:
        self._artifact = artifact
        self._ref = artifact.ref
        self._back_end = back_end
        self._room = room
        self._clock = clock = shared.clock
        self._batcher = Batcher(artifact.max_batch_size, max_batch_delay_s, shared.ratings)
        self.places = Places(artifact.ref, self._batcher, room.max_requests, self.retry_after_s)
        self._callers = Callers(artifact.ref, shared, circuits, self._batcher.remove)
        self._hand_over = HandOver(artifact.activation, back_end, shared.batch_ids)
        self._circuits = circuits
        self._suspects = Suspects(
            artifact,
            self._hand_over,
            circuits,
            on_answer=self._answered,
            on_open=self._callers.refuse,
            on_over=self._batcher.charge,
            clock=clock,
        )
        self._batch_key = batch_key(artifact)
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm = Alarm(self._pump)
        self._device, self._user = shared.devices.of(artifact), DeviceUser(artifact, artifact.device_weight, self._pump)
        self._unbegun = 0  # batches whose task has not reached the back end yet
        self.statistics = Statistics()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._batcher.requests

    def retry_after_s(self) -> float:
        """What to tell those who are refused."""
        known = self.statistics
        return retry_after_s(self.waiting, known.mean_run_s, known.mean_requests, self._artifact.replicas)

    async def run(
        self, request: InferenceRequest, slot: HeldSlot, trial: Trial | None = None, charge: Charge | None = None
    ) -> tuple[InferenceResponse, Slot]:
        """Queue, run, and give the answer with the memory where it lies, which the caller must release.

        Args:
            trial: it was let in to run alone.
            charge: where the time of workers is charged.

        Raises:
            TorchgateError: as contract.inference.Permit says.
        """
        now = self._clock()
        if request.deadline_at <= now:
            raise too_late(self._ref, request)
        loop = asyncio.get_running_loop()
        waiting = Waiting(request, slot, self._batch_key(request), now, loop.create_future(), charge)
        self._put(waiting, trial, now)
        self._callers.add(waiting)
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
            self._callers.remove(waiting)
        self.statistics.answered(waiting, self._clock())
        if waiting.memory is None:
            raise RuntimeError("an answer without its memory. This is a bug.")
        return response, waiting.memory

    def wake(self) -> None:
        """Look at the end of this turn of the loop whether a batch can leave: the turn may bring more rows."""
        self._alarm.soon()

    def fail_all(self, error: TorchgateError) -> None:
        """Everybody who waits gets this error; what runs goes on."""
        for waiting in self._batcher.drain():
            waiting.fail(error)

    def give_up(self, error: TorchgateError) -> None:
        """What runs is about to be ended from outside: who waits, and who loses its run by that, gets this error."""
        self.fail_all(error)
        self._suspects.give_up(error)

    async def close(self, error: TorchgateError) -> None:
        """Wait for batches that are still with the back end, which must have been stopped or be about to end them.

        Args:
            error: for suspects, who will have no second run.
        """
        self._alarm.close()
        self._callers.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._suspects.close(error)
        self._device.leave(self._user)

    def _put(self, waiting: Waiting, trial: Trial | None, now: float) -> None:
        """Into the queue, or where it can hurt nobody."""
        refusal = None if trial is not None else self._circuits.refusal(waiting.request.principal.key, is_within=True)
        if refusal is not None:
            raise refusal
        try:
            if trial is None:
                self.places.check(waiting.request.principal)
                self._batcher.add(waiting, now)
                self.places.make()
            else:
                self._suspects.add_trial(waiting, trial)
        except ValueError as error:
            raise InvalidRequest(f"Model '{self._ref.name}' can't take this request: {error}.") from None

    def _pump(self) -> None:
        """Hand over batches while one is due and a replica is free."""
        while self._batcher.requests and self._back_end.free_replicas(self._artifact.activation) > self._unbegun:
            now = self._clock()
            due_at = self._batcher.due_at(company_is_coming=self._room.coming > 0)
            if due_at is not None and due_at > now:
                self._alarm.after(due_at - now)  # a new head waits longer than an old one: it is never set too late
                return
            if not self._device.may_start(self._user):
                return  # called again when it is its turn
            batch, expired = self._batcher.take(now)
            for waiting in expired:
                waiting.fail(too_late(self._ref, waiting.request))
            for waiting in batch:
                waiting.slot.hold()
            if batch:
                self._unbegun += 1
                self._start(self._run(batch, now, self._device.start(self._user)))

    def _start(self, batch: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(batch)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[Waiting], now: float, started: Started) -> None:
        self._unbegun -= 1
        try:
            answer = await self._hand_over.run(batch, now)
        except BatchLost as lost:
            self._suspects.add_lost(batch, lost)
            self._next_batch(started, self._clock() - now)
            return
        except Exception as error:  # noqa: BLE001 - whatever a back end raises, the callers must hear of it
            self._batcher.settle(batch, 0.0)
            self._next_batch(started, 0.0)
            let_go(batch)
            fail(batch, unexpected(error))
            return
        let_go(batch)
        used_s = answer.collate_s + answer.predict_s + answer.split_s
        self._batcher.settle(batch, used_s)
        # First the next batch, then these answers: the worker should not wait while we encode.
        self._next_batch(started, used_s)
        self._answered(batch, answer)

    def _next_batch(self, started: Started, used_s: float) -> None:
        """One has left the device: the next may be ours or another version's."""
        self._device.end(self._user, started, used_s)
        self._pump()
        self._device.pass_on(self._user)

    def _answered(self, batch: Sequence[Waiting], answer: BatchAnswer) -> None:
        self.statistics.batch_done(batch, answer, self._clock() - batch[0].started_at)
        scatter(batch, answer)

    def _abandon(self, waiting: Waiting) -> None:
        """Its caller has gone: rows that wait never start, an answer that was set in the same turn is dropped."""
        self._batcher.remove(waiting)
        if waiting.memory is not None:
            waiting.memory.release()
