"""What systemd is told of this process, where it has started it as a service of type `notify`.

Source: sd_notify(3).
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable

_log = logging.getLogger("torchgate.app")

if sys.platform != "win32":

    class NoticeSocket:
        """Implements contract.services.Supervisor; being told to stop is a signal there, and needs nothing of us.

        Args:
            address: what NOTIFY_SOCKET says: a path, or an abstract name behind `@`.
        """

        def __init__(self, address: str) -> None:
            self._address = f"\0{address[1:]}" if address.startswith("@") else address

        def listen(self, stop: Callable[[], None]) -> None:
            """Nothing: systemd sends SIGTERM, and the program waits for that anyway."""

        def ready(self) -> None:
            """The service runs."""
            self._tell(b"READY=1")

        def stopping(self) -> None:
            """It ends."""
            self._tell(b"STOPPING=1")

        def _tell(self, notice: bytes) -> None:
            """Say it; if that fails systemd will end us after its time limit, and the log says why."""
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notices:
                    notices.sendto(notice, self._address)
            except OSError as error:
                _log.warning("systemd could not be told %s: %s", notice.decode("ascii"), error)
