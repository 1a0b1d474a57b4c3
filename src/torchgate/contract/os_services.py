"""What the engine and the worker need of the operating system; `posix` and `windows` each fill it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.worker_limits import Enforcement, WorkerLimits


class Section(Protocol):
    """Memory shared between processes, without a name in any file system."""

    @property
    def view(self) -> memoryview:
        """Writable, the whole of it."""
        ...

    def close(self) -> None:
        """Unmap it here; other processes that have it keep it. Views taken from it must be released before."""
        ...


class Place(msgspec.Struct, frozen=True):
    """Where some bytes lie, for somebody who maps the same section at another address.

    Args:
        section: that holds them.
        offset: of their first byte, from the section's start.
    """

    section: Section
    offset: int


class ChildSpec(msgspec.Struct, frozen=True):
    """A child process to start: `python -I -X utf8 -m <module> <arguments>`, nothing inherited but its channel.

    Args:
        name: for logs, e.g. `worker 3`.
        module: dotted name.
        arguments: after the module.
        environment: all of it, but for a mark of ours by which its descendants are found.
        folder: working directory.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path


class ChannelReceiver(Protocol):
    """Who listens to a child's channel; called on the event loop."""

    def data_received(self, data: bytes) -> None:
        """Some bytes, in order, cut anywhere."""
        ...

    def channel_closed(self) -> None:
        """The other end is gone. Called once; nothing follows."""
        ...


class Child(Protocol):
    """A running child and our end of its channel."""

    @property
    def pid(self) -> int:
        """Of the interpreter itself, not of a virtual environment's launcher."""
        ...

    def write(self, data: bytes) -> None:
        """Send to the child, without waiting; what exceeds the pipe is kept here."""
        ...

    def hand_over(self, section: Section) -> int:
        """Give the child access to a section; returns the token by which its WorkerEnd opens it."""
        ...

    def lend(self, token: CallerToken) -> int:
        """Give the child a handle of its own to a caller's token, which it closes itself; returns its number there.

        Raises:
            OSError: the token is closed, the child is gone, or this system has no such tokens.
            TypeError: a token of another room.
        """
        ...

    def limit(self, limits: WorkerLimits) -> tuple[Enforcement, ...]:
        """Hold it, and what it starts from here on, to its limits; says for each that is set how it is held.

        Raises:
            OSError: one could not be set that this system knows, or the child is gone.
        """
        ...

    def kill(self) -> None:
        """End it at once and everything it started. Safe to call twice."""
        ...

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        ...


class Children(Protocol):
    """Starts child processes with spawn semantics, which die with us however we die."""

    async def start(self, spec: ChildSpec, receiver: ChannelReceiver, on_output: Callable[[bytes], None]) -> Child:
        """Start one.

        Args:
            receiver: is told what comes over the channel.
            on_output: is given what it prints on stdout and stderr, cut anywhere.

        Raises:
            OSError: it could not be started.
        """
        ...

    def close(self) -> None:
        """Give back what the children had together, once all of them have ended. Nothing is started after it."""
        ...


class Sections(Protocol):
    """Makes sections."""

    def create(self, length: int, *, shared_with: Collection[str] = ()) -> Section:
        """Zeroed, page aligned.

        Args:
            length: in bytes, at least 1.
            shared_with: accounts, as `local_pipes.Peer.account` says them, whose processes may be handed it by a
                PeerChannel; a child of ours may be handed any section.

        Raises:
            OSError: not enough memory.
            ValueError: an account that is none.
        """
        ...


class WorkerEnd(Protocol):
    """The child's end of its channel, blocking."""

    def read(self) -> bytes:
        """At least one byte of what was sent; empty when the parent is gone."""
        ...

    def write(self, data: bytes) -> None:
        """All of it.

        Raises:
            OSError: the parent is gone.
        """
        ...

    def open_section(self, token: int, length: int) -> Section:
        """Map a section that the parent handed over, in the order in which it did."""
        ...


class PrivateFiles(Protocol):
    """Files that only our account, and administrators, may read."""

    def write_new(self, file: Path, content: bytes) -> None:
        """Write a file that is not there yet; from its first byte on it is closed to others.

        Raises:
            FileExistsError: it is there already. OSError: it can't be written.
        """
        ...

    def readers(self, file: Path) -> str:
        """Who else may read it, in words for a sentence, or empty.

        Raises:
            OSError: it can't be examined.
        """
        ...


class ProtectedData(Protocol):
    """Data that only one account, or one machine, can open again; without a key that anybody would have to keep."""

    def protect(self, value: bytes, *, for_machine: bool = False) -> bytes:
        """Sealed for our account.

        Args:
            for_machine: for every account of this machine instead.

        Raises:
            OSError: it can't be.
        """
        ...

    def unprotect(self, sealed: bytes) -> bytes:
        """What was sealed.

        Raises:
            OSError: it is sealed for somebody else, or is nothing that was sealed.
        """
        ...


class PrivateFolders(Protocol):
    """Makes folders that only our account, and administrators, may open."""

    def make_private(self, folder: Path) -> None:
        """Create it if it is missing, and close it to others.

        Raises:
            OSError: it could not be.
        """
        ...

    def swappers(self, folder: Path) -> tuple[str, ...]:
        """Who could put another folder in the place of one around this one; a sentence for each, with the remedy.

        Folders that are not there, or may not be looked at, are passed over.
        """
        ...
