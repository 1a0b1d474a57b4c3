"""A batch on its way to the back end, and its answers on their way to exactly those who asked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import msgspec

from torchgate.contract.back_end import BackEnd, Batch, BatchAnswer, BatchItem, ItemAnswer
from torchgate.contract.errors import TorchgateError
from torchgate.contract.inference import InferenceResponse
from torchgate.engine.compute_bill import bill
from torchgate.engine.waiting import Waiting


class HandOver:
    """Gives batches of one version to the back end.

    Args:
        activation: of the version, as its artifact says.
        back_end: what runs them.
        batch_ids: shared by all versions, so that an id is unique in this process.
    """

    def __init__(self, activation: int, back_end: BackEnd, batch_ids: itertools.count[int]) -> None:
        self._activation = activation
        self._back_end = back_end
        self._batch_ids = batch_ids

    async def run(
        self, batch: Sequence[Waiting], now: float, *, quarantined: bool = False, can_wait: bool = False
    ) -> BatchAnswer:
        """Note the time, and run it. Nothing is awaited before the back end has it.

        Raises:
            BatchLost, TorchgateError: as contract.back_end.BackEnd says.
        """
        rows = sum([waiting.request.rows for waiting in batch])
        for waiting in batch:
            timing = waiting.timing
            waiting.started_at = now
            timing.attempts += 1
            timing.queue_s = now - waiting.accepted_at
            timing.batch_rows = rows
            timing.batch_requests = len(batch)
        items = tuple([BatchItem(waiting.request, waiting.slot.slot) for waiting in batch])
        message = Batch(next(self._batch_ids), self._activation, items, rows)
        answer = await self._back_end.run(message, quarantined=quarantined, can_wait=can_wait)
        if len(answer.items) != len(batch):
            raise RuntimeError(f"{len(answer.items)} answers to {len(batch)} requests. This is a bug of the back end.")
        run_s = answer.collate_s + answer.predict_s + answer.split_s
        if not 0.0 <= run_s < math.inf:  # a worker measured it, and a broken one must break no count of ours
            return msgspec.structs.replace(answer, collate_s=0.0, predict_s=0.0, split_s=0.0)
        return answer


def scatter(batch: Sequence[Waiting], answer: BatchAnswer) -> None:
    """Each caller its own answer, and its share of the time; the memory of those who have gone is given back."""
    run_s = answer.collate_s + answer.predict_s + answer.split_s
    bill(batch, run_s)
    for waiting, item in zip(batch, answer.items, strict=True):
        waiting.timing.run_s += run_s
        waiting.timing.worker = answer.worker
        if not isinstance(item, ItemAnswer):
            waiting.fail(item)
        elif waiting.answer.done():
            item.memory.release()
        else:
            waiting.memory = item.memory
            memory = item.memory
            waiting.answer.set_result(InferenceResponse(item.outputs, memory.view, waiting.timing, memory.place))


def let_go(batch: Sequence[Waiting]) -> None:
    """No run will read the inputs of these any more."""
    for waiting in batch:
        waiting.slot.let_go()


def fail(batch: Sequence[Waiting], error: TorchgateError) -> None:
    """All of them get this error."""
    for waiting in batch:
        waiting.fail(error)
