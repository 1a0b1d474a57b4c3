"""What the link needs of a channel between two processes; contract.os_services.PeerChannel has it."""

from __future__ import annotations

from typing import Protocol

from torchgate.contract.os_services import Section


class LinkChannel(Protocol):
    """One end of a local pipe, to a peer whose account the operating system has proven."""

    @property
    def account(self) -> str:
        """Of the peer, as policy and logs name it."""
        ...

    @property
    def buffered_bytes(self) -> int:
        """Written here and not yet taken by the operating system."""
        ...

    def write(self, data: bytes) -> None:
        """Send, without waiting; nothing is sent after the other end is gone."""
        ...

    def hand_over(self, section: Section) -> str:
        """Give the peer access to a section; returns the token by which it opens it.

        Raises:
            OSError: the peer is gone.
        """
        ...

    def open_section(self, token: str, length: int) -> Section:
        """Map a section that the peer handed over.

        Raises:
            OSError: it can't be mapped.
        """
        ...

    def close(self) -> None:
        """End the connection. Safe to call twice."""
        ...
