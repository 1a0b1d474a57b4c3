"""Our own way on uvicorn's connection: one write an answer, no Nagle, bounded heads, word when the client goes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from torchgate.gate.asgi import (
    BODY_HERE_EXTENSION,
    CERTIFICATE_EXTENSION,
    DISCONNECT_EXTENSION,
    SURPLUS_EXTENSION,
)
from torchgate.gate.connection_room import ConnectionRoom
from torchgate.gate.problems import problem_body

MAX_HEADERS = 200
"""Headers of one request; front doors and browsers send some thirty."""

MAX_HEADERS_BEHIND_IIS = 8192
"""IIS's own limit (http.sys: 16 KB of headers, of at least 4 bytes each); see ConnectionLimits."""

JOIN_BELOW_BYTES = 64 * 1024
"""Head and body are joined up to here; a longer body is handed on as it is, because copying it costs more.

Source: measured on 1 MB answers, 1.7 to 1.9 times as many a second without the copy.
"""

_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}
_SENTENCES = {
    400: ("The request is not valid HTTP/1.1.", "invalid_request"),
    408: ("The headers of the request did not arrive in time.", "body_too_slow"),
    431: ("The request line and headers are larger than this server takes.", "headers_too_large"),
    503: ("Too many connections are open; try again.", "overloaded"),
}


class ConnectionLimits:
    """What one connection may do; see GateSettings for the names.

    Args:
        is_behind_iis: a head that is refused unread leaves the token open that IIS's module has duplicated for it. So
            heads may be as large as IIS lets them be, and on as many connections again as are allowed, one head is read
            before it is refused; and none that waits is cut to make room.
    """

    def __init__(
        self, *, max_header_bytes: int, max_connections: int, head_timeout_s: float, is_behind_iis: bool = False
    ) -> None:
        self.max_header_bytes = max_header_bytes
        self.max_connections = max_connections
        self.max_connections_read = 2 * max_connections if is_behind_iis else max_connections
        self.room = None if is_behind_iis else ConnectionRoom()
        self.max_headers = MAX_HEADERS_BEHIND_IIS if is_behind_iis else MAX_HEADERS
        self.head_timeout_s = head_timeout_s


class ConnectionDisconnect:
    """Tells the one request that runs on a connection that its client has gone, or sends what is no HTTP."""

    __slots__ = ("_on_gone", "gone", "is_framing_broken")

    def __init__(self) -> None:
        self.gone = False
        self.is_framing_broken = False
        self._on_gone: Callable[[], object] | None = None

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call back when the client goes, at once if it has."""
        if self.gone:
            on_gone()
        else:
            self._on_gone = on_gone

    def unwatch(self) -> None:
        """Forget the watcher."""
        self._on_gone = None

    def tell(self) -> None:
        """The client has gone."""
        self.gone = True
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone()


class OneWriteTransport:
    """A transport that holds the head of an answer until its body comes, so that both leave in one segment.

    Two small writes meet Nagle's algorithm and the peer's delayed ACK: 40 ms on Windows (performance.md).
    What is held leaves at the end of the loop's turn at the latest.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        """Send, or hold what is the head of an answer."""
        if self._held is not None:
            held, self._held = self._held, None
            if len(data) < JOIN_BELOW_BYTES:
                self._transport.write(held + data)
            else:
                self._transport.writelines((held, data))
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and not data.startswith(b"HTTP/1.1 1"):
            self._held = data
            self._loop.call_soon(self._release)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close after what is held."""
        self._release()
        self._transport.close()

    def is_closing(self) -> bool:
        """As the transport says."""
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)


class RestOfBody:
    """Hears the parser that reads a body for which the first parser has given up; hands on what it hears."""

    def __init__(self, on_body: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self.on_body = on_body
        self.on_message_complete = on_end


class GateProtocol(HttpToolsProtocol):
    """One connection."""

    limits: ConnectionLimits
    none_open: asyncio.Event
    stopping: asyncio.Event

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Set the socket up, and refuse the connection beyond the limit."""
        accepted = transport.get_extra_info("socket")
        if accepted is not None and accepted.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio's Proactor leaves this off on accepted sockets.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head_bytes = 0
        self._header_count = 0
        self._in_head = True
        self._too_large = False
        self._is_last = self._is_deaf = self._is_surplus = False
        self._disconnect = ConnectionDisconnect()
        self._head_timer: asyncio.TimerHandle | None = None
        tls = transport.get_extra_info("ssl_object")
        self._certificate: bytes | None = None if tls is None else tls.getpeercert(binary_form=True)
        super().connection_made(OneWriteTransport(transport, self.loop))  # type: ignore[arg-type]
        if self.stopping.is_set():
            # Accepted before the stop, ready after it (a late TLS handshake): all others were told to end before.
            self.transport.close()
            return
        limits, room, count = self.limits, self.limits.room, len(self.connections)
        self._is_surplus = count > limits.max_connections and not (room and room.has(count, limits.max_connections))
        if self._is_surplus and count > limits.max_connections_read:
            self._refuse(503)
            return
        self._watch_head()
        if room is not None:
            room.arrived(self)

    def cut(self) -> None:
        """End at once, for another one: this one waits for its client."""
        self.transport.abort()

    def leave(self) -> None:
        """The same, after the rest of an answer, which the client may not have read yet."""
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that runs."""
        self._unwatch_head()
        if self.limits.room is not None:
            self.limits.room.gone(self)
        super().connection_lost(exc)
        self._disconnect.tell()
        if not self.connections:
            self.none_open.set()

    def data_received(self, data: bytes) -> None:
        """Parse, and see that heads don't take for ever."""
        if self._is_deaf or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_on(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(431 if self._too_large else 400)
        if not self._in_head:
            self._unwatch_head()
        elif self._head_timer is None and self._is_idle() and not self.transport.is_closing():
            # uvicorn has stopped its keep-alive timer for these bytes, be they half a word or an empty line.
            self._watch_head()

    def on_message_begin(self) -> None:
        """A new head."""
        self._head_bytes = 0
        self._header_count = 0
        self._in_head = True
        super().on_message_begin()
        self._extensions: dict[str, Any] = {DISCONNECT_EXTENSION: self._disconnect}
        if self._is_surplus:
            self._extensions[SURPLUS_EXTENSION] = True
        if self._certificate is not None:
            self._extensions[CERTIFICATE_EXTENSION] = self._certificate
        self.scope["extensions"] = self._extensions

    def on_url(self, url: bytes) -> None:
        """Some of the target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the head; trailers are not headers and are dropped."""
        self._count(len(name) + len(value) + 4)
        if self._in_head:
            self._header_count += 1
            if self._header_count > self.limits.max_headers:
                self._overflow()
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete. Its timer ends here: the body may have come with it, which sets `_in_head` anew."""
        self._in_head = False
        self._unwatch_head()
        if self.limits.room is not None:
            self.limits.room.busy(self)
        if not self.url.startswith(b"/") or self.url.startswith(b"//") or b"#" in self.url:
            # Absolute form has a Host of its own, and what begins with two slashes is a host to some readers.
            raise ValueError("the target is not a path")  # the parser hands it on as its own error
        super().on_headers_complete()
        cycle = self.cycle
        self._extensions[BODY_HERE_EXTENSION] = lambda: not cycle.more_body
        if self.parser.should_upgrade():
            self._is_last = True
        if self._is_last or self._is_surplus:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The request is complete; what follows is another head."""
        if self._is_last:
            return  # the parser believes that another protocol follows: see _read_on
        super().on_message_complete()
        self._head_bytes = 0
        self._in_head = True

    def on_response_complete(self) -> None:
        """An answer has left; without another request on the way, the connection waits for its client."""
        super().on_response_complete()
        if self.limits.room is not None and self._is_idle() and not self.transport.is_closing():
            self.limits.room.idle(self)

    def _read_on(self, rest: bytes) -> None:
        """Read the body of a request that offers an upgrade, which this server never takes.

        The parser takes such a body for another protocol. Were it to go on, it would read the body as the next request:
        a smuggler's gift. So a second parser reads the body alone, and this request is the last of its connection.
        Java's client offers `h2c` with its first request, body and all.
        """
        framing = [(name, value) for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        self.parser = httptools.HttpRequestParser(RestOfBody(self.on_body, self._end_last))
        lines = b"".join(b"%s: %s\r\n" % header for header in framing)
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + lines + b"\r\n")
            self.parser.feed_data(rest)
        except httptools.HttpParserError:
            self._refuse(400)

    def _end_last(self) -> None:
        """The last request of this connection is complete; what follows it is not heard."""
        self._is_deaf = True
        super().on_message_complete()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.limits.max_header_bytes:
            self._overflow()

    def _overflow(self) -> None:
        self._too_large = True
        raise ValueError("the head is too large")  # the parser hands it on as its own error

    def _watch_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_timeout_s, self._head_is_late)

    def _unwatch_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer what is no request, and close. Two answers must never be mixed on one connection."""
        if not self._is_idle():
            self._break_off()
            return
        sentence, code = _SENTENCES[status]
        request_id = os.urandom(16).hex()
        body = problem_body(sentence, code, request_id)
        head = (
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"x-request-id: %s\r\nconnection: close\r\n\r\n"
        ) % (status, _REASONS[status], len(body), request_id.encode("ascii"))
        self.transport.write(head + body)
        self.transport.close()

    def _break_off(self) -> None:
        """What is no HTTP came after the head of a request: it is told its body is broken, and is the last here."""
        self._is_deaf = True
        if self.pipeline or not self.cycle.more_body:
            self.transport.abort()
            return
        self._disconnect.is_framing_broken = True
        self.cycle.keep_alive = False
        self.cycle.message_event.set()
