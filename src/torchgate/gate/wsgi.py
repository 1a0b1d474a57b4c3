"""Calls of a WSGI server (PEP 3333) as messages of the gate, and the gate's answers as WSGI has them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote

from torchgate.contract.errors import Cancelled
from torchgate.gate.calling_thread import CallingThread
from torchgate.gate.cgi import cgi_headers
from torchgate.gate.http_message import HttpRequest, HttpResponse

Environ = Mapping[str, Any]
"""What a WSGI server calls with: server variables, and its own objects."""

_READ_BYTES = 256 * 1024
"""Asked of a body at once, where the server has not read it all before it calls."""

_PLAIN = "!$&'()*+,-./:;=@_~"
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}
_SERVERS_OWN = frozenset({b"connection"})


class StartsResponse(Protocol):
    """The server's `start_response`."""

    def __call__(self, status: str, headers: list[tuple[str, str]], /) -> object:
        """Take status and headers."""
        ...


class InputStream(Protocol):
    """The server's `wsgi.input`."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


class StaysThere:
    """A client of whose going a WSGI server tells nobody: an answer is written, and that fails or not."""

    gone = False
    is_framing_broken = False

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Nothing will be told."""

    def unwatch(self) -> None:
        """There is nothing to forget."""


class WsgiBody:
    """The body of one call.

    Args:
        stream: `wsgi.input`; None where no body can be told from the connection's next bytes.
        length: bytes of the body; None: until the stream ends.
        thread: reads it, where that may mean to wait.
    """

    __slots__ = ("_left", "_stream", "_thread", "is_complete", "is_here")

    def __init__(self, stream: InputStream | None, length: int | None, thread: CallingThread) -> None:
        self._stream = stream
        self._left = length
        self._thread = thread
        self.is_complete = stream is None or length == 0
        self.is_here = isinstance(stream, io.BytesIO)  # as wfastcgi has it: all in memory before it calls

    async def read(self) -> bytes:
        """Some of it.

        Raises:
            Cancelled: it ended too early, or the server can't read it: its client went away.
        """
        try:
            piece = self._next() if self.is_here else await self._thread.run(self._next)
        except Exception as error:  # noqa: BLE001 - servers raise what they like, and mean the client's end
            raise Cancelled("The client went away before its body was read.", detail=type(error).__name__) from None
        if self._left is None:
            self.is_complete = not piece
            return piece
        if not piece:
            raise Cancelled("The client went away before its body was read.")
        self._left -= len(piece)
        self.is_complete = self._left <= 0
        return piece

    def give_away(self) -> None:
        """An application reads it by itself: nothing of it is ours to read or to drain."""
        self._stream, self.is_complete = None, True

    def _next(self) -> bytes:
        if self._stream is None:
            return b""
        if self.is_here:
            return self._stream.read(-1 if self._left is None else self._left)
        return self._stream.read(_READ_BYTES if self._left is None else min(_READ_BYTES, self._left))


def wsgi_body(environ: Environ, thread: CallingThread) -> WsgiBody:
    """The body of a call.

    Args:
        thread: that made the call.

    A server that takes chunks apart itself says how long they are together, or that its stream ends where they do.
    """
    stream: InputStream | None = environ.get("wsgi.input")
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isascii() and length.isdigit():
        return WsgiBody(stream, int(length), thread)
    ends = bool(environ.get("wsgi.input_terminated")) or isinstance(stream, io.BytesIO)
    return WsgiBody(stream if ends and "HTTP_TRANSFER_ENCODING" in environ else None, None, thread)


def read_call(environ: Environ, body: WsgiBody) -> HttpRequest:
    """The request in a call."""
    return HttpRequest(
        method=environ.get("REQUEST_METHOD", ""),
        raw_path=_raw_path(environ),
        headers=cgi_headers(environ),
        peer=environ.get("REMOTE_ADDR", ""),
        body=body,
        disconnect=StaysThere(),
        variables={
            name: value
            for name, value in environ.items()
            if isinstance(value, str) and not name.startswith(("HTTP_", "wsgi.", "wfastcgi."))
        },
    )


def split_path(environ: Environ) -> tuple[str, str]:
    """Where IIS has mounted us, and the path below, as the server has decoded it.

    IIS gives the whole path, and says in a variable of its own where the application begins
    (`/LM/W3SVC/1/ROOT/models`); it compares paths in any case. Other servers have taken it off already.
    """
    path: str = environ.get("PATH_INFO", "")
    base = environ.get("APPL_MD_PATH", "").partition("/ROOT")[2].rstrip("/") if not environ.get("SCRIPT_NAME") else ""
    if base and path[: len(base)].lower() == base.lower() and path[len(base) : len(base) + 1] in {"", "/"}:
        return path[: len(base)], path[len(base) :]
    return "", path


def _raw_path(environ: Environ) -> bytes:
    """The path below, escaped anew: the server has decoded it once, and nobody must do so twice."""
    return quote(split_path(environ)[1].encode("latin-1", "replace"), safe=_PLAIN).encode("ascii") or b"/"


def give_answer(response: HttpResponse, method: str, start_response: StartsResponse) -> list[bytes]:
    """Hand an answer to the server.

    Args:
        method: of the request; HEAD has no body.
    """
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in response.headers
        if name.lower() not in _SERVERS_OWN
    ]
    headers.append(("content-length", str(len(response.body))))
    if not any(name.lower() == "content-type" for name, _ in headers) and response.status not in {204, 304}:
        headers.append(("content-type", "text/plain"))  # else servers name one of their own
    start_response(f"{response.status} {_PHRASES.get(response.status, 'Unknown')}", headers)
    return [] if method == "HEAD" or not response.body else [response.body]
