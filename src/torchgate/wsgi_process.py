"""A gate in a process that a WSGI server has: opened with the first call, closed when the process ends."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from torchgate.composition import CannotStart, loop_factory
from torchgate.contract.clock import Clock, monotonic_s
from torchgate.contract.errors import Unavailable
from torchgate.gate.asgi import GateApp
from torchgate.gate.calling_thread import CallingThread
from torchgate.gate.guarded_wsgi import GuardedWsgi, Pieces, WsgiVisit
from torchgate.gate.http_message import HttpRequest, HttpResponse
from torchgate.gate.problems import internal_response, problem_response
from torchgate.gate.wsgi import Environ, StartsResponse, give_answer, read_call, wsgi_body
from torchgate.loop_thread import LoopThread
from torchgate.wsgi_log import ServersLog

RETRY_S = 5.0
"""After a failed start: by then somebody may have mended what the log complains of."""

_CLOSE_S = 2.0
"""For the end of the audit trail, after the last answer: with gate.drain_s (6) it is within IIS's 10."""

_log = logging.getLogger("torchgate.wsgi")


class OpenedGate(NamedTuple):
    """What a process opens, and how long its last calls may take.

    Args:
        gate: to be opened on the loop.
        drain_s: for calls that run when the process ends.
    """

    gate: Callable[[], AbstractAsyncContextManager[GateApp]]
    drain_s: float


class _Running(NamedTuple):
    thread: LoopThread[GateApp]
    app: GateApp
    drain_s: float


class GateProcess:
    """A WSGI application: each call becomes a request of the gate, which runs on a loop beside the server's threads.

    Args:
        read: is asked at the first call what to open; raises CannotStart.
        environment: of the process, read at the first call: wfastcgi fills it from web.config after it has started.
        clock: seconds, monotonic.
        guarded: the user's application behind the gate; None: the gate is all there is.

    Thread: any number may call.
    """

    def __init__(
        self,
        read: Callable[[Mapping[str, str]], OpenedGate],
        environment: Mapping[str, str],
        clock: Clock = monotonic_s,
        guarded: GuardedWsgi | None = None,
    ) -> None:
        self._read = read
        self._environment = environment
        self._clock = clock
        self._guarded = guarded
        self._opening = threading.Lock()
        self._running: _Running | None = None
        self._failed_at: float | None = None
        self._is_closed = False
        self._calls = 0
        self._calls_change = threading.Condition()

    def __call__(self, environ: Environ, start_response: StartsResponse) -> Iterable[bytes]:
        """Answer one call (PEP 3333)."""
        self._enter()
        visit: WsgiVisit | None = None
        try:
            running = self._opened()
            thread = CallingThread()
            body = wsgi_body(environ, thread)
            if running is not None and self._guarded is not None:
                visit = WsgiVisit(self._guarded, environ, thread, body)
            response = (
                _unavailable() if running is None else _answered(running, read_call(environ, body), thread, visit)
            )
        except BaseException:
            self._leave()
            raise
        if visit is None or visit.left is None:
            if visit is not None:
                visit.finish()
            self._leave()
            return give_answer(response, str(environ.get("REQUEST_METHOD", "")), start_response)
        pieces = Pieces(visit, self._leave)
        try:
            start_response(*visit.left)
        except BaseException:
            pieces.close()
            raise
        return pieces

    def close(self) -> None:
        """Let calls that run end, write what is left of the audit trail, leave the pool. Safe to call twice."""
        self._is_closed = True
        with self._opening:
            running, self._running = self._running, None
        if running is None:
            return
        with self._calls_change:
            self._calls_change.wait_for(lambda: not self._calls, running.drain_s)
        if not running.thread.stop(_CLOSE_S):
            _log.error("This gate did not close within %g s.", _CLOSE_S)

    def _enter(self) -> None:
        with self._calls_change:
            self._calls += 1

    def _leave(self) -> None:
        with self._calls_change:
            self._calls -= 1
            self._calls_change.notify_all()

    def _opened(self) -> _Running | None:
        """The gate, opened where it is not yet; None where it can't be now."""
        if self._running is not None:
            return self._running
        with self._opening:
            failed_lately = self._failed_at is not None and self._clock() - self._failed_at < RETRY_S
            if self._running is None and not self._is_closed and not failed_lately:
                self._running = self._start()
            return self._running

    def _start(self) -> _Running | None:
        try:
            opening = self._read(self._environment)
            thread: LoopThread[GateApp] = LoopThread("torchgate-gate", loop_factory())
            app = thread.start(opening.gate)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server's process must go on answering
            self._failed_at = self._clock()
            self._complain(error)
            return None
        _call_at_exit(self.close)
        return _Running(thread, app, opening.drain_s)

    def _complain(self, error: Exception) -> None:
        log = ServersLog(self._environment)
        log.write(f"torchgate: the gate of process {os.getpid()} does not start: {error or type(error).__name__}\n")
        if not isinstance(error, CannotStart):
            _log.exception("The gate does not start.", exc_info=error)


def _answered(running: _Running, request: HttpRequest, thread: CallingThread, visit: WsgiVisit | None) -> HttpResponse:
    """The gate's answer, or the beginning of the application's; this thread does meanwhile what only it may."""
    try:
        answer = running.thread.submit(running.app.answer(request, visit))
    except RuntimeError:
        return _unavailable()
    answer.add_done_callback(lambda _: thread.end())
    thread.serve()
    if visit is not None and visit.left is not None:
        return HttpResponse(200, b"", [])  # has left: this says nothing
    try:
        return answer.result()
    except (asyncio.CancelledError, concurrent.futures.CancelledError):
        return _unavailable()
    except Exception:  # noqa: BLE001 - the server would show it to the client
        request_id = os.urandom(16).hex()
        _log.exception("Request %s failed unexpectedly.", request_id)
        return internal_response(request_id)


def _unavailable() -> HttpResponse:
    """The answer where there is no gate; nothing of the reason, which the log has."""
    request_id = os.urandom(16).hex()
    sentence = "This server can't answer now; its log has the reason. Try again shortly."
    response = problem_response(Unavailable(sentence, retry_after_s=RETRY_S), request_id, ())
    response.headers.append((b"x-request-id", request_id.encode("ascii")))
    return response


def _call_at_exit(close: Callable[[], None]) -> None:
    """Have it called when this process ends in any way that lets Python run.

    wfastcgi ends its process by ExitProcess when IIS asks it to or a watched file changes, and tells nobody but whom
    its `on_exit` has. Elsewhere the interpreter's own end counts; `threading`'s comes before the one of `atexit`, when
    no thread can be given work any more.
    """
    on_exit = getattr(sys.modules.get("__main__"), "on_exit", None) or getattr(
        sys.modules.get("wfastcgi"), "on_exit", None
    )
    if callable(on_exit):
        on_exit(close)
    register = getattr(threading, "_register_atexit", atexit.register)
    with contextlib.suppress(RuntimeError):  # the interpreter ends already
        register(close)
