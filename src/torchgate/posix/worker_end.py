"""The child's end of its channel: two inherited sockets, and a death that follows the parent's."""

from __future__ import annotations

import array
import ctypes
import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from torchgate.contract.os_services import Section
from torchgate.posix.section import PosixSection

TOKEN = struct.Struct("<Q")
"""What accompanies each section's descriptor."""

_READ_BYTES = 1 << 16
"""Asked of the channel at once: far above a usual message, and one allocation of the small kind."""

_PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h."""


def channel_argument(channel: int, sections: int, parent_pid: int) -> str:
    """What tells the child where its channel is."""
    return f"{channel}:{sections}:{parent_pid}"


class PosixWorkerEnd:
    """The child's end of its channel, blocking.

    Args:
        channel: both ways, a stream.
        sections: on which sections arrive.
    """

    def __init__(self, channel: socket.socket, sections: socket.socket) -> None:
        self._channel = channel
        self._sections = sections
        self._arrived: dict[int, int] = {}

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> PosixWorkerEnd:
        """Take over what `PosixChildren` put first on the command line, and die with the parent from here on.

        Raises:
            ValueError: there is no such argument.
            OSError: its descriptors are no sockets.
        """
        if not arguments:
            raise ValueError("no channel on the command line: this program is started by torchgate alone")
        channel, sections, parent_pid = (int(part) for part in arguments[0].split(":"))
        die_with_parent(parent_pid)
        for descriptor in (channel, sections):
            os.set_inheritable(descriptor, False)
        return cls(socket.socket(fileno=channel), socket.socket(fileno=sections))

    def read(self) -> bytes:
        """At least one byte of what was sent; empty when the parent is gone."""
        try:
            return self._channel.recv(_READ_BYTES)
        except ConnectionResetError:
            return b""

    def write(self, data: bytes) -> None:
        """All of it."""
        self._channel.sendall(data)

    def open_section(self, token: int, length: int) -> Section:
        """Map a section that the parent handed over."""
        while token not in self._arrived:
            self._receive()
        descriptor = self._arrived.pop(token)
        try:
            mapping = mmap.mmap(descriptor, length)
            _forget_copies(descriptor)
            return PosixSection(-1, mapping)
        finally:
            os.close(descriptor)

    def _receive(self) -> None:
        if sys.platform == "win32":
            raise NotImplementedError("torchgate.windows opens sections on Windows")
        descriptors = array.array("i")
        data, ancillary, _flags, _address = self._sections.recvmsg(
            TOKEN.size, socket.CMSG_SPACE(descriptors.itemsize), socket.MSG_WAITALL | socket.MSG_CMSG_CLOEXEC
        )
        if len(data) != TOKEN.size or not ancillary:
            raise OSError("the parent closed the channel of sections before it sent the one that it announced")
        descriptors.frombytes(ancillary[0][2][: descriptors.itemsize])
        self._arrived[TOKEN.unpack(data)[0]] = descriptors[0]


def _forget_copies(descriptor: int) -> None:
    """Have no other descriptor mean the same file, so that nobody writes into it by a wrong number.

    `mmap` keeps one for its `resize`: what a model writes there by accident would change the inputs of requests, which
    then run once more as something else. Its number stays taken, by nothing, because `mmap` will close it.
    """
    if sys.platform != "linux":
        return
    file = os.fstat(descriptor)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in [int(one.name) for one in Path("/proc/self/fd").iterdir()]:
        try:
            other = os.fstat(number)
        except OSError:
            continue  # that of the listing itself
        if number != descriptor and (other.st_dev, other.st_ino) == (file.st_dev, file.st_ino):
            os.dup2(nothing, number, inheritable=False)
    os.close(nothing)


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when the parent's thread that started it ends.

    A parent that died before we asked would go unnoticed, so that its pid is compared afterwards.
    """
    if sys.platform != "linux":
        return  # elsewhere the end of the channel is what ends a child
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)
