"""The processes of one application, asked in turn. Source: iis.md 1.2; `PROCESS_MANAGER`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.rigs.iis_module.configuration import Application
from tests.rigs.iis_module.module_answers import ModuleFailed
from tests.rigs.iis_module.server_process import Log, ServerProcess, Tokens

_MINUTE_S = 60.0


class ProcessManager:
    """As many places as processesPerApplication says, each filled by the first request whose turn it is.

    A request that has to wait for a start holds up all others: there is one lock.

    Args:
        application: what is started.
        tokens: of the users whom IIS has authenticated.
        log: of the module.
        clock: of the rapid-fail minute, in seconds.
        started: what has been started, in that order; whoever is started is added.
    """

    def __init__(
        self,
        application: Application,
        tokens: Tokens,
        log: Log,
        clock: Callable[[], float],
        started: list[ServerProcess],
    ) -> None:
        self._application = application
        self._tokens = tokens
        self._log = log
        self._rapid_fails = RapidFails(application.rapid_fails_per_minute, clock)
        self._places: list[ServerProcess | None] = [None] * application.processes
        self._started = started
        self._turn = 0
        self._is_stopping = False
        self._lock = threading.Lock()

    def next_process(self) -> ServerProcess:
        """Whose turn it is: round robin, whatever it has to do and whoever asks.

        Raises:
            ModuleFailed: it can't be started, or nothing is any more.
        """
        with self._lock:
            if self._is_stopping:
                raise ModuleFailed("503.0", "the application is stopping", b"")
            self._bury()
            self._turn += 1
            place = self._turn % len(self._places)
            found = self._places[place]
            return self._filled(place) if found is None else found

    def stop(self) -> None:
        """Ask one after the other to end; the next is asked when the one before is gone."""
        for one in self._taken():
            one.stop()

    def crash(self) -> None:
        """All handles close at once."""
        for one in self._taken():
            one.end()

    def _taken(self) -> list[ServerProcess]:
        with self._lock:
            self._is_stopping = True
            taken = [one for one in self._places if one is not None]
            self._places = [None] * len(self._places)
        return taken

    def _filled(self, place: int) -> ServerProcess:
        if self._rapid_fails.are_too_many():
            self._log.append((1003, "too many ends within a minute"))
            raise ModuleFailed("502.5", "it is not started again within this minute")
        fresh = ServerProcess(self._application, self._tokens, self._log)
        self._started.append(fresh)
        fresh.start()
        self._places[place] = fresh
        return fresh

    def _bury(self) -> None:
        """Those that have ended by themselves: the module hears of it when it happens, each of them counts."""
        for place, one in enumerate(self._places):
            if one is not None and one.has_ended:
                self._log.append((1030, f"the process on port {one.port} has ended"))
                one.end()
                self._places[place] = None
                self._rapid_fails.add()


class RapidFails:
    """How often processes that had listened have ended by themselves in this minute; failed starts don't count.

    Args:
        limit: more of them, and none is started until the minute is over.
        clock: in seconds.
    """

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._count = 0
        self._began_at = clock()

    def add(self) -> None:
        """One more."""
        self._count += 1

    def are_too_many(self) -> bool:
        """Whether they are more than the limit; the minute ends where it is asked for."""
        if self._clock() - self._began_at >= _MINUTE_S:
            self._count, self._began_at = 0, self._clock()
        return self._count > self._limit
