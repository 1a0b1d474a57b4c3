"""The clock of the running event loop, which a test may put forward: what was to happen until then happens now.

So a limit of minutes passes when the test has seen what it is to cut, however long that took to come.
"""

from __future__ import annotations

import asyncio


class LoopClock:
    """Of the loop that runs now."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._real = self._loop.time
        self._ahead_s = 0.0
        self._loop.time = lambda: self._real() + self._ahead_s  # type: ignore[method-assign]

    def forward(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._ahead_s += seconds
