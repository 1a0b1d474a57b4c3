"""The module's HTTP client: kept connections to one process on this machine."""

from __future__ import annotations

import http.client
import select
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.rigs.iis_module.header_rules import Headers

BLOCK_BYTES = 8192


class Backend:
    """Connections to a port, used again while the other end keeps them open.

    Args:
        port: of 127.0.0.1.
        silence_s: after so long without a byte a request fails.
    """

    def __init__(self, port: int, silence_s: float) -> None:
        self.port = port
        self._silence_s = silence_s
        self._idle: list[http.client.HTTPConnection] = []
        self._is_closed = False
        self._lock = threading.Lock()

    @contextmanager
    def answer(
        self, method: str, target: str, headers: Headers, body: Iterable[bytes]
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer, whose body is still to be read; its connection is kept where all of it was.

        Args:
            body: chunked where a header says so.

        Raises:
            OSError, http.client.HTTPException: the process is gone, or silent.
        """
        connection = self._connected()
        is_whole = False
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            names = {name.lower() for name, _ in headers}
            is_chunked = "transfer-encoding" in names
            for name, value in headers:
                connection.putheader(name, value.encode("latin-1"))
            if method in {"POST", "PUT"} and not names & {"content-length", "transfer-encoding"}:
                connection.putheader("Content-Length", "0")
            connection.endheaders()
            _send(connection, body, is_chunked=is_chunked)
            answer = connection.getresponse()
            yield answer
            is_whole = answer.isclosed() and not answer.will_close
        finally:
            with self._lock:
                if is_whole and not self._is_closed:
                    self._idle.append(connection)
                else:
                    connection.close()

    def close(self) -> None:
        """Hang up what is idle, and keep no more."""
        with self._lock:
            self._is_closed = True
            while self._idle:
                self._idle.pop().close()

    def _connected(self) -> http.client.HTTPConnection:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if not select.select([connection.sock], [], [], 0)[0]:
                    return connection
                connection.close()  # what is readable while nothing was asked has been hung up
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=self._silence_s)


def _send(connection: http.client.HTTPConnection, body: Iterable[bytes], *, is_chunked: bool) -> None:
    for block in body:
        connection.send(b"%x\r\n%b\r\n" % (len(block), block) if is_chunked else block)
    if is_chunked:
        connection.send(b"0\r\n\r\n")
