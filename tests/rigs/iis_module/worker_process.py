"""One w3wp with the module in it: a process, or in its place app_offline.htm. Source: iis.md 1; `APPLICATION_INFO`."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from tests.rigs.iis_module.app_offline import FolderWatch, OfflinePage
from tests.rigs.iis_module.configuration import Application
from tests.rigs.iis_module.header_rules import Caller, Headers, cooked_target, request_headers
from tests.rigs.iis_module.module_answers import ModuleFailed
from tests.rigs.iis_module.process_manager import ProcessManager
from tests.rigs.iis_module.server_process import Log, ServerProcess, Tokens

if TYPE_CHECKING:
    from tests.rigs.iis_module.server_process import StartedProcess


class Asked(Protocol):
    """A request as the front has read its head."""

    method: str
    target: str
    received: Headers
    caller: Caller

    def body(self) -> Iterator[bytes]:
        """Its body, as it arrives."""
        ...


class WorkerProcess:
    """One w3wp.

    Args:
        application: what it serves.
        tokens: of the users whom IIS has authenticated.
        shutdown_delay_s: between the end of listening and the request to end; the module's own default.
        clock: in seconds.
    """

    def __init__(
        self,
        application: Application,
        tokens: Tokens,
        *,
        shutdown_delay_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.application = application
        self.log: Log = []
        self.started: list[ServerProcess] = []
        self._tokens = tokens
        self._shutdown_delay_s = shutdown_delay_s
        self._clock = clock
        self._offline: OfflinePage | None = None
        self._manager: ProcessManager | None = None
        self._watch: FolderWatch | None = None
        self._changing = threading.Lock()

    @property
    def process(self) -> StartedProcess | None:
        """The one that was started last."""
        return self.started[-1].process if self.started else None

    @property
    def port(self) -> int:
        """Of the one that was started last."""
        return self.started[-1].port

    @property
    def pairing(self) -> str:
        """Of the one that was started last."""
        return self.started[-1].pairing

    @contextmanager
    def forwarded(self, asked: Asked) -> Iterator[http.client.HTTPResponse]:
        """The answer of a process, which is started before where none runs.

        Raises:
            ModuleFailed: there is none.
        """
        process = self._running().next_process()
        headers = request_headers(
            self.application, asked.received, asked.caller, process.pairing, process.handle(asked.caller)
        )
        try:
            with process.backend.answer(asked.method, cooked_target(asked.target), headers, asked.body()) as answer:
                yield answer
        except (OSError, http.client.HTTPException) as error:
            raise ModuleFailed("502.3", f"{type(error).__name__} {error}") from None

    def stop(self) -> None:
        """End its processes as the module does when the w3wp is to go; nobody asks any more by then."""
        with self._changing:
            manager, watch = self._taken()
        if manager is not None:
            if self.application.variant.has_pairing:
                time.sleep(self._shutdown_delay_s)
            manager.stop()
        if watch is not None:
            watch.end()

    def crash(self) -> None:
        """End of the w3wp itself: the last handles of its jobs close."""
        with self._changing:
            manager, watch = self._taken()
        if manager is not None:
            manager.crash()
        if watch is not None:
            watch.end()

    def output(self) -> str:
        """What its processes printed."""
        return "\n".join(one.output() for one in self.started)

    def _running(self) -> ProcessManager:
        """What answers now; waits while processes are asked to end."""
        with self._changing:
            if self._manager is not None:
                return self._manager
            if self.application.variant.has_pairing:
                self._look_whether_offline()
                self._watch = FolderWatch(self.application.folder, self._folder_changed)
            self._manager = ProcessManager(self.application, self._tokens, self.log, self._clock, self.started)
            return self._manager

    def _look_whether_offline(self) -> None:
        if self._offline is None or not self._offline.is_there():
            self._offline = OfflinePage(self.application.folder)
        if self._offline.is_there():
            raise ModuleFailed("503.0", "app_offline.htm is there", self._offline.content)
        self._offline = None

    def _folder_changed(self) -> None:
        """Whether the file is there or gone again: the processes end, without the delay of a recycle."""
        with self._changing:
            manager, _ = self._taken()
            if manager is not None:
                self.log.append((1012, "app_offline.htm was changed"))
                manager.stop()

    def _taken(self) -> tuple[ProcessManager | None, FolderWatch | None]:
        manager, watch = self._manager, self._watch
        self._manager = self._watch = None
        return manager, watch
