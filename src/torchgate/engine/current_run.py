"""The batch that a worker runs now: whose memory it touches, who waits for it, and how long it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.clock import Clock
from torchgate.contract.worker_wire import RunDone

_SHORTEST_LOOK_S = 0.001
"""A loop's timers may come up to a millisecond early (uvloop counts in whole ones)."""


class WorkerEnded(Exception):
    """A worker is gone, or never came; the text says how.

    Args:
        hung: it was killed because it outlived a time limit.
    """

    def __init__(self, sentence: str, *, hung: bool = False) -> None:
        super().__init__(sentence)
        self.hung = hung


class RunningBatch(Protocol):
    """Whose memory a run touches, and whose token it is lent."""

    @property
    def token(self) -> CallerToken | None:
        """Open; None: the model has no use for one."""
        ...

    def give_space(self, length: int, reply: Callable[[int, int], None]) -> None:
        """Find room for outputs and call `reply` with offset and length, 0 where there is none; maybe later."""
        ...

    def over(self) -> None:
        """The worker touches the memory no more. Called once, whatever became of the run."""
        ...


class CurrentRun:
    """At most one run at a time.

    Args:
        clock: monotonic.
        on_too_long: called with the limit, in seconds, when a run has outlived it.
    """

    def __init__(self, clock: Clock, on_too_long: Callable[[float], None]) -> None:
        self._clock = clock
        self._on_too_long = on_too_long
        self.batch_id: int | None = None
        self._batch: RunningBatch | None = None
        self._future: asyncio.Future[RunDone] | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._ends_at = float("inf")

    def begin(self, batch_id: int, batch: RunningBatch, max_run_s: float) -> asyncio.Future[RunDone]:
        """A run begins now; the future fails with WorkerEnded when the worker is lost."""
        loop = asyncio.get_running_loop()
        self.batch_id, self._batch, self._future = batch_id, batch, loop.create_future()
        self._ends_at = self._clock() + max_run_s
        if self._watchdog is None:
            self._watchdog = loop.call_later(max_run_s, self._look, max_run_s)
        return self._future

    def give_space(self, length: int, reply: Callable[[int, int], None]) -> None:
        """The model has run and its outputs need room; that there may be none for a while is not its fault."""
        self._ends_at = float("inf")
        if self._batch is not None:
            self._batch.give_space(length, reply)

    def memory_over(self) -> asyncio.Future[RunDone] | None:
        """The worker touches the memory no more; returns who waits for the answer. Safe without a run."""
        batch, future = self._batch, self._future
        self.batch_id = self._batch = self._future = None
        self._ends_at = float("inf")
        if batch is not None:
            batch.over()
        return future

    def lost(self, reason: WorkerEnded) -> None:
        """The worker is lost; its process may live on for a moment, and so the memory stays its own until it does not.

        Args:
            reason: for whoever waits.
        """
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._future is not None and not self._future.done():
            self._future.set_exception(reason)

    def _look(self, max_run_s: float) -> None:
        """Whether the run that is on now has outlived its limit: one timer for all runs of a worker, not one each."""
        self._watchdog = None
        if self.batch_id is None:
            return
        rest_s = self._ends_at - self._clock()
        if rest_s <= 0:
            self._on_too_long(max_run_s)
        else:
            delay_s = min(max(rest_s, _SHORTEST_LOOK_S), max_run_s)
            self._watchdog = asyncio.get_running_loop().call_later(delay_s, self._look, max_run_s)
