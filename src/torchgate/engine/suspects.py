"""Requests that run alone: those whose batch was lost, once more; and those on trial, for the first time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from torchgate.contract.back_end import Artifact, BatchAnswer, BatchLost
from torchgate.contract.clock import Clock
from torchgate.contract.errors import TorchgateError
from torchgate.engine.circuits import Circuits
from torchgate.engine.compute_bill import bill_guilty, bill_lost, judge
from torchgate.engine.hand_over import HandOver, fail, let_go
from torchgate.engine.lost_batch import LostBatch
from torchgate.engine.run_errors import guilty, unexpected
from torchgate.engine.trial import Trial, Verdict
from torchgate.engine.waiting import Waiting

_UNSUSPICIOUS, _SUSPICIOUS, _ON_TRIAL = range(3)


class Suspects:
    """Runs one after the other, alone.

    Who has never offended runs first, so that a known offender's rows, which may cost the worker its life, keep no
    companion waiting for the next one; trials come last, because their batch was never taken from anybody.

    Args:
        artifact: the version.
        hand_over: to the back end.
        circuits: of the version.
        on_answer: given a suspect that has proven harmless, alone, and its answer.
        on_open: given the key of a principal whose circuit opens.
        on_over: given each that was lost, once, and the seconds that its second run took; 0 where it had none.
        clock: monotonic.
    """

    def __init__(  # noqa: PLR0913 - what it needs, each once, by keyword
        self,
        artifact: Artifact,
        hand_over: HandOver,
        circuits: Circuits,
        *,
        on_answer: Callable[[Sequence[Waiting], BatchAnswer], None],
        on_open: Callable[[str], None],
        on_over: Callable[[Waiting, float], None],
        clock: Clock,
    ) -> None:
        self._artifact = artifact
        self._hand_over = hand_over
        self._circuits = circuits
        self._on_answer = on_answer
        self._on_open = on_open
        self._on_over = on_over
        self._clock = clock
        self._lines: tuple[deque[_Suspect], ...] = (deque(), deque(), deque())
        self._task: asyncio.Task[None] | None = None
        self._end: TorchgateError | None = None

    def add_lost(self, batch: Sequence[Waiting], lost: BatchLost) -> None:
        """Run each of them once more; or, where rows must not run twice, all of them get the error.

        Their slots are held, and let go after their run.
        """
        bill_lost(batch, self._artifact, self._clock())
        if self._end is not None or not self._artifact.idempotent:
            let_go(batch)
            self._over(batch)
            fail(batch, self._end or guilty(self._artifact, lost))
            if self._end is not None:
                return
            keys = {waiting.request.principal.key for waiting in batch}
            self._judge(keys.pop() if len(keys) == 1 else None)  # of several nobody can tell who it was
            return
        together = LostBatch(batch, lost)
        for waiting in batch:
            self._add(_Suspect(waiting, together))

    def add_trial(self, waiting: Waiting, trial: Trial) -> None:
        """Run it for the first time; its slot is held from here, and let go after its run.

        Raises:
            ValueError: it has more rows than any batch may have.
        """
        most = max(1, self._artifact.max_batch_size)
        if not 1 <= waiting.request.rows <= most:
            raise ValueError(f"{waiting.request.rows} rows; a batch has 1 to {most}")
        waiting.slot.hold()
        waiting.trial = trial
        trial.is_in_line = True
        self._add(_Suspect(waiting, None))

    def give_up(self, error: TorchgateError) -> None:
        """Nothing will run any more, and what is lost from here is nobody's fault: all get this error."""
        self._end = error
        for line in self._lines:
            while line:
                waiting = line.popleft().waiting
                waiting.slot.let_go()
                self._over([waiting])
                judge(waiting, "unknown")
                waiting.fail(error)

    async def close(self, error: TorchgateError) -> None:
        """Return when the one that runs has ended; the others get this error."""
        self.give_up(error)
        if self._task is not None:
            await asyncio.wait([self._task])

    def _add(self, suspect: _Suspect) -> None:
        self._lines[self._rank(suspect.waiting)].append(suspect)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    def _rank(self, waiting: Waiting) -> int:
        if waiting.trial is not None:
            return _ON_TRIAL
        return _SUSPICIOUS if self._circuits.is_suspicious(waiting.request.principal.key) else _UNSUSPICIOUS

    async def _work(self) -> None:
        rank = _UNSUSPICIOUS
        while (suspect := self._next()) is not None:
            if (now_rank := self._rank(suspect.waiting)) > rank:
                # The back end may take what ran the harmless for other work: what comes now may end it.
                await asyncio.sleep(0)
            rank = now_rank
            started_at = self._clock()
            try:
                await self._try(suspect, can_wait=rank > _UNSUSPICIOUS)
            finally:
                suspect.waiting.slot.let_go()
                judge(suspect.waiting, "unknown")  # where it was not judged before
                # An answer says what it took; the guilty pays for all the time that it kept a worker.
                self._on_over(suspect.waiting, suspect.waiting.timing.run_s or self._clock() - started_at)
        self._task = None

    def _next(self) -> _Suspect | None:
        """The next one; who has become suspicious since it came stands behind those who have not."""
        for rank, line in enumerate(self._lines):
            while line:
                suspect = line.popleft()
                rank_now = self._rank(suspect.waiting)
                if rank_now <= rank:
                    return suspect
                self._lines[rank_now].append(suspect)
        return None

    async def _try(self, suspect: _Suspect, *, can_wait: bool) -> None:
        waiting = suspect.waiting
        refusal = None
        if waiting.trial is None:
            refusal = self._circuits.refusal(waiting.request.principal.key, is_within=True)
        if refusal is not None:
            waiting.fail(refusal)
        if waiting.answer.done():  # or its caller has gone
            self._judge(suspect.untried())
            return
        try:
            answer = await self._hand_over.run([waiting], self._clock(), quarantined=True, can_wait=can_wait)
        except BatchLost as lost:
            bill_guilty(waiting, self._artifact, self._clock())
            waiting.fail(self._end or guilty(self._artifact, lost))
            if self._end is None:
                suspect.guilty()
                self._judge(waiting.request.principal.key)
        except Exception as error:  # noqa: BLE001 - whatever a back end raises, the caller must hear of it
            waiting.fail(unexpected(error))
            self._judge(suspect.untried())
        else:
            judge(waiting, "innocent")
            self._on_answer([waiting], answer)
            self._judge(suspect.harmless())

    def _over(self, batch: Sequence[Waiting]) -> None:
        for waiting in batch:
            self._on_over(waiting, 0.0)

    def _judge(self, guilty_key: str | None) -> None:
        """A request of this principal ended what ran it."""
        if guilty_key is not None and self._circuits.offended(guilty_key):
            self._on_open(guilty_key)


class _Suspect:
    """A request that is to run alone.

    Args:
        waiting: itself.
        together: with whom it was lost; None: it is on trial.
    """

    __slots__ = ("together", "waiting")

    def __init__(self, waiting: Waiting, together: LostBatch | None) -> None:
        self.waiting = waiting
        self.together = together

    def harmless(self) -> str | None:
        """It ran to its end. Returns a principal that by this must have been the guilty one."""
        if self.waiting.trial is not None:
            self.waiting.trial.end(Verdict.HARMLESS)
        return self.together.harmless() if self.together is not None else None

    def guilty(self) -> None:
        """It ended what ran it."""
        if self.waiting.trial is not None:
            self.waiting.trial.end(Verdict.GUILTY)
        if self.together is not None:
            self.together.guilty()

    def untried(self) -> str | None:
        """It did not run."""
        if self.waiting.trial is not None:
            self.waiting.trial.end(Verdict.NOTHING)
        return self.together.untried(self.waiting) if self.together is not None else None
