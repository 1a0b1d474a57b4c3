"""How often, and how soon, dead workers of a version are replaced: pure, and told the time."""

from __future__ import annotations

from collections import deque


class RestartBudget:
    """Deaths within a window, and the wait that each further one costs.

    Args:
        budget: deaths within the window that are made good.
        window_s: seconds.
        delay_s: wait before the second replacement within the window; each further one doubles it, up to the window.
    """

    def __init__(self, budget: int, window_s: float, delay_s: float) -> None:
        self._budget = budget
        self._window_s = window_s
        self._delay_s = delay_s
        self._deaths: deque[float] = deque()

    def died(self, now: float) -> float | None:
        """Count a death; the seconds to wait before its replacement, or None where the budget is used up."""
        self._deaths.append(now)
        while self._deaths[0] <= now - self._window_s:
            self._deaths.popleft()
        count = len(self._deaths)
        if count > self._budget:
            return None
        if count == 1:
            return 0.0
        # The exponent is bounded: beyond it the window is what counts, and 2.0 ** 1000 would overflow.
        return min(self._window_s, self._delay_s * 2.0 ** min(count - 2, 60))

    def deaths(self, now: float) -> int:
        """How many there were within the window."""
        return sum(1 for at in self._deaths if at > now - self._window_s)
