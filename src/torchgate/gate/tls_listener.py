"""The listener of our own TLS: it shakes hands with a bounded number of clients at a time, in all and from one address.

A client that never finishes its handshake has sent one packet, and costs us a quarter of a megabyte. Where too many are
unfinished, the oldest is cut and never the newest: an honest handshake is over after two round trips, so that what is
oldest then does not mean to finish. To refuse the newest would let whoever fills the listener keep everybody out. And
whoever opens many from one address cuts its own.

On Windows plain connections are accepted here, too: asyncio's own server closes its listening socket for good when one
client has reset its connection before it was accepted (CPython, issue 93821).

Source: asyncio.sslproto (its read buffer); RFC 8446, section 2 (round trips).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torchgate.access.identity.refusals import place_of

ACCEPT_PAUSE_S = 1.0
"""After an accept that failed because this process has no descriptor left. Source: asyncio's own servers."""

_NAMES_OF_WENT = (
    "ENOTCONN", "WSAENOTCONN", "EPROTO", "ENOPROTOOPT", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH",
    "ENONET", "EOPNOTSUPP",
)  # fmt: skip
_WENT = frozenset(getattr(errno, name) for name in _NAMES_OF_WENT if hasattr(errno, name))
"""Errors of accept that are the new connection's own. Source: accept(2); Windows' getpeername after AcceptEx."""

_ERROR_NETNAME_DELETED = 64
"""What AcceptEx says where the client has reset its connection; asyncio translates that for reads and writes alone."""

TLS_SHUTDOWN_S = 30.0
"""For a client to answer the end of TLS on a connection; then it is cut. It answers behind all that it had not read yet
when the connection was closed, as after each answer with `Connection: close`: a large one takes its time."""

_WORD_INTERVAL_S = 60.0  # between lines of the log about handshakes that were cut

_log = logging.getLogger("torchgate.gate")


@dataclass(frozen=True)
class HandshakeLimits:
    """What unfinished handshakes may cost; TlsSettings has the names.

    Args:
        timeout_s: for one of them.
        most: at a time.
        most_by_address: of one IPv4 address, or one IPv6 /64.
    """

    timeout_s: float = 10.0
    most: int = 256
    most_by_address: int = 32


class UnfinishedHandshakes:
    """Those that go on, by age and by address; the oldest is cut where there are too many.

    Args:
        limits: how many.
    """

    def __init__(self, limits: HandshakeLimits) -> None:
        self._limits = limits
        self._places: dict[asyncio.Task[None], str] = {}
        self._by_place: dict[str, dict[asyncio.Task[None], None]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, handshake: asyncio.Task[None], place: str) -> bool:
        """Count one more, and cut another one where that is too many; whether one was cut.

        Args:
            place: what shares a limit; empty: only that of all.
        """
        self._places[handshake] = place
        of_place = self._by_place.setdefault(place, {}) if place else {}
        of_place[handshake] = None
        if len(of_place) > self._limits.most_by_address:
            self._cut(next(iter(of_place)))
        elif len(self._places) > self._limits.most:
            self._cut(next(iter(self._places)))
        else:
            return False
        return True

    def remove(self, handshake: asyncio.Task[None]) -> None:
        """It is over. Safe to call twice."""
        place = self._places.pop(handshake, "")
        of_place = self._by_place.get(place)
        if of_place is not None:
            of_place.pop(handshake, None)
            if not of_place:
                del self._by_place[place]

    def cut_all(self) -> list[asyncio.Task[None]]:
        """All of them, cut."""
        every = list(self._places)
        for handshake in every:
            self._cut(handshake)
        return every

    def _cut(self, handshake: asyncio.Task[None]) -> None:
        handshake.cancel()
        self.remove(handshake)


class TlsListener:
    """Accepts connections, and hands on those whose handshake is finished.

    Args:
        listening: bound, never blocking; stays its owner's.
        make: a protocol for a connection.
        tls: the context; None: plain connections, which have nothing to finish.
        limits: of handshakes.

    Process: the event loop only.
    """

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        limits: HandshakeLimits,
    ) -> None:
        self._listening = listening
        self._make = make
        self._tls = tls
        self._limits = limits
        self._unfinished = UnfinishedHandshakes(limits)
        self._begun: set[asyncio.Task[None]] = set()  # plain ones, which end in a turn or two of the loop
        self._accepting: asyncio.Task[None] | None = None
        self._cut = 0
        self._said_at: float | None = None

    @property
    def unfinished(self) -> int:
        """How many handshakes go on."""
        return len(self._unfinished)

    def start(self, backlog: int) -> None:
        """Listen, and accept.

        Raises:
            OSError: the address is taken.
        """
        self._listening.listen(backlog)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def stop(self) -> None:
        """Accept no more, and cut what is unfinished; connections that stand are not touched. Safe to call twice."""
        if self._accepting is None:
            return
        self._accepting.cancel()
        await asyncio.gather(self._accepting, *self._unfinished.cut_all(), *self._begun, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listening)
            except OSError as error:
                if _is_the_clients(error):
                    await asyncio.sleep(0)  # it went before we came
                    continue
                _log.error("No connection can be accepted for %g s: %s.", ACCEPT_PAUSE_S, error.strerror or error)
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            self._begin(connection, place_of(address[0]) if isinstance(address, tuple) else "")
            await asyncio.sleep(0)  # so that a full backlog holds nobody up

    def _begin(self, connection: socket.socket, place: str) -> None:
        is_finished = False

        def finished() -> None:
            nonlocal is_finished
            is_finished = True
            self._unfinished.remove(handshake)  # from here on it is a connection, which nobody cuts for another

        def over(task: asyncio.Task[None]) -> None:
            self._unfinished.remove(task)
            if task.cancelled() and not is_finished:
                # Its transport, where it has one by now, has ended. One that is connected ends by itself: were its
                # socket closed under it, another connection would get that number, and end with it.
                connection.close()

        handshake = asyncio.get_running_loop().create_task(self._shake_hands(connection, finished))
        handshake.add_done_callback(over)
        if self._tls is None:
            self._begun.add(handshake)
            handshake.add_done_callback(self._begun.discard)
        elif self._unfinished.add(handshake, place):
            self._note_cut()

    async def _shake_hands(self, connection: socket.socket, finished: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _telling(self._make(), finished),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else self._limits.timeout_s,
                ssl_shutdown_timeout=None if self._tls is None else TLS_SHUTDOWN_S,
            )
        except OSError as error:  # a client that is none, went, or took too long
            _log.debug("A TLS handshake failed: %s.", _reason(error))
        except Exception:  # noqa: BLE001 - one connection's trouble is no other's
            _log.exception("A TLS handshake failed unexpectedly.")

    def _note_cut(self) -> None:
        """Say so, and not for each: whoever pushes must not fill the disk."""
        self._cut += 1
        now = asyncio.get_running_loop().time()
        if self._said_at is not None and now - self._said_at < _WORD_INTERVAL_S:
            return
        self._said_at = now
        _log.warning(
            "Unfinished TLS handshakes are cut (%d since this was last said): more than %d at a time, or %d from one "
            "address (gate.tls.max_handshakes, max_handshakes_by_address). Somebody opens connections and is silent.",
            self._cut, self._limits.most, self._limits.most_by_address,
        )  # fmt: skip
        self._cut = 0


def _is_the_clients(error: OSError) -> bool:
    """Whether an accept failed for one client, so that the next may come at once."""
    if isinstance(error, ConnectionError) or error.errno in _WENT:
        return True
    return getattr(error, "winerror", None) == _ERROR_NETNAME_DELETED


def _telling(protocol: asyncio.Protocol, finished: Callable[[], None]) -> asyncio.Protocol:
    """The same, which tells when it is connected: its handshake is finished."""
    connected = protocol.connection_made

    def connection_made(transport: asyncio.BaseTransport) -> None:
        finished()
        connected(transport)

    protocol.connection_made = connection_made  # type: ignore[method-assign]
    return protocol


def _reason(error: OSError) -> Any:
    return getattr(error, "reason", None) or error.strerror or error
