"""A WSGI application of the user's own with the gate around it: nothing of it runs before the door is passed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from torchgate.contract.errors import InvalidRequest, TorchgateError
from torchgate.gate.application import Way
from torchgate.gate.caller import BlockingCaller, Caller, enter_request, leave_request
from torchgate.gate.calling_thread import CallingThread
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse
from torchgate.gate.public_paths import PublicPaths
from torchgate.gate.wsgi import Environ, WsgiBody, split_path

WsgiApplication = Callable[[Any, Any], Iterable[bytes]]
"""(environ, start_response) → the body; servers and frameworks have types of their own for the two."""

ENVIRON_KEY = "torchgate.caller"
"""Where the inner application's environ has the BlockingCaller; absent on public paths."""

_CREDENTIALS = ("HTTP_AUTHORIZATION", "HTTP_X_API_KEY", "HTTP_DPOP", "AUTH_PASSWORD")
_SUPERSEDED = ("HTTP_X_ORIGINAL_URL", "wsgi.path_info", "wsgi.script_name", "wfastcgi.http_x_original_url")

_current: ContextVar[WsgiVisit | None] = ContextVar("torchgate_wsgi_visit", default=None)


class FlaskApplication(Protocol):
    """What is needed of a Flask application, which is not imported here."""

    wsgi_app: Any

    def register_error_handler(self, code_or_exception: Any, f: Callable[..., Any]) -> None:
        """Have exceptions of this type answered so."""
        ...


@dataclass(frozen=True)
class GuardedWsgi:
    """The user's application, and what of it and for it is decided beforehand.

    Args:
        application: any WSGI application.
        public: paths of it that need no credential.
        passes_credentials: whether it sees the credentials that its callers sent.
    """

    application: WsgiApplication
    public: PublicPaths
    passes_credentials: bool = False


class WsgiVisit:
    """Implements gate.application.Application for one call of a WSGI server.

    Args:
        guarded: the user's application.
        environ: of the call.
        thread: that made the call.
        body: of the call.

    Thread: `answer` on the event loop; all else on the server's, what is private by way of `thread`.
    """

    def __init__(self, guarded: GuardedWsgi, environ: Environ, thread: CallingThread, body: WsgiBody) -> None:
        self._guarded = guarded
        self._environ = environ
        self._thread = thread
        self._body_of_request = body
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed: asyncio.Future[None] | None = None
        self._caller: Caller | None = None
        self._started: tuple[str, list[tuple[str, str]]] | None = None
        self._written: deque[bytes] = deque()
        self._body: Iterable[bytes] = ()
        self._rest: Iterator[bytes] = iter(())
        self._problem: TorchgateError | None = None
        self._place = "", ""
        self.left: tuple[str, list[tuple[str, str]]] | None = None

    def is_public(self, path: str) -> bool:
        """As its author has named it."""
        return path in self._guarded.public

    async def answer(self, exchange: Exchange, way: Way) -> HttpResponse:
        """What the application answers, once its record is written; returns when the server has taken it all.

        Raises:
            Exception: what the application raises before it has answered.
            InvalidRequest: its server and we read two paths.
        """
        loop = self._loop = asyncio.get_running_loop()
        closed = self._closed = loop.create_future()
        if exchange.principal is not None:
            self._caller = Caller(exchange, exchange.principal, way, lambda: exchange.request.disconnect)
        exchange.request_bytes = _announced_bytes(self._environ)
        self._place = _place(self._environ, exchange.path)
        self._body_of_request.give_away()
        try:
            own = await self._thread.run(self._run)
            settled = await way.settle(exchange, own)
            if settled is not own:
                await self._thread.run(self._close)
                return settled
            settled.has_left = True
            self.left = self._status_line(), _native(settled.headers)
            self._thread.end()
            await closed
        finally:
            if self._caller is not None:
                self._caller.end()
        return settled

    def next_piece(self) -> bytes | None:
        """The next of the body, on the server's thread; None at its end."""
        if not self._written:
            # What the application writes by the old way comes before what it then gives.
            piece: bytes | None = self._in_request(functools.partial(next, self._rest, None))
            if piece is not None:
                self._written.append(piece)
        return self._written.popleft() if self._written else None

    def finish(self) -> None:
        """The server has taken all that it wants, and nothing more may be asked for its caller."""
        if self._caller is not None:
            self._caller.end()
        try:
            self._close()
        finally:
            if self._loop is not None and self._closed is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(_settle, self._closed)

    def note(self, problem: TorchgateError) -> None:
        """A question of this request was refused, and its route did not catch that: the gate answers in its place."""
        self._problem = problem

    def _run(self) -> HttpResponse:
        """On the server's thread: the beginning of the answer."""
        try:
            self._in_request(self._begin)
        except BaseException:
            self._close()
            raise
        if self._problem is not None:
            self._close()
            raise self._problem
        if self._started is None:
            self._close()
            raise RuntimeError("the application returned without calling start_response")
        status, headers = self._started
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        kept = [header for header in raw if header[0].lower() != b"x-request-id"]
        beginning = self._written[0] if len(self._written) == 1 else b"".join(self._written)
        return HttpResponse(int(status.split(None, 1)[0]), beginning, kept)

    def _begin(self) -> None:
        self._body = self._guarded.application(self._inner_environ(), self._start_response)
        self._rest = iter(self._body)
        # WSGI applications may call start_response as late as with their first piece.
        first = next(self._rest, None)
        if first is not None:
            self._written.append(first)

    def _in_request(self, work: Callable[[], Any]) -> Any:
        """What comes of some work of the application, for which `caller()` gives this request's."""
        if self._loop is None:
            raise RuntimeError("a call was run before its request. This is a bug.")
        tokens, visit = enter_request(self._caller, self._loop), _current.set(self)
        try:
            return work()
        finally:
            _current.reset(visit)
            leave_request(tokens)

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], error: object = None
    ) -> Callable[[bytes], object]:
        if self._started is not None and error is None:
            raise RuntimeError("the application called start_response twice")
        if self.left is not None and isinstance(error, tuple):
            raise error[1]  # PEP 3333: too late for another status
        self._started = status, list(headers)
        return self._written.append

    def _inner_environ(self) -> dict[str, Any]:
        """What the application sees: below where IIS has mounted it, without what was examined already."""
        base, path = self._place
        hidden = () if self._guarded.passes_credentials or self._caller is None else _CREDENTIALS
        inner = {name: value for name, value in self._environ.items() if name not in (*hidden, *_SUPERSEDED)}
        inner |= {"SCRIPT_NAME": f"{inner.get('SCRIPT_NAME', '')}{base}", "PATH_INFO": path}
        if self._caller is not None and self._loop is not None:
            inner[ENVIRON_KEY] = BlockingCaller(self._caller, self._loop)
        return inner

    def _status_line(self) -> str:
        return self._started[0] if self._started is not None else ""

    def _close(self) -> None:
        body, self._body = self._body, ()
        close = getattr(body, "close", None)
        if callable(close):
            close()


class Pieces:
    """The body as the server takes it; the request is over when it closes this.

    Args:
        visit: whose answer has begun.
        on_close: is called once.
    """

    def __init__(self, visit: WsgiVisit, on_close: Callable[[], None]) -> None:
        self._visit = visit
        self._on_close: Callable[[], None] | None = on_close

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> bytes:
        piece = self._visit.next_piece()
        if piece is None:
            self.close()
            raise StopIteration
        return piece

    def close(self) -> None:
        """PEP 3333; safe to call twice."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            try:
                self._visit.finish()
            finally:
                on_close()


def note_problem(problem: TorchgateError) -> tuple[str, int]:
    """An error handler for frameworks that turn every exception into a 500: the gate answers instead.

    Returns:
        What the framework may take for an answer; nobody sees it.

    Raises:
        TorchgateError: outside of a guarded request.
    """
    visit = _current.get()
    if visit is None:
        raise problem
    visit.note(problem)
    return "", 500


def _place(environ: Environ, asked: str) -> tuple[str, str]:
    """Where the application is mounted, and the path below, as WSGI spells them: what was decided is what is routed.

    The front door may have taken more off the path than the server knows of (`identity.windows.prefix`).

    Args:
        asked: the path that was decided about.

    Raises:
        InvalidRequest: the server has another path.
    """
    base, path = split_path(environ)
    below = asked.encode("utf-8", "surrogateescape").decode("latin-1")
    if not path.endswith("/") and below == "/":  # the mount itself, without its slash
        return base + path, ""
    if not path.endswith(below):
        raise InvalidRequest("The path can be read in two ways.")
    return base + path.removesuffix(below), below


def _announced_bytes(environ: Environ) -> int:
    length = environ.get("CONTENT_LENGTH") or "0"
    return int(length) if length.isascii() and length.isdigit() else 0


def _native(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _settle(closed: asyncio.Future[None]) -> None:
    if not closed.done():
        closed.set_result(None)
