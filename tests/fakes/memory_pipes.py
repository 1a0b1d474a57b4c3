"""A local pipe inside one process: bytes in order, cut anywhere, later; sections handed over by token."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

from torchgate.contract.local_pipes import Peer

ACCOUNT = "uid:1000"


class Receives(Protocol):
    def data_received(self, data: bytes) -> None: ...
    def channel_closed(self) -> None: ...


class HeapSection:
    """Implements contract.os_services.Section."""

    def __init__(self, memory: bytearray) -> None:
        self._memory = memory
        self._view = memoryview(memory)
        self.is_closed = False

    @property
    def view(self) -> memoryview:
        return self._view

    def close(self) -> None:
        self._view.release()
        self.is_closed = True


class HeapSections:
    """Implements contract.os_services.Sections."""

    def create(self, length: int) -> HeapSection:
        return HeapSection(bytearray(length))


class MemoryChannel:
    """One end.

    Args:
        receiver: at this end.
        pieces: where its bytes are cut.
    """

    def __init__(self, pieces: random.Random) -> None:
        self.receiver: Receives | None = None
        self.other: MemoryChannel | None = None
        self.peer = Peer(ACCOUNT, 1, is_own_account=True)
        self.is_reading = True
        self.is_open = True
        self.opened: list[HeapSection] = []
        self._pieces = pieces
        self._given: list[bytearray] = []
        self._unread = bytearray()
        self._is_due = False

    @property
    def buffered_bytes(self) -> int:
        return len(self.other._unread) if self.other is not None else 0

    def write(self, data: bytes) -> None:
        if self.is_open and self.other is not None and self.other.is_open:
            self.other._arrive(data)

    def hand_over(self, section: HeapSection) -> str:
        self._given.append(section._memory)
        return str(len(self._given) - 1)

    def open_section(self, token: str, length: int) -> HeapSection:
        assert self.other is not None
        section = HeapSection(self.other._given[int(token)])
        assert len(section.view) == length
        self.opened.append(section)
        return section

    def close(self) -> None:
        """As the end of a process: what was written before still arrives."""
        if self.is_open:
            self.is_open = False
            if self.other is not None and self.other.is_open:
                asyncio.get_running_loop().call_soon(self.other._hang_up)

    def cut(self) -> None:
        """The connection breaks: both ends hear of it."""
        for end in (self, self.other):
            if end is not None:
                asyncio.get_running_loop().call_soon(end._hang_up)

    def read_again(self) -> None:
        """After `is_reading` was False."""
        self.is_reading = True
        self._deliver()

    def _arrive(self, data: bytes) -> None:
        self._unread += data
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._is_due = False
        while self._unread and self.is_open and self.is_reading:
            length = self._pieces.randint(1, len(self._unread))
            data = bytes(self._unread[:length])
            del self._unread[:length]
            if self.receiver is not None:
                self.receiver.data_received(data)

    def _hang_up(self) -> None:
        if self.is_open:
            self._deliver()
            self.is_open = False
            if self.receiver is not None:
                self.receiver.channel_closed()


class MemoryPipes:
    """Where one pool may listen.

    Args:
        seed: of the cuts.
    """

    def __init__(self, seed: int = 0) -> None:
        self._pieces = random.Random(seed)
        self.on_connect: Callable[[MemoryChannel], Receives] | None = None
        self.channels: list[MemoryChannel] = []
        """The gates' ends, in the order of their connections."""

    def listen(self, on_connect: Callable[[MemoryChannel], Receives]) -> None:
        self.on_connect = on_connect

    def shut(self) -> None:
        """The pool dies: its listener and every connection are gone."""
        self.on_connect = None
        for channel in self.channels:
            if channel.other is not None:
                channel.other.close()

    async def connect(self, receiver: Receives) -> MemoryChannel:
        if self.on_connect is None:
            raise ConnectionRefusedError("nobody listens")
        ours, theirs = MemoryChannel(self._pieces), MemoryChannel(self._pieces)
        ours.other, theirs.other = theirs, ours
        ours.receiver = receiver
        theirs.receiver = self.on_connect(theirs)
        self.channels.append(ours)
        return ours
