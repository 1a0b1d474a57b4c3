"""IIS in front of one application, over real HTTP: http.sys's queue, authentication, filtering, pool and recycling.

    with Iis.started(folder) as iis:                      # web.config and applicationHost.part.config are there
        answer = iis.ask("GET", "/whoami", user="ann")     # or any HTTP client, at iis.url
        iis.recycle()

A client says by `Authorization: Negotiate NAME` whom the domain would name, by Rig-Client-Address where from, and by
Rig-Tls that it has come by TLS, with Rig-Client-Certificate (base64 DER) where it is asked for one.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.rigs.iis_module.configuration import Application, read_application
from tests.rigs.iis_module.front import Front, Preload
from tests.rigs.iis_module.server_process import Tokens
from tests.rigs.iis_module.worker_process import WorkerProcess

_DRAIN_S = 240.0
_ANSWER_S = 300.0


@dataclass(frozen=True)
class Answer:
    """What a client got."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Iis:
    """One application behind a listening port.

    Args:
        application: as read_application has it.
        tokens: user → what makes a Windows token of that user; Windows alone.
        shutdown_delay_s: the module's, before it asks its process to end.
        clock: of the rapid-fail minute.
    """

    def __init__(
        self,
        application: Application,
        tokens: Tokens | None = None,
        *,
        shutdown_delay_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.application = application
        self._make = lambda: WorkerProcess(
            self.application, tokens or {}, shutdown_delay_s=shutdown_delay_s, clock=clock
        )
        self.past: list[WorkerProcess] = []
        self.worker = self._make()
        self._running: dict[WorkerProcess, int] = {self.worker: 0}
        self._changed = threading.Condition()
        self._is_open = True
        self._front = Front(self)
        self.port = self._front.port
        self.url = f"http://127.0.0.1:{self.port}{application.virtual_path.rstrip('/')}"

    @classmethod
    def started(
        cls, folder: Path, tokens: Tokens | None = None, *, door: str | None = None, shutdown_delay_s: float = 1.0
    ) -> Iis:
        """The application of a folder, warm: the pool always runs, and preload asks before anybody else.

        Args:
            door: which version of HttpPlatformHandler is installed; None: what web.config needs, and the newer.
        """
        iis = cls(read_application(folder, door), tokens, shutdown_delay_s=shutdown_delay_s)
        iis.preload()
        return iis

    def __enter__(self) -> Iis:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        user: str | None = None,
    ) -> Answer:
        """One request on a connection of its own; a path below the application.

        Args:
            user: whom IIS finds it to be, by Negotiate.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_S)
        sent = dict(headers or {})
        if user is not None:
            sent["Authorization"] = f"Negotiate {user}"
        try:
            connection.request(method, self.application.virtual_path.rstrip("/") + path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def preload(self) -> list[str]:
        """What Application Initialization does with a new w3wp; the answers, each as good as any other to IIS."""
        return self._warmed(self.worker)

    def recycle(self) -> WorkerProcess:
        """A new w3wp in place of the old one, which is given back when it is gone.

        With overlap the new one has been warmed before it gets requests; without, http.sys keeps them waiting until
        the old one is gone.
        """
        fresh = self._make()
        if self.application.overlaps:
            self._warmed(fresh)
            old = self._switched(fresh, is_open=True)
            self._end(old)
            return old
        with self._changed:
            self._is_open = False
        old = self.worker
        self._end(old)
        self._switched(fresh, is_open=True)
        self.preload()
        return old

    def crash(self) -> WorkerProcess:
        """The w3wp dies in the middle of all; the pool starts another one with the next request."""
        old = self._switched(self._make(), is_open=True)
        old.crash()
        self.past.append(old)
        return old

    def stop(self) -> None:
        """Stop the pool, and the site."""
        with self._changed:
            self._is_open = False
        self._end(self.worker)
        self._front.close()

    def output(self) -> str:
        """What the processes printed, for a failing test."""
        return "\n".join(f"{one.log}\n{one.output()}" for one in dict.fromkeys([*self.past, self.worker]))

    @contextmanager
    def queued(self) -> Iterator[WorkerProcess]:
        """The w3wp that takes a request, for as long as it does."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_open, _DRAIN_S):
                raise TimeoutError("the pool is stopped")
            worker = self.worker
            self._running[worker] += 1
        try:
            yield worker
        finally:
            with self._changed:
                self._running[worker] -= 1
                self._changed.notify_all()

    def _switched(self, fresh: WorkerProcess, *, is_open: bool) -> WorkerProcess:
        with self._changed:
            old, self.worker = self.worker, fresh
            self._running[fresh] = 0
            self._is_open = is_open
            self._changed.notify_all()
        return old

    def _warmed(self, worker: WorkerProcess) -> list[str]:
        base = self.application.virtual_path.rstrip("/")
        answers = [Preload(base + path).said_by(worker) for path in self.application.warm_up_paths]
        worker.log.extend((0, f"preload: {answer}") for answer in answers)
        return answers

    def _end(self, old: WorkerProcess) -> None:
        """The module asks its process to end beside the requests that still run there, and not after them."""
        old.stop()
        with self._changed:
            self._changed.wait_for(lambda: self._running[old] == 0, _DRAIN_S)
        self.past.append(old)
