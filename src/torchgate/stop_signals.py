"""Being told to stop: by Ctrl+C, by a service manager, on Windows by Ctrl+Break, by IIS; nothing relies on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")
_EXIT_CODE_AT_ONCE = 130  # as shells have it for an interrupted program


class StopSignals:
    """Waits for the first signal; the second ends the process at once, and the workers with it.

    Args:
        loop: the server's event loop.

    Process: the main thread, because Python gives signals to no other.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._stop = asyncio.Event()
        self._received = 0

    def install(self) -> None:
        """Listen from now on. Not through the loop: Windows' has no signal handlers."""
        for name in _NAMES:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._receive)

    async def wait(self) -> None:
        """Return when the server shall stop."""
        await self._stop.wait()

    def ask(self) -> None:
        """Stop as after a first signal; asked again, nothing more. Only on the loop's own thread."""
        self._stop.set()

    def ask_from_anywhere(self) -> None:
        """As `ask`, from any thread; nothing where the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self._received += 1
        if self._received > 1:
            os._exit(_EXIT_CODE_AT_ONCE)
        self._loop.call_soon_threadsafe(self._stop.set)
