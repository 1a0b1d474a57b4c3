"""The port that IIS's module waits for, listened on before anything that takes long is imported.

The module asks the system every 250 ms whether the port is listened on, and asks nothing else; then it connects, and
waits as long as for any answer. So the connections that come first wait in the socket's backlog until the server is
composed and accepts them from this very socket.

Source: ASP.NET Core Module V2 and HttpPlatformHandler v2, serverprocess.cpp (PostStartCheck).
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Mapping

from torchgate.contract.clock import monotonic_s
from torchgate.gate.tcp_socket import bound_tcp_socket

TYPE_CHECKING = False  # `typing` takes longer to import than all else here
if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"
"""IPv4 alone: IIS's modules look for nothing else, and connect to nothing else."""

PORT_VARIABLES = ("ASPNETCORE_PORT", "HTTP_PLATFORM_PORT")
"""As gate.declarations has them, whose import would take longer than the whole of this."""

BACKLOG = 512

_FAILED = (
    b'{"error":"The server could not be started. Its log says why; its operator reads it.",'
    b'"code":"unavailable","request_id":""}'
)
FAILED_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Cache-Control: no-store\r\nRetry-After: 5\r\nConnection: close\r\n\r\n%b" % (len(_FAILED), _FAILED)
)
_GOODBYE_S = 2.0
"""For all who wait, when the start has failed; a client that sends no request must not keep the process alive."""

_MAX_HEAD_BYTES = 65536


class EarlyPort:
    """Listens where the environment says that a module of IIS waits; the server takes the socket over, or nobody does.

    Leaving the `with` block without a server that took it means that the start has failed: whoever waits is answered
    503, and the socket is closed.

    Args:
        environment: of this process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._listening: dict[str, socket.socket] = {}
        self._opened_s = monotonic_s()
        for variable in PORT_VARIABLES:
            self._listen(environment.get(variable, ""))

    def __enter__(self) -> EarlyPort:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ends_at_s = monotonic_s() + _GOODBYE_S
        for listener in self._listening.values():
            _answer_all(listener, ends_at_s)
        self._close()

    @property
    def is_open(self) -> bool:
        """Whether somebody may wait here whom no server answers yet."""
        return bool(self._listening)

    @property
    def since_s(self) -> float:
        """How long it has listened."""
        return monotonic_s() - self._opened_s

    def has_caller(self) -> bool:
        """Whether a connection waits: then the module has seen the port, and has examined whose it is."""
        waiting = list(self._listening.values())
        return bool(waiting) and bool(select.select(waiting, [], [], 0)[0])

    def take(self, bind: str) -> socket.socket | None:
        """The socket that listens at an address, which belongs to the caller from here; the others are closed.

        Args:
            bind: `address:port`.

        Returns:
            None: none was there to be bound early, or it could not be; whoever binds it now finds out why.
        """
        taken = self._listening.pop(bind, None)
        self._close()
        return taken

    def _listen(self, port: str) -> None:
        if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
            return  # what is wrong with it is said when the settings are read
        bind = f"{HOST}:{int(port)}"
        with contextlib.suppress(OSError):  # taken, as a rule: said by the server, which tries again
            listener = bound_tcp_socket(HOST, int(port))
            listener.listen(BACKLOG)
            self._listening[bind] = listener

    def _close(self) -> None:
        for listener in self._listening.values():
            listener.close()
        self._listening.clear()


def _answer_all(listener: socket.socket, ends_at_s: float) -> None:
    while monotonic_s() < ends_at_s:
        try:
            caller, _ = listener.accept()
        except OSError:  # nobody waits any more
            return
        with contextlib.suppress(OSError), caller:
            _answer(caller, ends_at_s)


def _answer(caller: socket.socket, ends_at_s: float) -> None:
    # The request is read to the end of its head: a connection closed with bytes unread is reset, the answer with it.
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD_BYTES:
        caller.settimeout(max(0.001, ends_at_s - monotonic_s()))
        received = caller.recv(4096)
        if not received:
            return
        head += received
    caller.sendall(FAILED_ANSWER)
    caller.shutdown(socket.SHUT_WR)
    while monotonic_s() < ends_at_s:
        caller.settimeout(max(0.001, min(0.2, ends_at_s - monotonic_s())))
        if not caller.recv(65536):
            return
