"""Named pipes of this machine whose two ends know each other's SID before either believes a byte."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import _winapi
    import asyncio
    import ctypes
    import hashlib
    import os
    import re
    from asyncio.windows_utils import PipeHandle
    from collections.abc import Callable, Collection
    from ctypes import wintypes
    from typing import Any

    from torchgate.contract.clock import monotonic_s
    from torchgate.contract.local_pipes import (
        HANDSHAKE_TIMEOUT_S,
        HELLO,
        MOST_PEERS,
        WELCOME,
        AddressTaken,
        ForeignOwner,
        Listening,
        NobodyListens,
        PeerChannel,
        PeerRefused,
        PipeAddress,
    )
    from torchgate.contract.os_services import ChannelReceiver
    from torchgate.windows.access_list import admitting, checked_sids, own_sid
    from torchgate.windows.peer_channel import WindowsPeerChannel
    from torchgate.windows.pipe_identity import client_of, server_of

    _BUFFER_BYTES = 1 << 16
    _REJECT_REMOTE_CLIENTS = 0x08  # PIPE_REJECT_REMOTE_CLIENTS
    _MOST_INSTANCES = 255  # PIPE_UNLIMITED_INSTANCES
    _PEER_RIGHTS = 0x0012_019B
    """FILE_GENERIC_READ and FILE_GENERIC_WRITE without FILE_APPEND_DATA, which on a pipe is the right to make one more
    instance of it, and so to catch what others connect to. Source: Microsoft Learn, "Named Pipe Security"."""

    _IDENTIFICATION = 0x0010_0000 | 0x0001_0000  # SECURITY_SQOS_PRESENT, SECURITY_IDENTIFICATION
    _ACCESS_DENIED, _PIPE_BUSY = 5, 231
    _RETRY_S = 0.01
    """Between two tries when all instances of the pipe are taken."""

    _wait_named_pipe = ctypes.WinDLL("kernel32", use_last_error=True).WaitNamedPipeW
    _wait_named_pipe.argtypes = [wintypes.LPCWSTR, wintypes.DWORD]
    _FILE_NOT_FOUND = 2

    class WindowsLocalPipes:
        """Makes named pipes. Process: a Proactor event loop's thread."""

        @property
        def own_account(self) -> str:
            """The account that we run as."""
            return own_sid()

        async def listen(
            self,
            address: PipeAddress,
            *,
            allowed: Collection[str],
            on_connect: Callable[[PeerChannel], ChannelReceiver],
        ) -> Listening:
            """Take the address."""
            return _Listening(pipe_name(address), checked_sids(allowed), on_connect)

        async def connect(self, address: PipeAddress, receiver: ChannelReceiver, *, owner: str) -> PeerChannel:
            """Connect, once it is proven that the pipe belongs to `owner`."""
            checked_sids([owner])
            name = pipe_name(address)
            pipe = await _open(name)
            try:
                peer = server_of(pipe.handle)
                if peer.account != owner:
                    raise ForeignOwner(
                        f"{name} belongs to {peer.account} (process {peer.pid}), not to {owner}; nothing was sent to it"
                    )
                async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                    await _greet(pipe, name)
            except BaseException:
                pipe.close()
                raise
            channel = WindowsPeerChannel(pipe, peer, takes_sections=True, on_end=_nothing)
            channel.start(receiver)
            return channel

    def pipe_name(address: PipeAddress) -> str:
        """Derived from the folder's full path in lower case: pipes have a folder of their own, flat and for all.

        Raises:
            ValueError: the name is none.
        """
        if not re.fullmatch(r"[A-Za-z0-9-]{1,40}", address.name):
            raise ValueError(f"{address.name!r} is no name of a pipe; use letters, digits and hyphens, at most 40")
        folder = os.path.normcase(address.folder.resolve())
        digest = hashlib.sha256(folder.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return rf"\\.\pipe\torchgate-{address.name}-{digest}"

    class _Listening:
        """Instances of a pipe: always one that waits, so that the name is never free while we live.

        Args:
            name: full.
            allowed: SIDs.
            on_connect: is given each peer that was let in.

        Raises:
            AddressTaken: somebody else has a pipe of that name.
            OSError: it can't be made.
        """

        def __init__(
            self, name: str, allowed: frozenset[str], on_connect: Callable[[PeerChannel], ChannelReceiver]
        ) -> None:
            self._loop = asyncio.get_running_loop()
            self._name = name
            self._allowed = allowed
            self._on_connect = on_connect
            self._open = 0
            self._handshakes: set[asyncio.Task[None]] = set()
            self._waiting = self._first_instance()
            self._serving = self._loop.create_task(self._serve())

        def close(self) -> None:
            """Give the address back; open channels stay open."""
            self._serving.cancel()
            self._waiting.close()
            for handshake in self._handshakes:
                handshake.cancel()

        def _first_instance(self) -> PipeHandle:
            if _exists(self._name):
                raise AddressTaken(f"another process listens at {self._name}; stop it first, or use another folder")
            try:
                return self._instance(_winapi.FILE_FLAG_FIRST_PIPE_INSTANCE)
            except PermissionError:
                raise AddressTaken(
                    f"another process took {self._name} before us; find out which, and stop it"
                ) from None

        def _instance(self, flags: int = 0) -> PipeHandle:
            with admitting(self._allowed, _PEER_RIGHTS) as attributes:
                return PipeHandle(
                    _winapi.CreateNamedPipe(
                        self._name,
                        _winapi.PIPE_ACCESS_DUPLEX | _winapi.FILE_FLAG_OVERLAPPED | flags,
                        _winapi.PIPE_WAIT | _REJECT_REMOTE_CLIENTS,
                        _MOST_INSTANCES,
                        _BUFFER_BYTES,
                        _BUFFER_BYTES,
                        _winapi.NMPWAIT_WAIT_FOREVER,
                        attributes,
                    )
                )

        async def _serve(self) -> None:
            while True:
                try:
                    await _proactor(self._loop).accept_pipe(self._waiting)
                    came = True
                except OSError:
                    came = False  # it left before it was accepted
                connected, self._waiting = self._waiting, self._instance()
                if not came or self._open >= MOST_PEERS:
                    connected.close()
                    continue
                self._open += 1
                handshake = self._loop.create_task(self._let_in(connected))
                self._handshakes.add(handshake)
                handshake.add_done_callback(self._finished)

        def _finished(self, handshake: asyncio.Task[None]) -> None:
            self._handshakes.discard(handshake)
            if not handshake.cancelled() and (error := handshake.exception()):
                self._loop.call_exception_handler({"message": "a peer could not be introduced", "exception": error})

        async def _let_in(self, connected: PipeHandle) -> None:
            try:
                said_hello = await self._has_said_hello(connected)
            except BaseException:
                self._drop(connected)
                raise
            if not said_hello:
                self._drop(connected)
                return
            channel = WindowsPeerChannel(
                connected, client_of(connected.handle), takes_sections=False, on_end=self._gone
            )
            try:
                channel.start(self._on_connect(channel))
            except BaseException:
                channel.close()
                raise

        async def _has_said_hello(self, connected: PipeHandle) -> bool:
            try:
                async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                    if await _read_exactly(connected, len(HELLO)) != HELLO:
                        return False
                    if client_of(connected.handle).account not in self._allowed:
                        return False
                    await _proactor(self._loop).send(connected, WELCOME)
            except OSError:
                return False  # too slow, or gone: its own business
            return True

        def _drop(self, connected: PipeHandle) -> None:
            connected.close()
            self._gone()

        def _gone(self) -> None:
            self._open -= 1

    async def _open(name: str) -> PipeHandle:
        until = monotonic_s() + HANDSHAKE_TIMEOUT_S
        while True:
            try:
                return PipeHandle(
                    _winapi.CreateFile(
                        name,
                        _PEER_RIGHTS,
                        0,
                        _winapi.NULL,
                        _winapi.OPEN_EXISTING,
                        _winapi.FILE_FLAG_OVERLAPPED | _IDENTIFICATION,
                        _winapi.NULL,
                    )
                )
            except FileNotFoundError:
                raise NobodyListens(f"nobody listens at {name}") from None
            except OSError as error:
                if error.winerror == _ACCESS_DENIED:
                    raise PeerRefused(f"{name} may not be opened by {own_sid()}") from None
                if error.winerror != _PIPE_BUSY:
                    raise
            if monotonic_s() > until:
                raise TimeoutError(f"the process that listens at {name} accepts nobody")
            await asyncio.sleep(_RETRY_S)

    async def _greet(pipe: PipeHandle, name: str) -> None:
        answer = b""
        try:
            await _proactor(asyncio.get_running_loop()).send(pipe, HELLO)
            answer = await _read_exactly(pipe, len(WELCOME))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the listener's way to say no
        if answer != WELCOME:
            raise PeerRefused(
                f"the process that listens at {name} does not admit {own_sid()}, "
                f"or has no place for one more connection"
            )

    async def _read_exactly(pipe: PipeHandle, length: int) -> bytes:
        """So many bytes, or fewer at the end; never one more, which belongs to the channel."""
        proactor = _proactor(asyncio.get_running_loop())
        data = b""
        while len(data) < length and (part := await proactor.recv(pipe, length - len(data))):
            data += part
        return data

    def _exists(name: str) -> bool:
        """Whether there is such a pipe; an instance of it need not be free."""
        return bool(_wait_named_pipe(name, 1)) or ctypes.get_last_error() != _FILE_NOT_FOUND

    def _proactor(loop: asyncio.AbstractEventLoop) -> Any:
        """What reads and writes a handle that is no transport yet.

        Raises:
            NotImplementedError: another kind of loop.
        """
        if not isinstance(loop, asyncio.ProactorEventLoop):
            raise NotImplementedError("pipes with the peer's identity need asyncio's ProactorEventLoop")
        return getattr(loop, "_proactor")  # noqa: B009 - private, and the same in CPython 3.11 to 3.14

    def _nothing() -> None:
        """A connecting side keeps no count."""
