"""Who pays for a worker's time: each row of a batch its share; for a lost batch those who lost it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torchgate.contract.back_end import Artifact
from torchgate.engine.waiting import Waiting

Verdict = Literal["guilty", "innocent", "unknown"]


def bill(batch: Sequence[Waiting], run_s: float) -> None:
    """Charge the time of a batch to its requests by their rows, whether or not anybody waits for them still.

    Args:
        run_s: seconds.
    """
    charged = [waiting for waiting in batch if waiting.charge is not None]
    if not charged or run_s <= 0.0:
        return
    per_row_s = run_s / max(1, sum([waiting.request.rows for waiting in batch]))
    for waiting in charged:
        if waiting.charge is not None:
            waiting.charge.take_compute(per_row_s * waiting.request.rows)


def bill_lost(batch: Sequence[Waiting], artifact: Artifact, now: float) -> None:
    """Charge the time of a batch that was lost: at once where its rows must not run again, else by what they prove.

    What is charged is what the worker had: never more than the model's max_run_s, however late we hear of it.
    """
    run_s = min(now - batch[0].started_at, artifact.max_run_s)
    if not artifact.idempotent:
        bill(batch, run_s)
    elif any(waiting.charge is not None for waiting in batch):
        LostTime(batch, run_s)


def bill_guilty(waiting: Waiting, artifact: Artifact, now: float) -> None:
    """Charge a suspect that ended its quarantine worker, and the loss of its batch to it."""
    bill([waiting], min(now - waiting.started_at, artifact.max_run_s))
    judge(waiting, "guilty")


class LostTime:
    """The time of a batch that was lost, until it is known who lost it.

    The companions of a row that hangs must not pay for it: whoever can get into a batch with others could otherwise
    use up their quotas. So those who prove guilty alone in quarantine pay; if none does, those who could not be
    tried; if all are innocent, all of them.

    Args:
        batch: all will get a verdict.
        run_s: from the hand-over to the loss.
    """

    def __init__(self, batch: Sequence[Waiting], run_s: float) -> None:
        self._run_s = run_s
        self._pending = len(batch)
        self._by_verdict: dict[Verdict, list[Waiting]] = {"guilty": [], "unknown": [], "innocent": []}
        for waiting in batch:
            waiting.lost_time = self

    def judge(self, waiting: Waiting, verdict: Verdict) -> None:
        """One of them has been tried, or can't be any more; after the last one the time is charged."""
        waiting.lost_time = None
        self._by_verdict[verdict].append(waiting)
        self._pending -= 1
        if not self._pending:
            payers = next(some for some in self._by_verdict.values() if some)
            bill(payers, self._run_s)


def judge(waiting: Waiting, verdict: Verdict) -> None:
    """Settle what a suspect has to do with the loss of its batch."""
    if waiting.lost_time is not None:
        waiting.lost_time.judge(waiting, verdict)
