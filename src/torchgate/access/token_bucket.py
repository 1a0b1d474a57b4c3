"""A token bucket: so many at once, so many per second after that."""

from __future__ import annotations

from torchgate.contract.clock import Clock


class TokenBucket:
    """Counts what may still happen now.

    Args:
        capacity: how many at once.
        per_second: how many come back.
        clock: seconds, monotonic.
    """

    __slots__ = ("_at", "_capacity", "_clock", "_left", "_per_second")

    def __init__(self, capacity: float, per_second: float, clock: Clock) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._clock = clock
        self._left = capacity
        self._at = clock()

    def take(self) -> bool:
        """Take one; False if there is none."""
        self._fill()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    @property
    def is_full(self) -> bool:
        """Whether nothing was taken for so long that it is as new."""
        self._fill()
        return self._left >= self._capacity

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self._capacity, self._left + max(0.0, now - self._at) * self._per_second)
        self._at = now
