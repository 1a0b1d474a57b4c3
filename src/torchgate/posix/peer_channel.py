"""One end of a connected unix socket, on the event loop: bytes both ways, descriptors of sections one way."""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable

from torchgate.contract.local_pipes import Peer
from torchgate.contract.os_services import ChannelReceiver, Section
from torchgate.posix.accounts import account_of
from torchgate.posix.section import PosixSection, map_received

_READ_BYTES = 1 << 16
"""Asked of the socket at once: far above a usual message, and one allocation of the small kind."""

_MOST_PARTS = 512
"""Pieces in one write. Linux takes 1024 (IOV_MAX)."""

_MOST_DESCRIPTORS = 64
"""In one write, and waiting at either end. Linux takes 253 in one (SCM_MAX_FD); usual is one."""

_DESCRIPTOR_BYTES = array.array("i").itemsize
if sys.platform != "win32":
    _DESCRIPTORS_SPACE = socket.CMSG_SPACE(_MOST_DESCRIPTORS * _DESCRIPTOR_BYTES)
    # Plain numbers: to combine the enumerations of `socket` is Python code, and would run for every read.
    _CLOSE_ON_EXEC, _TRUNCATED = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_CTRUNC)

_CREDENTIALS = struct.Struct("3i")
"""struct ucred: pid, uid, gid. Source: unix(7)."""


class PosixPeerChannel:
    """Our end of an open pipe.

    The descriptor of the n-th section travels with the first byte that is written after it was handed over, so that it
    is here before the message that names it; `n` is its token.

    Args:
        connected: a non-blocking socket after the handshake; this object owns it.
        peer: who is at the other end.
        takes_sections: whether descriptors from there are taken; where not, the kernel drops them as they are read.
        on_end: called once, when the socket is closed.
    """

    def __init__(
        self, connected: socket.socket, peer: Peer, *, takes_sections: bool, on_end: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        self._peer = peer
        self._receiver: ChannelReceiver | None = None
        self._on_end = on_end
        self._unsent: deque[bytes | memoryview] = deque()
        self._unsent_bytes = 0
        self._unsent_descriptors: list[int] = []
        self._arrived: dict[str, int] = {}
        self._sections_seen = 0
        self._is_flushing = False
        self._is_closed = False
        self._takes_sections = takes_sections
        self._on_readable = self._receive_with_sections if takes_sections else self._receive

    def start(self, receiver: ChannelReceiver) -> None:
        """Read from here on; the receiver hears it."""
        self._receiver = receiver
        if self._is_closed:
            self._loop.call_soon(receiver.channel_closed)
        else:
            self._loop.add_reader(self._socket, self._on_readable)

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        return self._peer

    @property
    def buffered_bytes(self) -> int:
        """Written, and not yet taken by the kernel."""
        return self._unsent_bytes

    def write(self, data: bytes | memoryview) -> None:
        """Send without waiting; what is written in one turn of the loop leaves together at its end."""
        if self._is_closed or not data:
            return
        self._unsent.append(data if isinstance(data, bytes) else bytes(data))
        self._unsent_bytes += len(data)
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def hand_over(self, section: Section) -> str:
        """Send the section's descriptor with the next write."""
        if self._takes_sections:
            raise TypeError("sections are handed over by the listening side alone")
        if not isinstance(section, PosixSection) or section.descriptor < 0:
            raise TypeError("only sections that PosixSections made can be handed over")
        if self._is_closed:
            raise OSError("the peer is gone")
        if len(self._unsent_descriptors) >= _MOST_DESCRIPTORS:
            raise OSError(f"{_MOST_DESCRIPTORS} sections wait to be sent to a peer that does not read")
        self._unsent_descriptors.append(os.dup(section.descriptor))  # ours may be closed before it is sent
        self._sections_seen += 1
        return str(self._sections_seen)

    def open_section(self, token: str, length: int) -> Section:
        """Map a section that the peer handed over."""
        descriptor = self._arrived.pop(token, None)
        if descriptor is None:
            raise OSError(f"the peer handed over no section {token!r}, or it was opened before")
        return map_received(descriptor, length)

    def close(self) -> None:
        """End it; what the kernel does not take at once is lost."""
        if not self._is_closed:
            self._flush()
        self._end()

    def _flush(self) -> None:
        self._is_flushing = False
        try:
            while self._unsent and not self._is_closed:
                self._send_some()
        except (BlockingIOError, InterruptedError):
            self._is_flushing = True
            self._loop.add_writer(self._socket, self._continue)
        except OSError:
            self._end()  # the peer is gone, or it made the kernel hold all the descriptors that we may have in flight

    def _continue(self) -> None:
        self._loop.remove_writer(self._socket)
        self._flush()

    def _send_some(self) -> None:
        unsent = self._unsent
        descriptors = self._unsent_descriptors
        if descriptors:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            sent = self._socket.sendmsg([unsent[0]], rights)
            for descriptor in descriptors:
                os.close(descriptor)
            descriptors.clear()
        elif len(unsent) == 1:
            sent = self._socket.send(unsent[0])
        else:
            sent = self._socket.sendmsg([part for part, _ in zip(unsent, range(_MOST_PARTS), strict=False)])
        self._unsent_bytes -= sent
        while sent:
            if sent < len(unsent[0]):
                unsent[0] = memoryview(unsent[0])[sent:]
                return
            sent -= len(unsent.popleft())

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._pass_on(data)

    def _receive_with_sections(self) -> None:
        if sys.platform == "win32":
            raise NotImplementedError("torchgate.windows makes pipes on Windows")
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(_READ_BYTES, _DESCRIPTORS_SPACE, _CLOSE_ON_EXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, ancillary, flags = b"", [], 0
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._keep(content)
        if flags & _TRUNCATED or len(self._arrived) > _MOST_DESCRIPTORS:
            data = b""  # descriptors were lost, or pile up: tokens would no longer mean what the peer means
        self._pass_on(data)

    def _keep(self, content: bytes) -> None:
        descriptors = array.array("i")
        descriptors.frombytes(content[: len(content) - len(content) % _DESCRIPTOR_BYTES])
        for descriptor in descriptors:
            self._sections_seen += 1
            self._arrived[str(self._sections_seen)] = descriptor

    def _pass_on(self, data: bytes) -> None:
        if not data:
            self._end()
        elif self._receiver is not None:
            self._receiver.data_received(data)

    def _end(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._on_end()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for descriptor in (*self._unsent_descriptors, *self._arrived.values()):
            os.close(descriptor)
        self._unsent_descriptors.clear()
        self._arrived.clear()
        self._unsent.clear()
        self._unsent_bytes = 0
        if self._receiver is not None:
            self._loop.call_soon(self._receiver.channel_closed)


def peer_of(connected: socket.socket) -> Peer:
    """Who is at the other end: who connected, or who called `listen`, when they did.

    Raises:
        OSError: the socket is not connected.
    """
    if sys.platform != "linux":
        raise NotImplementedError("pipes with the peer's identity are made on Linux and Windows")
    data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(data)
    return Peer(account_of(uid), pid, uid == os.geteuid())
