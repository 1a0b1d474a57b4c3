"""A small document of an issuer, fetched over https in a thread of its own: bounded in time and size, no redirects."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import http.client
import socket
import ssl
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import truststore

from torchgate.access.identity.issuer_url import origin
from torchgate.access.identity.published_keys import KeysUnreadable

MAX_DOCUMENT_BYTES = 512 * 1024  # bytes; real discovery documents and key sets have 2 to 20 KB (identity.md 1.2)
_STEP_TIMEOUT_S = 5.0  # seconds for one step (connect, handshake, one read)
_TOTAL_TIMEOUT_S = 10.0  # seconds for all of it: a server that drips bytes ends here


class Posted(msgspec.Struct, frozen=True):
    """What is sent with a question that has a body; repr shows nothing of it.

    Args:
        body, content_type: as sent.
        token: for Authorization, or empty.
    """

    body: bytes
    content_type: str
    token: str = ""

    def __repr__(self) -> str:
        return "Posted()"


class Downloader:
    """Fetches documents of one issuer, one at a time.

    A thread, because name resolution and the system's certificate store block; a daemon, because nothing may keep
    the process from ending.

    Args:
        ca_file: certificate authorities (PEM), or None for the operating system's.
        total_timeout_s: seconds for one document, whatever its server does.
    """

    def __init__(self, ca_file: Path | None = None, total_timeout_s: float = _TOTAL_TIMEOUT_S) -> None:
        self._ca_file = ca_file
        self._total_timeout_s = total_timeout_s
        self._context: ssl.SSLContext | None = None
        self._is_busy = False
        self._skew_s: float | None = None

    @property
    def skew_s(self) -> float | None:
        """Seconds that the server's clock was ahead of ours when it last answered; None where it has not said."""
        return self._skew_s

    async def fetch(self, url: str, content_types: tuple[str, ...], posted: Posted | None = None) -> bytes:
        """The document at a URL.

        Args:
            url: https, or http where the caller has allowed it.
            content_types: what it may be, without parameters.
            posted: what to POST; None: GET.

        Raises:
            KeysUnreadable: it can't be had, or it is not what was asked for.
        """
        if self._is_busy:  # a thread that hangs, in name resolution say, is not joined by a second one
            raise KeysUnreadable("the former download has not ended")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        download = _Download(url, content_types, posted)

        def settle(body: bytes | None, failure: str) -> None:
            if answer.done():
                return
            if body is None:
                answer.set_exception(KeysUnreadable(failure))
            else:
                answer.set_result(body)

        def run() -> None:
            body, failure = None, ""
            try:
                body = download.run(self._context_for(url))
            except KeysUnreadable as error:
                failure = str(error)
            except (OSError, http.client.HTTPException, ValueError) as error:
                failure = f"{type(error).__name__} from {url}"
            except Exception as error:  # noqa: BLE001 - a thread's surprise must reach the one who waits
                failure = f"unexpected {type(error).__name__} from {url}"
            self._skew_s = self._skew_s if download.skew_s is None else download.skew_s
            self._is_busy = False
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, body, failure)

        self._is_busy = True
        threading.Thread(target=run, name="torchgate-issuer-keys", daemon=True).start()
        try:
            return await asyncio.wait_for(answer, self._total_timeout_s)
        except TimeoutError:
            raise KeysUnreadable(f"no whole answer within {self._total_timeout_s} s from {url}") from None
        finally:
            download.abort()

    def _context_for(self, url: str) -> ssl.SSLContext | None:
        if not url.startswith("https:"):
            return None
        if self._context is None:
            self._context = (
                truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                if self._ca_file is None
                else ssl.create_default_context(cafile=self._ca_file)
            )
        return self._context


class _Download:
    """One question, and the means to end it from another thread."""

    def __init__(self, url: str, content_types: tuple[str, ...], posted: Posted | None) -> None:
        self._url = url
        self._content_types = content_types
        self._posted = posted
        self._socket: socket.socket | None = None
        self.skew_s: float | None = None

    def run(self, context: ssl.SSLContext | None) -> bytes:
        scheme, host, port = origin(self._url)
        connection: http.client.HTTPConnection = (
            http.client.HTTPSConnection(host, port, timeout=_STEP_TIMEOUT_S, context=context)
            if scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=_STEP_TIMEOUT_S)
        )
        parts = urlsplit(self._url)
        with contextlib.closing(connection):
            connection.connect()
            self._socket = connection.sock
            headers = {"Accept": ", ".join(self._content_types), "Accept-Encoding": "identity", "Connection": "close"}
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            posted = self._posted
            if posted is None:
                connection.request("GET", target, headers=headers)
            else:
                headers |= {"Content-Type": posted.content_type}
                headers |= {"Authorization": f"Bearer {posted.token}"} if posted.token else {}
                connection.request("POST", target, posted.body, headers)
            with connection.getresponse() as response:
                self.skew_s = skew_s(response.headers.get("Date", ""), time.time())
                return self._body(response)

    def abort(self) -> None:
        """End it now, wherever it waits."""
        if self._socket is not None:
            with contextlib.suppress(OSError, ValueError):
                # The plain socket's shutdown: it wakes a blocked read, and leaves the TLS object to its own thread.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        if response.status != 200:  # redirects too: the answer would come from a place that nobody configured
            raise KeysUnreadable(f"status {response.status} from {self._url}")
        content_type = response.headers.get_content_type()
        if content_type not in self._content_types:
            raise KeysUnreadable(f"content type {content_type[:64]!r} from {self._url}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise KeysUnreadable(f"a compressed answer, which was not asked for, from {self._url}")
        announced_bytes = response.length or 0
        body = b"" if announced_bytes > MAX_DOCUMENT_BYTES else response.read(MAX_DOCUMENT_BYTES + 1)
        if max(len(body), announced_bytes) > MAX_DOCUMENT_BYTES:
            raise KeysUnreadable(f"more than {MAX_DOCUMENT_BYTES} bytes from {self._url}")
        if response.length:  # http.client ends quietly where the connection does
            raise KeysUnreadable(f"an answer cut short from {self._url}")
        return body


def skew_s(date: str, now: float) -> float | None:
    """Seconds that the writer of a Date header is ahead of us, to half a second; None where it is no date.

    Args:
        date: as RFC 9110 section 5.6.7 has it, cut to whole seconds.
        now: Unix seconds here.
    """
    try:
        said = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return None
    return said.timestamp() + 0.5 - now
