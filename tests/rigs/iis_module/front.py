"""What stands before the module: the listening port, request filtering, authentication, and the answer's way back."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

from tests.rigs.iis_module.backend import BLOCK_BYTES
from tests.rigs.iis_module.configuration import Access, Application
from tests.rigs.iis_module.header_rules import Caller, Headers, answer_headers, cooked_target
from tests.rigs.iis_module.module_answers import ModuleFailed
from tests.rigs.iis_module.worker_process import WorkerProcess

CLIENT_ADDRESS = "Rig-Client-Address"
CLIENT_CERTIFICATE = "Rig-Client-Certificate"
TLS = "Rig-Tls"
_OF_THE_RIG = frozenset({CLIENT_ADDRESS, CLIENT_CERTIFICATE, TLS})
_SCHEME = "negotiate "
_CHALLENGES = (("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", "NTLM"))


class Site(Protocol):
    """What the front asks of IIS."""

    application: Application

    def queued(self) -> AbstractContextManager[WorkerProcess]:
        """The w3wp that takes a request."""
        ...


class Refused(Exception):
    """IIS answers before any module is asked.

    Args:
        code: status and substatus.
        headers: of the answer.
    """

    def __init__(self, code: str, *headers: tuple[str, str]) -> None:
        super().__init__(code)
        self.code = code
        self.headers = headers


@dataclass
class Received:
    """A request that IIS lets through."""

    method: str
    target: str
    received: Headers
    caller: Caller
    blocks: Iterator[bytes] = field(default_factory=lambda: iter(()))

    def body(self) -> Iterator[bytes]:
        """As it arrives."""
        return self.blocks


@dataclass(frozen=True)
class Preload:
    """The request that IIS makes to a w3wp by itself; no network has seen it, so that nobody is authenticated."""

    target: str

    def said_by(self, worker: WorkerProcess) -> str:
        """What came back; whatever it is, IIS takes the application for initialised."""
        access = worker.application.access_at(_below(worker.application, self.target) or "")
        if not access.anonymous:
            return "401"
        headers = [("Host", "localhost"), ("User-Agent", "IIS Application Initialization Preload")]
        try:
            with worker.forwarded(Received("GET", self.target, headers, Caller("127.0.0.1", 1))) as answer:
                answer.read()
                return str(answer.status)
        except ModuleFailed as failed:
            return failed.code


class Front:
    """Listens, with a thread for each connection."""

    def __init__(self, site: Site) -> None:
        handler = type("Handler", (_Handler,), {"site": site})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(120)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    site: Site

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def handle(self) -> None:
        """A client that hangs up is nobody's mistake."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def _serve(self) -> None:
        try:
            received = self._received()
            with self.site.queued() as worker, worker.forwarded(received) as answer:
                self._hand_back(answer)
        except Refused as refused:
            self._say(refused.code, *refused.headers)
        except ModuleFailed as failed:
            if self._has_begun:
                self.close_connection = True
            else:
                self._say(failed.code, page=failed.page)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = _serve  # noqa: N815 - http.server's names

    def _received(self) -> Received:
        self._has_begun = False
        application = self.site.application
        headers = [(name, value) for name, value in self.headers.items() if name not in _OF_THE_RIG]
        length = int(self.headers.get("Content-Length", "0"))
        if length > application.max_content_bytes:
            raise Refused("413.1", ("Connection", "close"))
        path = _below(application, self.path)
        if path is None:
            raise Refused("404.0")
        if any(segment in application.hidden_segments for segment in path.lower().split("/")):
            raise Refused("404.8")
        address = self.headers.get(CLIENT_ADDRESS, self.client_address[0])
        access = application.access_at(path)
        user = self._user(access, address)
        caller = Caller(address, self.client_address[1], user, self._certificate(access), TLS in self.headers)
        return Received(self.command, self.path, headers, caller, self._blocks(length))

    def _user(self, access: Access, address: str) -> str | None:
        if access.addresses is not None and address not in access.addresses:
            raise Refused("403.503")
        if access.anonymous:  # IIS asks nobody who has not to be asked
            return None
        sent = self.headers.get("Authorization", "")
        if access.windows and sent.lower().startswith(_SCHEME):
            return sent[len(_SCHEME) :].strip()
        raise Refused("401.2", *_CHALLENGES)

    def _certificate(self, access: Access) -> str | None:
        """The client's, where it is asked for one."""
        if "ssl" in access.ssl_flags and TLS not in self.headers:
            raise Refused("403.4")
        return self.headers.get(CLIENT_CERTIFICATE) if "sslnegotiatecert" in access.ssl_flags else None

    def _blocks(self, length: int) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        while length > 0:
            block = self.rfile.read(min(length, BLOCK_BYTES))
            if not block:
                return
            length -= len(block)
            yield block

    def _hand_back(self, answer: http.client.HTTPResponse) -> None:
        headers = list(answer_headers(answer.getheaders()))
        has_length = any(name.lower() == "content-length" for name, _ in headers)
        has_body = self.command != "HEAD" and answer.status not in {204, 304} and answer.status >= 200
        is_chunked = has_body and not has_length
        self._begin(
            answer.status, [*headers, *([("Transfer-Encoding", "chunked")] if is_chunked else [])], answer.reason
        )
        while block := answer.read1(BLOCK_BYTES) if has_body else b"":
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if is_chunked else block)
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")
        answer.read()

    def _begin(self, status: int, headers: Headers, reason: str | None = None) -> None:
        self._has_begun = True
        self.send_response_only(status, reason)
        self.send_header("Date", self.date_time_string())
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def _say(self, code: str, *headers: tuple[str, str], page: bytes | None = None) -> None:
        """IIS's own page, or one that the module has."""
        body = f"IIS {code}".encode() if page is None else page
        own = [("Content-Type", "text/html"), ("Content-Length", str(len(body))), ("Connection", "close")]
        self._begin(int(code.partition(".")[0]), [*headers, *own])
        self.wfile.write(b"" if self.command == "HEAD" else body)
        self.close_connection = True


def _below(application: Application, target: str) -> str | None:
    """The decoded path below the application, or None where it is not of this application."""
    path = unquote(cooked_target(target).partition("?")[0])
    base = application.virtual_path.rstrip("/")
    if not f"{path}/".lower().startswith(f"{base}/".lower()):
        return None
    return path[len(base) :]
