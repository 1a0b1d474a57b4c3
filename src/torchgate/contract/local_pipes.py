"""Pipes between processes of this machine that know each other's account; `posix` and `windows` each fill it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

import msgspec

from torchgate.contract.os_services import ChannelReceiver, Section

HELLO = b"torchgate-pipe-1"
"""What a connecting side sends first, once it knows the owner. On Windows nothing is known of it before it has sent."""

WELCOME = b"torchgate-open-1"
"""What the listening side answers to a peer that it accepts, as long as HELLO; both are written and read here alone."""

HANDSHAKE_TIMEOUT_S = 5.0
"""For HELLO and WELCOME: both come at once from a living peer, or the machine is in trouble that a caller must see."""

MOST_PEERS = 200
"""Connections of one address, those that have not said HELLO included. Windows has 255 instances of a pipe at most."""


class PipeAddress(msgspec.Struct, frozen=True):
    """Where a pipe is: the same state folder and name find each other, whatever the folder's path looks like.

    Args:
        folder: the state folder. On Linux the socket lies in it; on Windows the pipe's name is derived from its path.
        name: of letters, digits and hyphens, e.g. `pool`.
    """

    folder: Path
    name: str


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end, as the operating system says.

    Args:
        account: `uid:1000`, or a SID such as `S-1-5-21-…`.
        pid: for logs; never for a decision, because numbers are used again. 0: unknown.
        is_own_account: it runs as the account that we run as.
    """

    account: str
    pid: int
    is_own_account: bool


class NobodyListens(ConnectionRefusedError):
    """No process has this address: none was started, or it is gone."""


class AddressTaken(OSError):
    """Another process listens at this address already."""


class PeerRefused(PermissionError):
    """The process that listens, or the operating system for it, does not admit our account."""


class ForeignOwner(PermissionError):
    """What listens here belongs to an account other than the expected: it was not written to."""


class PeerChannel(Protocol):
    """Our end of an open pipe, on the event loop; bytes in order, cut anywhere."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    @property
    def buffered_bytes(self) -> int:
        """Written, and not yet taken by the operating system: grows while the peer does not read."""
        ...

    def write(self, data: bytes | memoryview) -> None:
        """Send without waiting; what is written in one turn of the loop leaves together at its end.

        What is written to a peer that is gone is lost. Nothing bounds the buffer but its writer, who looks at
        `buffered_bytes` and closes.
        """
        ...

    def hand_over(self, section: Section) -> str:
        """Let the peer open a section; listening side only.

        Returns:
            The token, at most 64 characters, to be sent in the next message. The section must stay open here until
            the peer has said, in whatever way, that it opened it.

        Raises:
            TypeError: the section was not made by this system's Sections, or was not made to be shared.
            OSError: no descriptor or handle is left.
        """
        ...

    def open_section(self, token: str, length: int) -> Section:
        """Map a section that the peer handed over, writable, once per token; connecting side only.

        Raises:
            OSError: there is no such section, it is shorter, or it does not belong to the pipe's owner.
        """
        ...

    def close(self) -> None:
        """End it; what the operating system does not take at once is lost. `channel_closed` follows. Safe twice."""
        ...


class Listening(Protocol):
    """An address that is ours."""

    def close(self) -> None:
        """Give the address back; open channels stay open. Safe to call twice."""
        ...


class LocalPipes(Protocol):
    """Makes pipes for this machine only."""

    @property
    def own_account(self) -> str:
        """The account that we run as, as `Peer.account` says it."""
        ...

    async def listen(
        self, address: PipeAddress, *, allowed: Collection[str], on_connect: Callable[[PeerChannel], ChannelReceiver]
    ) -> Listening:
        """Take the address: another's that lives is never taken, what a killed process left there is.

        Args:
            allowed: exactly the accounts that may connect; ours is not among them unless it is named.
            on_connect: is given each peer that was let in, and returns who listens to it. What it raises closes that
                channel and goes to the loop's exception handler.

        Raises:
            AddressTaken: another process listens here.
            ValueError: an account or a name that is none.
            OSError: the address can't be made or closed to others.
        """
        ...

    async def connect(self, address: PipeAddress, receiver: ChannelReceiver, *, owner: str) -> PeerChannel:
        """Connect, once it is proven that the address belongs to `owner`; nothing is written before.

        Raises:
            NobodyListens, PeerRefused, ForeignOwner: what they say.
            TimeoutError: it does not answer.
            OSError: anything else.
        """
        ...
