"""Unix sockets whose two ends know each other's uid before either believes a byte."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection
from contextlib import suppress

from torchgate.contract.clock import monotonic_s
from torchgate.contract.local_pipes import (
    HANDSHAKE_TIMEOUT_S,
    HELLO,
    MOST_PEERS,
    WELCOME,
    ForeignOwner,
    Listening,
    NobodyListens,
    PeerChannel,
    PeerRefused,
    PipeAddress,
)
from torchgate.contract.os_services import ChannelReceiver
from torchgate.posix.accounts import account_of, uids_of
from torchgate.posix.peer_channel import PosixPeerChannel, peer_of
from torchgate.posix.pipe_files import SocketFile, short_path, socket_path

_RETRY_S = 0.01
"""Between two tries of a listener whose queue of connections is full."""

_PAUSE_S = 0.1
"""Between two tries to accept when no descriptor is left, instead of a busy loop."""


class PosixLocalPipes:
    """Makes unix sockets in private folders."""

    @property
    def own_account(self) -> str:
        """The account that we run as."""
        return account_of(os.geteuid())

    async def listen(
        self, address: PipeAddress, *, allowed: Collection[str], on_connect: Callable[[PeerChannel], ChannelReceiver]
    ) -> Listening:
        """Take the address."""
        file = SocketFile(address, uids_of(allowed))
        return _Listening(file, frozenset(allowed), on_connect)

    async def connect(self, address: PipeAddress, receiver: ChannelReceiver, *, owner: str) -> PeerChannel:
        """Connect, once it is proven that the listener runs as `owner`."""
        uids_of([owner])
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connecting.setblocking(False)
        try:
            await _connect(connecting, address)
            peer = peer_of(connecting)
            if peer.account != owner:
                raise ForeignOwner(
                    f"{socket_path(address)} belongs to {peer.account} (process {peer.pid}), not to {owner}; "
                    f"nothing was sent to it"
                )
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                await _greet(connecting, address)
        except BaseException:
            connecting.close()
            raise
        channel = PosixPeerChannel(connecting, peer, takes_sections=True, on_end=_nothing)
        channel.start(receiver)
        return channel


class _Listening:
    """A listening socket that lets allowed accounts in.

    Args:
        file: the socket and its file; this object owns it.
        allowed: accounts.
        on_connect: is given each peer that was let in.
    """

    def __init__(
        self, file: SocketFile, allowed: frozenset[str], on_connect: Callable[[PeerChannel], ChannelReceiver]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._file = file
        self._allowed = allowed
        self._on_connect = on_connect
        self._handshakes: set[asyncio.Task[None]] = set()
        self._open = 0
        self._is_closed = False
        self._loop.add_reader(file.socket, self._accept)

    def close(self) -> None:
        """Give the address back; open channels stay open."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._file.socket)
        self._file.close()
        for handshake in self._handshakes:
            handshake.cancel()

    def _accept(self) -> None:
        try:
            connected, _ = self._file.socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            self._loop.remove_reader(self._file.socket)
            self._loop.call_later(_PAUSE_S, self._resume)
            return
        connected.setblocking(False)
        if self._open >= MOST_PEERS or peer_of(connected).account not in self._allowed:
            connected.close()
            return
        self._open += 1
        handshake = self._loop.create_task(self._let_in(connected))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._finished)

    def _resume(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._file.socket, self._accept)

    def _finished(self, handshake: asyncio.Task[None]) -> None:
        self._handshakes.discard(handshake)
        if not handshake.cancelled() and (error := handshake.exception()):
            self._loop.call_exception_handler({"message": "a peer could not be introduced", "exception": error})

    async def _let_in(self, connected: socket.socket) -> None:
        try:
            said_hello = await self._has_said_hello(connected)
        except BaseException:
            self._drop(connected)
            raise
        if not said_hello:
            self._drop(connected)
            return
        channel = PosixPeerChannel(connected, peer_of(connected), takes_sections=False, on_end=self._gone)
        try:
            channel.start(self._on_connect(channel))
        except BaseException:
            channel.close()
            raise

    async def _has_said_hello(self, connected: socket.socket) -> bool:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                if await _read_exactly(self._loop, connected, len(HELLO)) != HELLO:
                    return False
            return connected.send(WELCOME) == len(WELCOME)  # at once: nothing else is in the socket
        except OSError:
            return False  # too slow, or gone: its own business

    def _drop(self, connected: socket.socket) -> None:
        connected.close()
        self._gone()

    def _gone(self) -> None:
        self._open -= 1


async def _connect(connecting: socket.socket, address: PipeAddress) -> None:
    path = socket_path(address)
    until = monotonic_s() + HANDSHAKE_TIMEOUT_S
    while True:
        try:
            with short_path(path) as fitting:
                connecting.connect(fitting)
            return
        except BlockingIOError:
            if monotonic_s() > until:
                raise TimeoutError(f"the process that listens at {path} accepts nobody") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise NobodyListens(f"nobody listens at {path}") from None
        except PermissionError:
            raise PeerRefused(f"{path} may not be opened by uid {os.geteuid()}") from None
        await asyncio.sleep(_RETRY_S)


def _nothing() -> None:
    """A connecting side keeps no count."""


async def _greet(connecting: socket.socket, address: PipeAddress) -> None:
    loop = asyncio.get_running_loop()
    answer = b""
    with suppress(BrokenPipeError, ConnectionResetError):
        await loop.sock_sendall(connecting, HELLO)
        answer = await _read_exactly(loop, connecting, len(WELCOME))
    if answer != WELCOME:
        raise PeerRefused(
            f"the process that listens at {socket_path(address)} does not admit uid {os.geteuid()}, "
            f"or has no place for one more connection"
        )


async def _read_exactly(loop: asyncio.AbstractEventLoop, connected: socket.socket, length: int) -> bytes:
    """So many bytes, or fewer at the end; never one more, which belongs to the channel."""
    data = b""
    while len(data) < length and (part := await loop.sock_recv(connected, length - len(data))):
        data += part
    return data
