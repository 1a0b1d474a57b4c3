"""What a Windows console says to its processes besides Ctrl+C and Ctrl+Break: it closes, a log-off, shutdown."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import threading
    from collections.abc import Callable

    import win32api
    import win32con

    _CLOSE_S = 15.0
    """Longer than Windows lets a handler take: 5 s for a console that closes, 20 s for a service at shutdown."""

    class ConsoleEvents:
        """Listens to the events that Python takes no notice of, or the wrong one; undone by `close`.

        Without it Windows ends the process as soon as a handler has returned, so that a closed console would cut
        running requests; and a server in session 0 would be ended whenever anybody logs off this machine.

        Args:
            on_stop: called for a console that closes and for shutdown, on a thread of Windows' own.

        Source: HandlerRoutine callback function and SetConsoleCtrlHandler, Microsoft Learn.
        """

        def __init__(self, on_stop: Callable[[], None]) -> None:
            self._on_stop = on_stop
            self._ended = threading.Event()
            self._handler = self.handle  # one object: it is told from others by its identity
            win32api.SetConsoleCtrlHandler(self._handler, True)

        def handle(self, event: int) -> bool:
            """Whether it is dealt with; what is not goes on to Python's own handler, and becomes a signal there."""
            if event == win32con.CTRL_LOGOFF_EVENT:
                return True
            if event not in {win32con.CTRL_CLOSE_EVENT, win32con.CTRL_SHUTDOWN_EVENT}:
                return False
            self._on_stop()
            self._ended.wait(_CLOSE_S)  # when this returns, Windows ends the process
            return True

        def close(self) -> None:
            """The server has stopped: whoever waits for it goes on."""
            self._ended.set()
            win32api.SetConsoleCtrlHandler(self._handler, False)
