"""One timer for the deadlines of all requests of a model version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from torchgate.contract.clock import Clock
from torchgate.engine.waiting import Waiting

_EARLY_S = 0.001
"""A loop's timers may come up to a millisecond early (uvloop counts in whole ones)."""


class Deadlines:
    """Calls back when a deadline passes.

    Nearly all requests end long before theirs. So adding one costs a comparison, and removing one nothing: the timer
    stands at or before the earliest deadline, and looks at all that are there when it comes.

    Args:
        on_expired: called once for each that is still there at its deadline; it is removed already.
        clock: monotonic.
    """

    def __init__(self, on_expired: Callable[[Waiting], None], clock: Clock) -> None:
        self._on_expired = on_expired
        self._clock = clock
        self._waiting: set[Waiting] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def add(self, waiting: Waiting) -> None:
        """Watch its deadline."""
        self._waiting.add(waiting)
        if waiting.request.deadline_at < self._timer_at:
            self._set_timer(waiting.request.deadline_at)

    def remove(self, waiting: Waiting) -> None:
        """Watch it no more."""
        self._waiting.discard(waiting)

    def watched(self) -> tuple[Waiting, ...]:
        """All that are watched now."""
        return tuple(self._waiting)

    def close(self) -> None:
        """Watch nothing more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - self._clock()), self._look)

    def _look(self) -> None:
        now = self._clock()
        expired = [one for one in self._waiting if one.request.deadline_at <= now]
        self._waiting.difference_update(expired)
        self._timer, self._timer_at = None, float("inf")
        if self._waiting:
            earliest = min(one.request.deadline_at for one in self._waiting)
            self._set_timer(max(earliest, now + _EARLY_S))
        for one in expired:
            self._on_expired(one)
