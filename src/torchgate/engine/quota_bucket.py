"""How much of one limit is left: it comes back evenly over time, and may be owed."""

from __future__ import annotations

import math

_LAST_BITS = 1e-12
"""Part of a capacity that sums of floats may lose: what was taken and given back may not be quite all again."""


class QuotaBucket:
    """A token bucket that is told the time.

    It holds `capacity` at most, so that in any span of t seconds no more than capacity + t * per_s can be taken
    (what is owed afterwards, as compute-seconds are, apart).

    Args:
        capacity: what there is when nothing was taken for long.
        per_s: what comes back each second.
        now: on the monotonic clock.
    """

    __slots__ = ("_at", "capacity", "left", "per_s")

    def __init__(self, capacity: float, per_s: float, now: float) -> None:
        self.capacity = capacity
        self.per_s = per_s
        self.left = capacity
        self._at = now

    def fill(self, now: float) -> float:
        """Let come back what has; returns what is left. A clock that stands or goes back brings nothing."""
        passed_s = now - self._at
        if passed_s > 0.0:
            self._at = now
            self.left = min(self.capacity, self.left + passed_s * self.per_s)
        return self.left

    def wait_s(self, needed: float, now: float) -> float:
        """Seconds until so much is left; 0 where it is now. Only for what the capacity can ever hold."""
        missing = needed - self.fill(now)
        if missing <= _LAST_BITS * self.capacity:
            return 0.0
        # Whole milliseconds, and one more than needed at least by a hair: after that span there is room, whatever
        # the last bit of a float says.
        return (math.floor(missing / self.per_s * 1000.0) + 1) / 1000.0

    def take(self, amount: float) -> None:
        """Take it, after `fill` or `wait_s` at the same time."""
        self.left -= amount

    def give_back(self, amount: float) -> None:
        """As if it had not been taken."""
        self.left = min(self.capacity, self.left + amount)

    @property
    def used(self) -> float:
        """What has not come back yet, after `fill`."""
        return self.capacity - self.left
