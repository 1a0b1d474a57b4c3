"""Messages that leave together: all of one turn of the loop in one write, and never more than the other side reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from torchgate.contract.local_pipes import PeerChannel


class Outbox:
    """Collects frames and writes them at the end of the turn.

    Args:
        channel: to the other process.
        max_bytes: that may wait for a reader who does not read.
        on_full: told once when more would; nothing is written after it.

    Process: the event loop only.
    """

    def __init__(self, channel: PeerChannel, max_bytes: int, on_full: Callable[[], None]) -> None:
        self._channel = channel
        self._max_bytes = max_bytes
        self._on_full = on_full
        self._frames: list[bytes] = []
        self._is_closed = False

    def put(self, frame: bytes) -> None:
        """Send it with whatever else this turn brings."""
        if self._is_closed:
            return
        if not self._frames:
            asyncio.get_running_loop().call_soon(self.flush)
        self._frames.append(frame)

    def flush(self) -> None:
        """Send what there is now."""
        if self._is_closed or not self._frames:
            return
        frames, self._frames = self._frames, []
        self._channel.write(frames[0] if len(frames) == 1 else b"".join(frames))
        if self._channel.buffered_bytes > self._max_bytes:
            self.close()
            self._on_full()

    def close(self) -> None:
        """Send nothing more."""
        self._is_closed = True
        self._frames.clear()
