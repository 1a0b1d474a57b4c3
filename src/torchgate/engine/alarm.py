"""A call at the end of this turn of the event loop, or after some time; one each, however often it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Wakes somebody.

    Args:
        on_time: called when it is time.

    Process: the event loop only.
    """

    def __init__(self, on_time: Callable[[], None]) -> None:
        self._on_time = on_time
        self._is_soon = False
        self._timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Call at the end of this turn: the turn may bring more."""
        if not self._is_soon:
            self._is_soon = True
            asyncio.get_running_loop().call_soon(self._now)

    def after(self, delay_s: float) -> None:
        """Call after so many seconds, unless an earlier request for it still stands."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._over)

    def close(self) -> None:
        """No timer is left."""
        if self._timer is not None:
            self._timer.cancel()

    def _now(self) -> None:
        self._is_soon = False
        self._on_time()

    def _over(self) -> None:
        self._timer = None
        self._on_time()
